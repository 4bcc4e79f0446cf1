r"""Two pictures side by side, and a page that needs nothing else."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from relume import image as images
from relume.errors import UsageError
from relume.image import Image
from relume.tasks import compare
from relume.tasks.compare import resized, side_by_side, slider


def _levels(height: int, width: int, channels: int, seed: int) -> Image:
    """A picture of 8-bit values, which PNG keeps."""
    rng = np.random.default_rng(seed)
    return Image((rng.integers(0, 256, (height, width, channels)) / 255).astype(np.float32))


class _Page(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_pictures_of_one_height_keep_every_pixel() -> None:
    a, b = _levels(12, 9, 3, 0), _levels(12, 20, 1, 1)
    both = side_by_side(a, b, gap=5)
    assert (both.height, both.width, both.format) == (12, 9 + 5 + 20, "PNG")
    assert np.array_equal(both.pixels[:, :9], a.pixels)
    assert np.all(both.pixels[:, 9:14] == 1)
    assert np.array_equal(both.pixels[:, 14:], np.repeat(b.pixels, 3, axis=2))


def test_the_lower_picture_is_enlarged_in_its_own_shape() -> None:
    constant = Image(np.full((10, 30, 3), 0.25, np.float32))
    both = side_by_side(constant, _levels(20, 8, 3, 0), gap=0)
    assert (both.height, both.width) == (20, 60 + 8)
    assert np.allclose(both.pixels[:, :60], 0.25, atol=1e-6)


def test_what_is_transparent_lies_over_white() -> None:
    clear = Image(np.zeros((4, 4, 3), np.float32), alpha=np.zeros((4, 4), np.float32))
    solid = Image(np.zeros((4, 4, 3), np.float32), alpha=np.ones((4, 4), np.float32))
    both = side_by_side(clear, solid, gap=0)
    assert np.all(both.pixels[:, :4] == 1) and np.all(both.pixels[:, 4:] == 0)


def test_a_negative_gap_is_refused() -> None:
    with pytest.raises(UsageError):
        side_by_side(_levels(4, 4, 3, 0), _levels(4, 4, 3, 1), gap=-1)


def test_resizing_to_the_same_size_changes_nothing_and_otherwise_stays_in_range() -> None:
    picture = np.zeros((9, 9, 1), np.float32)
    picture[4:] = 1  # Lanczos rings at such an edge
    assert resized(picture, 9, 9) is picture
    larger = resized(picture, 31, 17)
    assert larger.shape == (31, 17, 1) and larger.dtype == np.float32
    assert larger.min() == 0 and larger.max() == 1


def test_the_page_holds_both_pictures_to_the_bit() -> None:
    a, b = _levels(8, 11, 3, 0), _levels(8, 11, 1, 1)
    shown = _Page(slider(a, b)).all("img")
    by_class = {each["class"]: str(each["src"]) for each in shown}
    for name, picture in (("before", a), ("after", b)):
        head, data = by_class[name].split(",")
        assert head == "data:image/png;base64"
        back = images.read(base64.b64decode(data)).pixels
        assert np.array_equal(back, np.broadcast_to(picture.pixels, back.shape))


def test_the_page_loads_nothing_and_works_by_keyboard() -> None:
    text = slider(_levels(8, 8, 3, 0), _levels(8, 8, 3, 1))
    page = _Page(text)
    assert not re.search(r"(https?:)?//[\w.]+\.\w", re.sub(r"base64,[^\"]*", "", text))
    assert all(str(each["src"]).startswith("data:") for each in page.all("img"))
    assert not page.all("link") and all("src" not in each for each in page.all("script"))
    (control,) = page.all("input")
    assert control["type"] == "range" and control["aria-label"] and "disabled" not in control
    assert all(each["alt"] for each in page.all("img"))


def test_labels_and_title_are_text_and_not_markup() -> None:
    evil = '"><script>alert(1)</script>'
    page = _Page(slider(_levels(8, 8, 3, 0), _levels(8, 8, 3, 1), title=evil, labels=(evil, "$x")))
    assert len(page.all("script")) == 1
    assert {each["alt"] for each in page.all("img")} == {evil, "$x"}


def test_large_pictures_go_into_the_page_as_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "LOSSLESS_PIXELS", 63)
    assert all(
        str(each["src"]).startswith("data:image/jpeg")
        for each in _Page(slider(_levels(8, 8, 3, 0), _levels(8, 8, 3, 1))).all("img")
    )


def test_sizes_may_differ_on_the_page_but_shapes_may_not() -> None:
    slider(_levels(8, 16, 3, 0), _levels(16, 32, 3, 1))
    with pytest.raises(UsageError, match="side by side"):
        slider(_levels(8, 16, 3, 0), _levels(16, 8, 3, 1))
