r"""The figures of an evaluation, against figures worked out here."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from relume import Restorer, Settings, tiles
from relume.bench.classical import row
from relume.bundle import Bundle
from relume.errors import UsageError
from relume.image import Image
from relume.tasks.contenders import Answer, Contender, classical, parameters, restored
from relume.tasks.evaluate import CAP_DB, FIGURES, Pair, Ruler, Score, damaged_by, score, shrunk
from relume.tasks.sheet import Section, Shown, sheet
from relume.tasks.standings import counts, extremes, means, paired, standings

IDENTITY, MEDIAN = classical(row("identity")), classical(row("median"))
RULER = Ruler.here()


def _ramp(height: int = 24, width: int = 32, channels: int = 3) -> Image:
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [0.2 + 0.5 * rows, 0.3 + 0.4 * columns, 0.6 - 0.3 * rows]
    return Image(np.stack(planes[:channels], axis=-1).astype(np.float32))


def _noisy(image: Image, strength: float = 0.1) -> Image:
    noise = np.random.default_rng(0).standard_normal(image.pixels.shape)
    return Image(np.clip(image.pixels + strength * noise, 0, 1).astype(np.float32))


def _answering(name: str, run: Callable[[Image], Answer], **facts: object) -> Contender:
    return Contender(name, name, run, **facts)  # type: ignore[arg-type]


def _figures(pair: Pair, contender: Contender) -> dict[str, float | None]:
    (only,) = score(pair, [contender], RULER)
    assert list(only.figures) == list(FIGURES)
    return only.figures


def test_psnr_is_minus_ten_log_ten_of_the_squared_error() -> None:
    clean = _ramp()
    damaged = Image((clean.pixels + np.float32(0.05)).astype(np.float32))
    found = _figures(Pair("a", clean, damaged), IDENTITY)
    assert found["psnr"] == pytest.approx(-20 * math.log10(0.05), abs=1e-3)
    # A constant offset is tone and nothing else: aligned, the picture is the truth.
    assert found["tone_aligned_psnr"] == CAP_DB
    assert 0.9 < found["ssim"] < 1 and found["seconds"] >= 0  # type: ignore[operator]
    assert found["gradient_energy"] == pytest.approx(1, abs=1e-5)


def test_an_equal_picture_scores_the_cap_and_not_infinity() -> None:
    for contender in (IDENTITY, MEDIAN):
        found = _figures(Pair("a", _ramp(), _ramp()), contender)
        assert (found["psnr"], found["tone_aligned_psnr"]) == (CAP_DB, CAP_DB)
        assert found["ssim"] == pytest.approx(1)


def test_the_median_takes_lone_specks_away_and_the_identity_does_not() -> None:
    clean = Image(np.full((24, 24, 3), 0.5, np.float32))
    pixels = clean.pixels.copy()
    pixels[4::6, 4::6] = 1
    identity, median = score(Pair("specks", clean, Image(pixels)), [IDENTITY, MEDIAN], RULER)
    assert median.figures["psnr"] == CAP_DB
    assert identity.figures["psnr"] < 30  # type: ignore[operator]
    assert identity.figures["gradient_energy"] is None  # the truth has no gradient to compare with


def test_a_gray_picture_is_measured_like_its_three_channel_twin() -> None:
    gray = _ramp(channels=1)
    one = Pair("a", gray, _noisy(gray))
    three = Pair("a", *(Image(np.repeat(each.pixels, 3, axis=2)) for each in (one.clean, one.damaged)))
    for contender in (IDENTITY, MEDIAN):
        a, b = _figures(one, contender), _figures(three, contender)
        for figure in a.keys() - {"seconds"}:
            assert a[figure] == pytest.approx(b[figure]), figure


def test_a_method_is_judged_by_what_it_answers() -> None:
    clean = _ramp()
    oracle = _answering("oracle", lambda _: Answer(clean))
    first, *others = score(Pair("a", clean, Image(1 - clean.pixels)), [oracle, IDENTITY, MEDIAN], RULER)
    assert first.figures["psnr"] == CAP_DB
    assert all(other.figures["psnr"] < 20 for other in others)  # type: ignore[operator]


def test_harm_is_what_a_contender_does_to_the_clean_picture() -> None:
    pair = Pair("a", _ramp(), _noisy(_ramp()))
    dim = _answering("dim", lambda image: Answer(Image(image.pixels - np.float32(0.01))))
    assert _figures(pair, dim)["clean_psnr"] == pytest.approx(40, abs=0.01)
    assert _figures(pair, IDENTITY)["clean_psnr"] == CAP_DB
    (unasked,) = score(pair, [dim], Ruler.here(clean=False))
    assert unasked.figures["clean_psnr"] is None and "clean_psnr" in Ruler.here(clean=False).lacking


def _masked() -> tuple[Pair, NDArray[np.float32]]:
    clean = _ramp()
    mask = np.zeros((24, 32), np.float32)
    mask[:, 10:14] = 1
    pixels = np.where(mask[..., None] > 0, np.float32(1), clean.pixels - np.float32(0.1))
    return Pair("a", clean, Image(pixels), mask), mask


def test_errors_are_told_inside_and_outside_of_the_mask() -> None:
    pair, mask = _masked()
    found = _figures(pair, IDENTITY)
    inside = np.sqrt(np.mean((1 - pair.clean.pixels[mask > 0]) ** 2))
    assert found["rms_damaged"] == pytest.approx(inside, rel=1e-5)
    assert found["rms_undamaged"] == pytest.approx(0.1, rel=1e-5)
    unknown = _figures(Pair("a", pair.clean, pair.damaged), IDENTITY)
    assert unknown["rms_damaged"] is None and unknown["rms_undamaged"] is None


def test_the_mask_that_is_answered_is_measured() -> None:
    pair, mask = _masked()
    half = mask * (np.arange(24) < 12)[:, None]
    exact = _answering("exact", lambda image: Answer(image, mask), probability=True)
    timid = _answering("timid", lambda image: Answer(image, half), probability=True)
    scores = _answering("scores", lambda image: Answer(image, 100 * mask))
    found = _figures(pair, exact)
    assert (found["mask_auc"], found["mask_iou"], found["mask_f1"]) == (1, 1, 1)
    found = _figures(pair, timid)
    assert (found["mask_auc"], found["mask_iou"]) == (pytest.approx(0.75), pytest.approx(0.5))
    found = _figures(pair, scores)
    assert found["mask_auc"] == 1 and found["mask_iou"] is None  # no probability: one half means nothing
    assert _figures(pair, IDENTITY)["mask_auc"] is None


def test_seams_are_looked_for_where_the_tiled_contender_has_them() -> None:
    clean = Image(np.full((40, 60, 3), 0.5, np.float32))
    damaged = _noisy(clean, 0.02)

    def stepped(image: Image) -> Answer:
        return Answer(Image(image.pixels + np.float32(0.1) * (np.arange(60) >= 30)[:, None]))

    def bands(height: int, width: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        assert (height, width) == (40, 60)
        return [], [(29, 31)]

    tiled = _answering("tiled", stepped, seams=bands)
    control, ours = score(Pair("a", clean, damaged), [IDENTITY, tiled], RULER)
    assert control.figures["seam_energy"] == pytest.approx(1, abs=0.3)
    assert ours.figures["seam_energy"] > 3  # type: ignore[operator]
    assert _figures(Pair("a", clean, damaged), IDENTITY)["seam_energy"] is None


def test_a_restorer_tells_evaluations_parameters_mask_and_seams(hollow_bundle: Bundle) -> None:
    restorer = Restorer(hollow_bundle.path, engine="null")
    contender = restored(restorer, Settings(steps=2), name="tiny", title="two steps")
    pair = Pair("a", _ramp(70, 100), _noisy(_ramp(70, 100)))
    found = _figures(pair, contender)
    assert found["evaluations"] == 2
    assert contender.parameters == parameters(hollow_bundle) == 2  # the hollow weights are two numbers
    assert contender.seams is not None
    assert contender.seams(70, 100) == (tiles.seams(70, 64, 16), tiles.seams(100, 64, 16))
    direct = restorer.restore(pair.damaged, Settings(steps=2))
    answer = contender.run(pair.damaged)
    assert np.array_equal(answer.image.pixels, direct.image.pixels)
    assert answer.mask is not None and np.array_equal(answer.mask, direct.mask)


def test_seams_of_tiles_are_where_a_step_between_tiles_is_crossfaded() -> None:
    calls = iter(range(100))
    steps = tiles.apply(
        lambda cut: cut * 0 + next(calls), np.zeros((1, 150, 1), np.float32), tile=64, overlap=16
    )
    mixed = np.flatnonzero(steps[0, :, 0] % 1)
    expected = np.concatenate([np.arange(*band) for band in tiles.seams(150, 64, 16)])
    assert np.array_equal(mixed, expected) and len(expected) == 16


def test_damage_depends_on_seed_and_name_and_nothing_else() -> None:
    clean = _ramp(64, 64)
    damage = lambda name, seed: damaged_by(name, clean, recipe_name="five-families", seed=seed)  # noqa: E731
    first = damage("a.png", 1)
    damage("z.png", 9)
    assert np.array_equal(first.damaged.pixels, damage("a.png", 1).damaged.pixels)
    assert not np.array_equal(first.damaged.pixels, damage("b.png", 1).damaged.pixels)
    assert not np.array_equal(first.damaged.pixels, damage("a.png", 2).damaged.pixels)
    levels = first.damaged.pixels * 255
    assert np.allclose(np.round(levels), levels, atol=1e-4)  # what an 8-bit file can hold
    assert first.mask is not None and first.mask.shape == (64, 64) and first.mask.max() > 0.5


def _made(*rows: tuple[str, str, float | None]) -> list[Score]:
    blank = dict.fromkeys(FIGURES)
    return [
        Score(picture, method, {**blank, "psnr": value, "seconds": 1.0}) for picture, method, value in rows
    ]


def test_means_are_over_the_pictures_that_have_the_figure() -> None:
    made = _made(("a", "x", 10.0), ("a", "y", 1.0), ("b", "x", 30.0), ("b", "y", 2.0), ("c", "x", None))
    found = means(made)
    assert list(found) == ["x", "y"] and set(found["x"]) == set(FIGURES)
    assert found["x"]["psnr"] == pytest.approx(20) and found["y"]["psnr"] == pytest.approx(1.5)
    assert found["x"]["gmsd"] is None  # never 0
    assert counts(made)["x"]["psnr"] == 2 and counts(made)["x"]["seconds"] == 3


def test_differences_pair_the_same_picture() -> None:
    made = _made(("a", "x", 11.0), ("a", "y", 10.0), ("b", "x", 31.5), ("b", "y", 30.0), ("c", "x", 99.0))
    found = paired(made, "x", "y", "psnr")
    assert found is not None and found.mean == pytest.approx(1.25) and found.pictures == 2
    assert 1 <= found.low <= found.high <= 1.5
    assert paired(made, "x", "y", "gmsd") is None


def test_best_median_and_worst_are_told_by_what_was_gained() -> None:
    gains = {"a": 1.0, "b": -2.0, "c": 5.0, "d": 3.0, "e": 0.0}
    made = _made(*((name, "identity", 20.0 + 7 * i) for i, name in enumerate(gains)))
    made += _made(*((name, "m", 20.0 + 7 * i + gain) for i, (name, gain) in enumerate(gains.items())))
    assert extremes(made, "m") == {"best": "c", "median": "a", "worst": "b"}
    assert extremes(made, "nobody") == {}


def test_standings_are_json_and_compare_what_was_trained_with_all_else() -> None:
    contenders = [IDENTITY, MEDIAN, _answering("net", IDENTITY.run, parameters=7)]
    pairs = [Pair(name, _ramp(), _noisy(_ramp(), strength)) for name, strength in (("a", 0.1), ("b", 0.2))]
    scores = [each for pair in pairs for each in score(pair, contenders, RULER)]
    found = json.loads(json.dumps(standings(scores, contenders, RULER), allow_nan=False))
    told = standings(scores, contenders, RULER, against="median")["differences"]
    assert [(each["ours"], each["theirs"]) for each in told] == [
        ("median", "identity"),
        ("net", "identity"),
        ("identity", "median"),
        ("net", "median"),
    ]
    pairs_told = [(each["ours"], each["theirs"]) for each in found["differences"]]
    assert pairs_told == [("median", "identity"), ("net", "identity"), ("net", "median")]
    gain = found["differences"][0]["intervals"]["psnr"]
    assert gain["mean"] == pytest.approx(
        found["means"]["median"]["psnr"] - found["means"]["identity"]["psnr"]
    )
    assert gain["low"] > 0
    assert found["differences"][1]["intervals"]["psnr"]["mean"] == 0
    assert found["rows"]["net"]["parameters"] == 7 and found["rows"]["identity"]["control"]
    assert len(found["pictures"]) == 6 and set(found["figures"]) == set(FIGURES)


def test_what_is_not_installed_is_told_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relume.tasks.evaluate.faces_lacking", lambda: "no faces: pip install x")
    ruler = Ruler.here()
    assert ruler.lacking["face_psnr"] == "no faces: pip install x" and not ruler.faces
    (only,) = score(Pair("a", _ramp(), _noisy(_ramp())), [IDENTITY], ruler)
    assert only.figures["face_psnr"] is None


def test_faces_are_measured_where_the_clean_picture_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from relume.bench.regions import Box

    monkeypatch.setattr("relume.tasks.evaluate.find_faces", lambda truth: [Box(2, 3, 12, 16)])
    clean = _ramp()
    pixels = clean.pixels.copy()
    pixels[2:14, 3:19] += np.float32(0.1)
    ruler = Ruler(RULER.metrics, True, False, {})
    (only,) = score(Pair("a", clean, Image(pixels)), [IDENTITY], ruler)
    assert only.figures["face_psnr"] == pytest.approx(20, abs=1e-3)
    assert only.figures["psnr"] > 20  # type: ignore[operator]


def test_pictures_of_two_sizes_are_no_pair() -> None:
    with pytest.raises(UsageError, match="one size"):
        Pair("a", _ramp(24, 32), _ramp(32, 24))
    with pytest.raises(UsageError, match="one size"):
        Pair("a", _ramp(24, 32), _ramp(24, 32), np.zeros((32, 24), np.float32))


def test_shrinking_bounds_the_longer_side_and_never_enlarges() -> None:
    assert (shrunk(_ramp(24, 32), 16).height, shrunk(_ramp(24, 32), 16).width) == (12, 16)
    small = _ramp()
    assert shrunk(small, 32) is small


def test_a_sheet_shows_every_picture_and_trusts_no_name() -> None:
    page = sheet("a <b>", [Section("best: x&y", [Shown("1.png", "identity: 20 dB"), Shown("2.png", '"<i>')])])
    assert page.count("<img") == 2 and 'src="1.png"' in page and "identity: 20 dB" in page
    assert "<i>" not in page and "a &lt;b&gt;" in page and "x&amp;y" in page
