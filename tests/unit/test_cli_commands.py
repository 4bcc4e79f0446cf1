r"""The commands beside ``relume restore``."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.bundle import Bundle, find
from relume.cli import main
from relume.degrade import recipe
from relume.image import Image


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A folder with two smooth photographs of 8 bits."""
    folder = tmp_path / "clean"
    folder.mkdir()
    rows, columns = np.mgrid[0:64, 0:80] / 80
    for name, shift in (("a.png", 0.0), ("b.png", 0.3)):
        picture = np.stack([0.3 + 0.4 * rows, 0.2 + 0.5 * columns, 0.6 - shift * rows], axis=-1)
        image.write(Image(picture.astype(np.float32)), folder / name)
    return folder


def _main(*arguments: object) -> int:
    return main([str(each) for each in arguments])


def test_degrade_is_reproducible_to_the_byte(clean: Path, tmp_path: Path) -> None:
    for name in ("1", "2"):
        options = ("--seed", 7, "--save-mask", tmp_path / f"{name}-mask.png")
        assert _main("degrade", clean / "a.png", "-o", tmp_path / f"{name}.jpg", *options) == 0
    for name in (".jpg", "-mask.png"):
        assert (tmp_path / f"1{name}").read_bytes() == (tmp_path / f"2{name}").read_bytes()
    assert _main("degrade", clean / "a.png", "-o", tmp_path / "3.jpg", "--seed", 8) == 0
    assert (tmp_path / "1.jpg").read_bytes() != (tmp_path / "3.jpg").read_bytes()


def test_degrade_does_what_the_library_does(clean: Path, tmp_path: Path) -> None:
    out, mask = tmp_path / "o.png", tmp_path / "m.png"
    options = ("--recipe", "five-families", "--severity", 1.5, "--seed", 3, "--save-mask", mask)
    assert _main("degrade", clean / "a.png", "-o", out, *options) == 0
    picture = image.read(clean / "a.png").pixels
    expected = recipe("five-families")(picture, np.random.default_rng(3), severity=1.5)
    assert np.abs(image.read(out).pixels - expected.picture).max() < 0.51 / 255
    assert np.abs(image.read(mask).pixels[..., 0] - expected.mask).max() < 0.51 / 255
    assert expected.mask.max() > 0


def test_single_damages_happen_and_only_these(clean: Path, tmp_path: Path) -> None:
    out, mask = tmp_path / "o.png", tmp_path / "m.png"
    options = ("--damage", "scratches", "--damage", "cracks", "--save-mask", mask, "--seed", 1)
    assert _main("degrade", clean / "a.png", "-o", out, *options) == 0
    touched = image.read(mask).pixels[..., 0] > 0
    changed = np.abs(image.read(out).pixels - image.read(clean / "a.png").pixels).max(axis=2) > 1.01 / 255
    assert changed.any() and not changed[~touched].any()


def test_degrade_refuses_what_would_be_lost_or_means_nothing(clean: Path, tmp_path: Path) -> None:
    a = clean / "a.png"
    before = a.read_bytes()
    assert _main("degrade", a, "-o", a, "--overwrite") == 2
    assert a.read_bytes() == before
    assert _main("degrade", a, "-o", tmp_path / "x.png", "--recipe", "rot") == 2
    assert _main("degrade", a, "-o", tmp_path / "x.png", "--damage", "rot") == 2
    assert _main("degrade", a, "-o", tmp_path / "x.png", "--damage", "dust", "--recipe", "tone") == 2
    assert _main("degrade", a) == 0
    assert (clean / "a-damaged.png").exists() and _main("degrade", a) == 2
    assert _main("degrade", clean / "nothing.png") == 3


def test_mask_is_the_probability_or_black_and_white(tiny_bundle: Bundle, clean: Path, tmp_path: Path) -> None:
    options = ("--model", tiny_bundle.path, "--engine", "pytorch", "--threads", 1)
    gray, sharp = tmp_path / "gray.png", tmp_path / "sharp.png"
    assert _main("mask", clean / "a.png", "-o", gray, *options) == 0
    found = image.read(gray)
    assert found.gray and (found.height, found.width) == (64, 80)
    middle = float(np.median(found.pixels))
    assert _main("mask", clean / "a.png", "-o", sharp, "--threshold", middle, *options) == 0
    levels = image.read(sharp).pixels
    assert set(np.unique(levels)) <= {0.0, 1.0}
    clear = np.abs(found.pixels - middle) > 1.01 / 255
    assert np.array_equal((levels == 1)[clear], (found.pixels > middle)[clear])
    assert _main("mask", clean / "a.png", "-o", gray, *options) == 2


def test_compare_writes_a_picture_or_a_page(clean: Path, tmp_path: Path) -> None:
    a, b = clean / "a.png", clean / "b.png"
    assert _main("compare", a, b, "-o", tmp_path / "both.png") == 0
    both = image.read(tmp_path / "both.png").pixels
    assert np.array_equal(both[:, :80], image.read(a).pixels)
    assert np.array_equal(both[:, -80:], image.read(b).pixels)
    assert _main("compare", a, b, "-o", tmp_path / "page.html", "--labels", "old", "new") == 0
    assert _main("compare", a, b, "-o", tmp_path / "page", "--html", "--labels", "old", "new") == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.count("data:image/png") == 2 and ">old<" in page
    assert page == (tmp_path / "page").read_text(encoding="utf-8")
    assert _main("compare", a, b, "-o", tmp_path / "page.html") == 2
    assert _main("compare", a, b, "-o", a, "--overwrite") == 2


def _eval(bundle: Bundle, *arguments: object) -> int:
    return _main("eval", *arguments, "--model", bundle.path, "--engine", "null")


def test_eval_of_a_model_that_does_nothing_equals_its_control(
    hollow_bundle: Bundle, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    options = ("--recipe", "five-families", "--seed", 2, "--rows", "identity,median,model", "--report", out)
    assert _eval(hollow_bundle, clean, *options) == 0
    facts = json.loads(out.read_text())
    means = facts["means"]
    assert list(means) == ["identity", "median", "tiny"] and facts["complete"]
    for metric in ("psnr", "ssim", "tone_aligned_psnr", "gradient_energy", "rms_damaged"):
        assert means["tiny"][metric] == pytest.approx(means["identity"][metric], rel=1e-5)
        values = [each[metric] for each in facts["pictures"] if each["method"] == "identity"]
        assert means["identity"][metric] == pytest.approx(np.mean(values)) and len(values) == 2
    assert facts["rows"]["tiny"]["evaluations"] == 1 and facts["engine"]["name"] == "null"
    assert all(row["seconds_median"] > 0 for row in facts["rows"].values())
    table = capsys.readouterr().out
    assert f"{means['median']['psnr']:.2f}" in table and "mean of 2 pictures" in table
    assert max(map(len, table.splitlines())) <= 120
    assert _eval(hollow_bundle, clean, *options) == 2


def test_eval_of_one_picture_does_not_depend_on_the_others(
    hollow_bundle: Bundle, clean: Path, tmp_path: Path
) -> None:
    figures = []
    for name, options in (("all.json", ()), ("one.json", ("--limit", 1))):
        rows = ("--rows", "identity,model", "--json", tmp_path / name)
        assert _eval(hollow_bundle, clean, *rows, *options, "-q") == 0
        pictures = json.loads((tmp_path / name).read_text())["pictures"]
        figures.append([each["psnr"] for each in pictures if each["picture"] == "a.png"])
    assert figures[0] == figures[1]


def test_eval_on_pairs_and_a_bad_one_among_them(
    hollow_bundle: Bundle, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, masks = tmp_path / "damaged", tmp_path / "masks"
    damaged.mkdir()
    masks.mkdir()
    pixels = image.read(clean / "a.png").pixels
    image.write(Image(np.clip(pixels + np.float32(26 / 255), 0, 1)), damaged / "a.tif")
    out = tmp_path / "figures.json"
    pairs = ("--clean", clean, "--damaged", damaged, "--rows", "identity,model")
    assert _eval(hollow_bundle, *pairs, "--report", out, "-q") == 0
    assert "no twin" in capsys.readouterr().err
    means = json.loads(out.read_text())["means"]["identity"]
    assert means["psnr"] == pytest.approx(-20 * np.log10(26 / 255), abs=0.01)
    assert means["rms_damaged"] is None
    left = np.broadcast_to((np.arange(80) < 20)[:, None], (64, 80, 1))
    image.write(Image(left.astype(np.float32)), masks / "a.png")
    assert _eval(hollow_bundle, *pairs, "--masks", masks, "--report", out, "-q", "--overwrite") == 0
    means = json.loads(out.read_text())["means"]["identity"]
    assert means["rms_damaged"] == pytest.approx(26 / 255, abs=1e-4)
    (damaged / "b.png").write_bytes(b"no picture")
    assert _eval(hollow_bundle, *pairs, "-q") == 3
    assert "b.png" in capsys.readouterr().err
    assert _eval(hollow_bundle, "--clean", clean) == 2
    assert _eval(hollow_bundle, clean, "--masks", masks) == 2
    assert _eval(hollow_bundle, tmp_path / "nowhere") == 4


def test_eval_takes_the_rows_and_steps_that_it_is_told(
    hollow_bundle: Bundle, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    assert _main("eval", clean, "--rows", "blur,greyworld", "--report", out, "--model", "no-such-model") == 0
    facts = json.loads(out.read_text())
    assert list(facts["rows"]) == ["blur", "greyworld"] and facts["model"] is None
    steps = ("--rows", "model", "--steps", "1,4", "--no-clean", "--report", out, "--overwrite")
    assert _eval(hollow_bundle, clean, *steps) == 0
    facts = json.loads(out.read_text())
    assert {name: row["evaluations"] for name, row in facts["rows"].items()} == {"tiny@1": 1, "tiny@4": 4}
    assert facts["means"]["tiny@1"]["clean_psnr"] is None
    capsys.readouterr()
    assert _eval(hollow_bundle, clean, "--rows", "identity,magic") == 2
    assert "'magic'" in capsys.readouterr().err
    assert _eval(hollow_bundle, clean, "--steps", "1,none") == 2


def test_eval_goes_without_what_is_not_installed_and_says_so(
    hollow_bundle: Bundle,
    clean: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("cv2", "skimage", "skimage.color", "skimage.restoration", "piq"):
        monkeypatch.setitem(sys.modules, module, None)
    out = tmp_path / "figures.json"
    assert _eval(hollow_bundle, clean, "--report", out) == 0
    told = capsys.readouterr().err
    for name in ("nlmeans", "inpaint", "gmsd", "delta_e2000", "face_psnr"):
        assert f"without {name}: " in told
    assert 'pip install "relume[eval]"' in told and 'pip install "relume[perceptual]"' in told
    facts = json.loads(out.read_text())
    assert list(facts["rows"]) == ["identity", "blur", "median", "autocontrast", "greyworld", "tiny"]
    assert facts["means"]["tiny"]["gmsd"] is None and "gmsd" in facts["lacking"]
    assert _eval(hollow_bundle, clean, "--rows", "nlmeans") == 2
    assert "relume[eval]" in capsys.readouterr().err


def test_eval_shows_the_best_the_median_and_the_worst(
    hollow_bundle: Bundle, clean: Path, tmp_path: Path
) -> None:
    shown = tmp_path / "shown"
    options = ("--rows", "identity,median,model", "--pictures", shown, "-q")
    assert _eval(hollow_bundle, clean, *options) == 0
    page = (shown / "index.html").read_text(encoding="utf-8")
    for rank in ("best", "median", "worst"):
        for label in ("identity", "median", "tiny", "truth"):
            assert f'src="{rank}-{label}.png"' in page
            assert image.read(shown / f"{rank}-{label}.png").width == 80
    assert _eval(hollow_bundle, clean, *options) == 2
    assert _eval(hollow_bundle, clean, *options, "--overwrite") == 0


def test_eval_keeps_what_was_measured_when_it_is_interrupted(
    hollow_bundle: Bundle, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relume.tasks import evaluate

    true_score = evaluate.score

    def score(pair: evaluate.Pair, *others: Any) -> list[evaluate.Score]:
        if pair.name == "b.png":
            raise KeyboardInterrupt
        return true_score(pair, *others)

    monkeypatch.setattr(evaluate, "score", score)
    out = tmp_path / "figures.json"
    options = ("--rows", "identity,model", "--report", out)
    assert _eval(hollow_bundle, clean, *options, "-q") == 130
    facts = json.loads(out.read_text())
    assert not facts["complete"] and {each["picture"] for each in facts["pictures"]} == {"a.png"}


def test_train_changes_the_recipe_only_where_told(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    import relume.train

    seen: list[Any] = []

    def train(config: Any, run: Any, *, report: Any) -> Path:
        seen.append((config, run))
        return Path("checkpoint")

    monkeypatch.setattr(relume.train, "train", train)
    own = relume.train.TRAINABLE["photo"]
    base = ("train", "photo", "--data", clean, "--out", tmp_path / "run")
    options = (
        "--steps",
        9,
        "--lr",
        0.5,
        "--exclude",
        "vv",
        "x_",
        "--compile",
        "--workers",
        0,
        "--device",
        "cpu",
    )
    assert _main(*base) == 0 and _main(*base, *options, "--seed", 0) == 0
    assert seen[0][0] == own
    assert seen[1][0] == replace(own, steps=9, lr=0.5, exclude=("vv", "x_"), seed=0)
    assert (seen[1][1].compiled, seen[1][1].workers, seen[1][1].device) == (True, 0, "cpu")
    assert _main(*base, "--init", "photo") == 0 and seen[2][1].init == find("photo").path
    assert _main(*base, "--init", tmp_path / "nothing") == 2 and len(seen) == 3
    err = capsys.readouterr().err
    assert "log.jsonl" in err and "samples-" in err
    assert _main("train", "sculpture", "--data", clean, "--out", tmp_path / "run") == 2


def test_export_hands_over_what_it_was_given(
    hollow_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    import relume.train.export

    seen: dict[str, Any] = {}

    def export(local: Path, tone: Path, out: Path, **settings: Any) -> Bundle:
        seen.update(settings, local=local, tone=tone, out=out)
        return hollow_bundle

    monkeypatch.setattr(relume.train.export, "export_photo", export)
    (tmp_path / "run").mkdir()
    for path in (tmp_path / "run" / "checkpoint.safetensors", tmp_path / "tone.safetensors"):
        path.write_bytes(b"")
    facts = tmp_path / "facts.json"
    facts.write_text('{"licence": "CC0"}')
    files = (tmp_path / "run", tmp_path / "tone.safetensors")
    assert _main("export", *files, "-o", tmp_path / "new", "--name", "x", "--training", facts) == 0
    assert seen["local"] == tmp_path / "run" / "checkpoint.safetensors" and seen["tone"] == files[1]
    assert (seen["name"], seen["training"], seen["overwrite"]) == ("x", {"licence": "CC0"}, False)
    assert _main("export", tmp_path / "nothing", files[1], "-o", tmp_path / "new") == 2
    facts.write_text("[1]")
    assert _main("export", *files, "-o", tmp_path / "new", "--training", facts) == 2


def _run_of(name: str, folder: Path, settings: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The folder of a run of a very small U-Net."""
    torch = pytest.importorskip("torch")
    from relume.nets import build
    from relume.train import TRAINABLE
    from relume.train.checkpoint import save_checkpoint

    shape = {"base": 8, "multipliers": [1, 2], **changes}
    config = replace(TRAINABLE[name], config=shape, size=16, settings=settings or {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build(config.net, config.config)
        with torch.no_grad():
            average = {
                name: value + 0.02 * torch.randn(value.shape) for name, value in net.state_dict().items()
            }
    optimizer = torch.optim.AdamW(net.parameters())
    facts = json.loads(json.dumps(asdict(config)))
    save_checkpoint(folder, step=1, net=net, average=average, optimizer=optimizer, facts=facts)
    return folder


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    """The folder of a run of a very small unconditional U-Net."""
    return _run_of("generator", tmp_path / "run", conditional=False)


def test_generate_draws_reproducibly_and_each_picture_alone(generator: Path, tmp_path: Path) -> None:
    options = ("--checkpoint", generator, "--sampler", "dpm++2m", "--steps", 3)
    assert _main("generate", *options, "-n", 3, "--seed", 5, "-o", tmp_path / "sheet.png") == 0
    assert _main("generate", *options, "-n", 3, "--seed", 5, "-o", tmp_path / "again.png") == 0
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    sheet = image.read(tmp_path / "sheet.png").pixels
    assert sheet.shape == (32, 32, 3) and np.all(sheet[16:, 16:] == 1)  # the fourth place stays free
    assert _main("generate", *options, "--seed", 6, "-o", tmp_path / "second.png") == 0
    alone = image.read(tmp_path / "second.png").pixels
    assert np.abs(sheet[:16, 16:] - alone).max() < 1.01 / 255
    assert np.abs(sheet[:16, :16] - alone).max() > 0.1


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "unipc"])
def test_every_kind_of_sampler_generates(generator: Path, tmp_path: Path, sampler: str) -> None:
    options = ("--checkpoint", generator / "checkpoint.safetensors", "--sampler", sampler, "--steps", 2)
    assert _main("generate", *options, "--size", 8, "-o", tmp_path / "o.png") == 0
    assert image.read(tmp_path / "o.png").pixels.std() > 0.05


def test_a_net_is_read_as_what_it_was_trained_to_predict(tmp_path: Path) -> None:
    from relume.tasks.generate import drawn, table
    from relume.train.checkpoint import averaged

    for predicts in ("eps", "v"):
        run = _run_of("generator", tmp_path / predicts, settings={"predicts": predicts}, conditional=False)
        options = ("--checkpoint", run, "--sampler", "ddim", "--steps", 3, "--seed", 5)
        assert _main("generate", *options, "-o", tmp_path / f"{predicts}.png") == 0
        net, _, _ = averaged(run / "checkpoint.safetensors")
        (expected,) = drawn(net, table("ddim", 3), (16, 16), [5], predicts=predicts)
        found = image.read(tmp_path / f"{predicts}.png").pixels
        assert np.abs(found - np.clip(expected, 0, 1)).max() < 1.01 / 255


def test_generate_refuses_what_cannot_be(generator: Path, tmp_path: Path) -> None:
    base = ("generate", "-o", tmp_path / "o.png", "--checkpoint")
    (tmp_path / "broken").write_bytes(b"abc")
    assert _main(*base, tmp_path / "broken") == 5
    assert _main(*base, tmp_path / "nothing") == 2
    assert _main(*base, generator, "--sampler", "dice") == 2
    assert _main(*base, generator, "--steps", 301) == 2
    assert _main(*base, generator, "--size", 9) == 2
    assert _main(*base, generator, "--device", "abacus", "--steps", 2) == 6
    assert not (tmp_path / "o.png").exists()


def test_eval_measures_chains_of_a_checkpoint_as_generate_draws_them(clean: Path, tmp_path: Path) -> None:
    from relume.bench import psnr

    run = _run_of("ddpm", tmp_path / "ddpm", conditional=True)
    damaged, drawn, out = tmp_path / "damaged", tmp_path / "drawn.png", tmp_path / "figures.json"
    damaged.mkdir()
    image.write(image.read(clean / "a.png"), damaged / "a.png")
    pairs = ("--clean", clean, "--damaged", damaged, "--rows", "identity", "-q", "--seed", 3)
    chains = ("--chain", f"{run},ddim,2", "--chain", f"{run},ddpm,3")
    assert _main("eval", *pairs, *chains, "--report", out) == 0
    facts = json.loads(out.read_text())
    assert {name: row["evaluations"] for name, row in facts["rows"].items()} == {
        "identity": None,
        "ddim@2": 2,
        "ddpm@3": 3,
    }
    assert facts["rows"]["ddim@2"]["parameters"] == facts["rows"]["ddpm@3"]["parameters"] > 0
    options = ("--checkpoint", run, "--sampler", "ddim", "--steps", 2, "--seed", 3, "-o", drawn)
    assert _main("generate", "--condition", damaged / "a.png", *options) == 0
    expected = psnr(image.read(drawn).pixels, image.read(clean / "a.png").pixels)
    assert facts["means"]["ddim@2"]["psnr"] == pytest.approx(expected, abs=0.02)
    assert _main("eval", *pairs, "--chain", f"{run},ddim,2", "--chain", f"{run},ddim,2") == 2
    assert _main("eval", *pairs, "--chain", f"{run},dice") == 2
    assert _main("eval", *pairs, "--chain", f"{run},ddim,2,1") == 2
    assert _main("eval", clean, "--rows", ",") == 2
