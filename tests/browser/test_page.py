r"""The page in a real browser: what a visitor does with it, by mouse, by keyboard and on a phone."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.image import Image

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser

SHOTS = os.environ.get("RELUME_SCREENSHOTS")  # a folder: the pictures of the documentation are made anew


def photograph(path: Path, seed: int = 0, *, side: int = 120) -> Path:
    """Soft blobs of colour, each picture other ones."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0 : side + side // 2] / side
    waves = [np.sin(6 * (x * a + y * b) + c) for a, b, c in rng.normal(0, 1, (3, 3))]
    return image.write(Image((0.5 + 0.4 * np.stack(waves, axis=2)).astype(np.float32)), path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=found, args=quiet)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, service: Any) -> Iterator[Any]:
    """The page, freshly opened. At the end: no error in its console, and no call to any other host."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)

    def answered(answer: Any) -> None:
        if answer.status >= 500:  # what the console says does not name the address
            wrong.append(f"{answer.status} from {answer.url}")

    opened.on("response", answered)

    def seen(request: Any) -> None:
        if not request.url.startswith((service.address, "blob:", "data:")):
            wrong.append(f"called {request.url}")

    context.on("request", seen)
    opened.goto(service.address)
    yield opened
    context.close()
    allowed = ("404", "415", "422")  # the browser notes every answer that is a problem
    assert not [text for text in wrong if not any(status in text for status in allowed)]


def states(page: Any) -> Any:
    return page.locator("#photos .state")


def add(page: Any, *paths: Path) -> None:
    page.set_input_files("#files", [str(path) for path in paths])


def done(page: Any, count: int = 1) -> None:
    expect(page.locator("#photos li.done")).to_have_count(count, timeout=30_000)


def seen_whole(page: Any) -> None:
    """The first one is done, and the viewer shows all of it."""
    done(page)
    expect(page.locator("#facts")).to_contain_text("pixels", timeout=30_000)


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def test_a_photograph_is_restored_compared_and_downloaded(page: Any, tmp_path: Path) -> None:
    path = photograph(tmp_path / "Großmutter 1923.png", 1)
    add(page, path)
    done(page)
    expect(page.locator("#viewer")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("180 × 120 pixels")
    slider = page.locator("before-after")
    at = "element => getComputedStyle(element).getPropertyValue('--at')"
    assert slider.evaluate(at) == "50%"
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert 20 < float(slider.evaluate(at).rstrip("%")) < 30
    page.locator("before-after input").press("End")
    assert slider.evaluate(at) == "100%"
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "Großmutter 1923-restored.png"
    got = image.read(download.value.path())
    np.testing.assert_array_equal(got.pixels, image.read(path).pixels)


def test_what_is_chosen_is_asked_for(page: Any, tmp_path: Path) -> None:
    # What a form with a file holds is not shown to playwright: the page keeps it.
    page.evaluate(
        """() => { const own = window.fetch; window.fetch = (address, options) => {
            if (options?.body instanceof FormData) window.sent = Object.fromEntries(options.body);
            return own(address, options);
        }; }"""
    )

    def field(name: str) -> str | None:
        found: str | None = page.evaluate("name => window.sent[name] ?? null", name)
        return found

    add(page, photograph(tmp_path / "plain.png", 20))
    done(page, 1)
    assert (field("tone"), field("mask"), field("shading"), field("preserve")) == ("revive", None, None, None)
    page.select_option("select[name=mode]", "twice")
    page.uncheck("input[name=even]")
    add(page, photograph(tmp_path / "twice.png", 21))
    done(page, 2)
    assert (field("mask"), field("shading")) == ("twice", "keep")
    page.select_option("select[name=mode]", "preserve")
    add(page, photograph(tmp_path / "preserve.png", 22))
    done(page, 3)
    assert (field("mask"), field("preserve")) == (None, "true")


def test_many_at_once_with_progress_preview_and_cancel(page: Any, tmp_path: Path) -> None:
    page.check("[name=uncertainty]")
    add(page, photograph(tmp_path / "large.png", 2, side=900))
    expect(states(page)).to_contain_text(re.compile(r"tile \d+ of \d+, step \d of 4"), timeout=30_000)
    expect(page.locator("#facts")).to_contain_text("preview", timeout=30_000)
    expect(page.locator("#stage .after")).to_have_js_property("naturalWidth", 640, timeout=30_000)
    shot(page, "page-progress")
    page.uncheck("[name=uncertainty]")
    add(page, *(photograph(tmp_path / f"{seed}.png", seed) for seed in range(3, 6)))
    expect(page.locator("#photos li")).to_have_count(4)
    page.get_by_role("button", name="Cancel large.png").click()
    expect(page.locator("#photos li")).to_have_count(3)
    done(page, 3)


def test_the_list_survives_a_reload(page: Any, tmp_path: Path, service: Any) -> None:
    """Done and running photographs are there again, with their names, and can be gone on with."""
    paths = [photograph(tmp_path / f"{name}.png", seed) for name, seed in (("a", 21), ("b", 22))]
    add(page, *paths)
    done(page, 2)
    page.check("[name=uncertainty]")
    add(page, photograph(tmp_path / "large.png", 23, side=900))
    expect(states(page).last).to_contain_text("tile", timeout=30_000)
    page.reload()
    expect(page.locator("#photos .name")).to_have_text(["a.png", "b.png", "large.png"])
    done(page, 2)
    expect(states(page).last).to_contain_text("tile", timeout=30_000)
    expect(page.locator("#facts")).to_contain_text("pixels", timeout=30_000)
    # Not by a function that waits in the page: the policy of its content forbids what evaluates strings.
    for thumb in page.locator(".thumb").all():
        expect(thumb).not_to_have_js_property("naturalWidth", 0, timeout=30_000)
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "a-restored.png"
    np.testing.assert_array_equal(image.read(download.value.path()).pixels, image.read(paths[0]).pixels)
    # The picture itself is on the service alone by now; with another mask it is another job.
    page.click("#edit")
    page.locator("#mask").press("Space")
    with page.expect_response(lambda answer: answer.request.method == "POST") as accepted:
        page.click("#again")
    again = accepted.value.json()
    assert accepted.value.status == 202 and (again["width"], again["height"]) == (180, 120)
    kept = set((service.data / "jobs").iterdir())
    page.get_by_role("button", name="Cancel large.png").click()
    expect(page.locator("#photos li")).to_have_count(2)
    page.get_by_role("button", name="Delete b.png").click()
    done(page, 1)
    page.reload()
    expect(page.locator("#photos .name")).to_have_text(["a.png"])
    done(page, 1)
    assert len(kept - set((service.data / "jobs").iterdir())) == 2


def test_the_damage_is_edited_and_the_picture_restored_again(page: Any, tmp_path: Path, service: Any) -> None:
    add(page, photograph(tmp_path / "a.png", 6))
    seen_whole(page)
    marked = """() => { const c = document.querySelector('#mask'); const p = c.getContext('2d')
        .getImageData(0, 0, c.width, c.height).data; let n = 0;
        for (let k = 3; k < p.length; k += 4) n += p[k] > 51; return n; }"""
    page.click("#edit")
    expect(page.locator("#mask-tools")).to_be_visible()
    assert page.evaluate(marked) == 0
    box = page.locator("#mask").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 50, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 50, middle, steps=5)
    page.mouse.up()
    stroke = page.evaluate(marked)
    assert stroke > 1000
    page.click("#brush-erase")
    page.mouse.click(box["x"] + box["width"] / 2, middle)
    less = page.evaluate(marked)
    assert 0 < less < stroke
    page.keyboard.press("Control+z")
    assert page.evaluate(marked) == stroke
    # The same by keyboard alone.
    page.locator("#mask").focus()
    page.keyboard.press("a")
    for _ in range(4):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    dabbed = page.evaluate(marked)
    assert dabbed > stroke
    shot(page, "page-mask")
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        page.click("#again")
    job = answer.value.json()
    # What was marked is what the service used, to the pixel.
    used = service.until(job["id"], lambda job: job["state"] == "done")
    assert used["damaged"] == pytest.approx(dabbed / (180 * 120), abs=1e-4)
    expect(states(page)).to_contain_text(f"{100 * used['damaged']:.1f} %", timeout=30_000)
    expect(page.locator("#facts")).to_contain_text("pixels", timeout=30_000)


def test_the_guesswork_can_be_seen(page: Any, tmp_path: Path) -> None:
    page.check("[name=uncertainty]")
    add(page, photograph(tmp_path / "a.png", 7))
    seen_whole(page)
    page.click("#guess")
    expect(page.locator("#overlay")).to_be_visible()
    page.keyboard.press("u")
    expect(page.locator("#overlay")).to_be_hidden()


def test_zooming_down_to_the_pixels(page: Any, tmp_path: Path) -> None:
    add(page, photograph(tmp_path / "a.png", 8))
    seen_whole(page)
    page.click("#zoom-one")
    expect(page.locator("#zoom-shown")).to_have_text("100 %")
    assert page.locator("#stage").bounding_box()["width"] == 180
    for _ in range(6):
        page.keyboard.press("+")
    wide = page.locator("#stage").bounding_box()["width"]
    assert wide == pytest.approx(180 * 1.5**6, rel=0.01)
    pixelated = "image => getComputedStyle(image).imageRendering"
    assert page.locator("#stage .after").evaluate(pixelated) == "pixelated"
    assert page.locator("#window").evaluate("box => box.scrollWidth > box.clientWidth")
    page.keyboard.press("0")
    assert page.locator("#stage").bounding_box()["width"] < wide


def test_what_is_no_picture_is_told_and_does_not_stop_the_others(page: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "letter.png"
    wrong.write_text("dear all")
    add(page, wrong, photograph(tmp_path / "a.png", 9))
    expect(page.locator("#photos li.failed .state")).to_contain_text("not a picture", timeout=30_000)
    done(page)


def test_dropping_and_pasting(page: Any, tmp_path: Path) -> None:
    give = """([name, bytes, kind]) => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
        document.body.dispatchEvent(kind === 'drop'
            ? new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent('paste', { clipboardData: data, bubbles: true })); }"""
    for number, kind in enumerate(("drop", "paste")):
        data = photograph(tmp_path / f"{kind}.png", 10 + number).read_bytes()
        page.evaluate(give, [f"{kind}.png", list(data), kind])
    done(page, 2)


def test_by_keyboard_alone(page: Any, tmp_path: Path) -> None:
    add(page, photograph(tmp_path / "a.png", 12))
    seen_whole(page)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.name || "
                "document.activeElement.className || document.activeElement.type"
            )
        )
    for name in (
        "files",
        "mode",
        "fidelity",
        "uncertainty",
        "open",
        "cancel",
        "zoom-in",
        "edit",
        "download",
        "window",
    ):
        assert name in reached, reached
    unnamed = """() => [...document.querySelectorAll('button, a, input, select, canvas')].filter(each =>
        each.checkVisibility() && !(each.textContent.trim() || each.ariaLabel || each.labels?.length ||
        each.title)).map(each => each.outerHTML)"""
    assert page.evaluate(unnamed) == []


def test_two_tabs_at_once(page: Any, tmp_path: Path) -> None:
    other = page.context.new_page()
    other.goto(page.url)
    same = photograph(tmp_path / "same.png", 13)
    for number, tab in enumerate((page, other)):
        add(tab, same, photograph(tmp_path / f"own-{number}.png", 14 + number))
    for tab in (page, other):
        tab.bring_to_front()
        done(tab, 2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_light_and_dark(page: Any, tmp_path: Path, scheme: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme)
    add(page, photograph(tmp_path / "a-long-name-of-a-photograph-that-would-not-fit-on-a-phone.png", 16))
    seen_whole(page)
    page.click("#edit")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    bright = sum(map(int, re.findall(r"\d+", back)[:3])) / 3
    assert (bright > 128) == (scheme == "light")
    shot(page, f"page-phone-{scheme}")


def test_a_token_is_asked_for_once(browser: Any, serve: Any, tmp_path: Path) -> None:
    guarded = serve("--token", "sesame")
    context = browser.new_context()
    page = context.new_page()
    page.goto(guarded.address)
    add(page, photograph(tmp_path / "a.png", 17))
    page.fill("#token", "sesame")
    page.keyboard.press("Enter")
    done(page)
    expect(page.locator("#facts")).to_contain_text("pixels")
    context.close()


def test_the_comparison_on_a_page_of_its_own(browser: Any, tmp_path: Path) -> None:
    """The slider that ``relume compare`` writes is the same element, and works from a file."""
    from relume.tasks.compare import slider

    before, after = (image.read(photograph(tmp_path / f"{n}.png", n)) for n in (18, 19))
    (tmp_path / "both.html").write_text(slider(before, after), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "both.html").as_uri())
    page.locator("input").press("Home")
    at = "element => getComputedStyle(element).getPropertyValue('--at')"
    assert page.locator("before-after").evaluate(at) == "0%"
    assert page.locator("before-after").bounding_box()["height"] > 100
    page.close()


@pytest.mark.skipif(not SHOTS, reason="RELUME_SCREENSHOTS names no folder for them")
def test_the_pictures_of_the_documentation(browser: Any, service: Any, tmp_path: Path) -> None:
    """A genuine photograph and the embedded model: not a check, but a look."""
    from relume import bundle

    examples = Path(__file__).parents[2] / "examples"
    real = type(service)(bundle.find("photo"), tmp_path / "data", "--engine", "auto")
    try:
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1200, "height": 800}, color_scheme=scheme)
            page.goto(real.address)
            add(page, examples / "old-photograph.jpg", examples / "house-damaged.png")
            done(page, 2)
            expect(page.locator("#facts")).to_contain_text("pixels", timeout=30_000)
            shot(page, f"page-{scheme}")
            page.click("#edit")
            shot(page, f"page-damage-{scheme}")
            page.close()
    finally:
        real.close()
