r"""The figures of an evaluation, against figures worked out here."""

import dataclasses
import math

import numpy as np
import pytest

from relume.errors import UsageError
from relume.image import Image
from relume.tasks.evaluate import CAP_DB, CONTROLS, METRICS, Pair, damaged_by, means, score, shrunk


def _ramp(height: int = 24, width: int = 32, channels: int = 3) -> Image:
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [0.2 + 0.5 * rows, 0.3 + 0.4 * columns, 0.6 - 0.3 * rows]
    return Image(np.stack(planes[:channels], axis=-1).astype(np.float32))


def test_psnr_is_minus_ten_log_ten_of_the_squared_error() -> None:
    clean = _ramp()
    damaged = Image((clean.pixels + np.float32(0.05)).astype(np.float32))
    (only,) = score(Pair("a", clean, damaged), {"identity": CONTROLS["identity"]})
    assert only.psnr == pytest.approx(-20 * math.log10(0.05), abs=1e-3)
    # A constant offset is tone and nothing else: aligned, the picture is the truth.
    assert only.tone_aligned_psnr == CAP_DB
    assert 0.9 < only.ssim < 1 and only.seconds >= 0


def test_an_equal_picture_scores_the_cap_and_not_infinity() -> None:
    for only in score(Pair("a", _ramp(), _ramp()), {"identity": CONTROLS["identity"]}):
        assert (only.psnr, only.tone_aligned_psnr) == (CAP_DB, CAP_DB)
        assert only.ssim == pytest.approx(1)


def test_the_median_takes_lone_specks_away_and_the_identity_does_not() -> None:
    clean = Image(np.full((24, 24, 3), 0.5, np.float32))
    pixels = clean.pixels.copy()
    pixels[4::6, 4::6] = 1
    identity, median = score(Pair("specks", clean, Image(pixels)), CONTROLS)
    assert median.psnr == CAP_DB and identity.psnr < 30


def test_a_gray_picture_is_measured_like_its_three_channel_twin() -> None:
    gray = _ramp(channels=1)
    noisy = np.clip(gray.pixels + 0.1 * np.random.default_rng(0).standard_normal(gray.pixels.shape), 0, 1)
    one = Pair("a", gray, Image(noisy.astype(np.float32)))
    three = Pair("a", *(Image(np.repeat(each.pixels, 3, axis=2)) for each in (one.clean, one.damaged)))
    for a, b in zip(score(one, CONTROLS), score(three, CONTROLS), strict=True):
        assert a.psnr == pytest.approx(b.psnr) and a.ssim == pytest.approx(b.ssim)


def test_a_method_is_judged_by_what_it_answers() -> None:
    clean = _ramp()
    methods = {"oracle": lambda _: clean, **CONTROLS}
    oracle, *others = score(Pair("a", clean, Image(1 - clean.pixels)), methods)
    assert oracle.psnr == CAP_DB and all(other.psnr < 20 for other in others)


def test_damage_depends_on_seed_and_name_and_nothing_else() -> None:
    clean = _ramp(64, 64)
    damage = lambda name, seed: damaged_by(name, clean, recipe_name="five-families", seed=seed)  # noqa: E731
    first = damage("a.png", 1).damaged.pixels
    damage("z.png", 9)
    assert np.array_equal(first, damage("a.png", 1).damaged.pixels)
    assert not np.array_equal(first, damage("b.png", 1).damaged.pixels)
    assert not np.array_equal(first, damage("a.png", 2).damaged.pixels)
    assert np.allclose(np.round(first * 255), first * 255, atol=1e-4)  # what an 8-bit file can hold


def test_means_are_over_the_pictures_of_each_method() -> None:
    base = score(Pair("a", _ramp(), _ramp()), {"identity": CONTROLS["identity"]})[0]
    made = [
        dataclasses.replace(base, picture=name, method=method, psnr=value)
        for name, method, value in [("a", "x", 10.0), ("a", "y", 1.0), ("b", "x", 30.0), ("b", "y", 2.0)]
    ]
    found = means(made)
    assert list(found) == ["x", "y"] and set(found["x"]) == set(METRICS)
    assert found["x"]["psnr"] == pytest.approx(20) and found["y"]["psnr"] == pytest.approx(1.5)


def test_pictures_of_two_sizes_are_no_pair() -> None:
    with pytest.raises(UsageError, match="one size"):
        Pair("a", _ramp(24, 32), _ramp(32, 24))


def test_shrinking_bounds_the_longer_side_and_never_enlarges() -> None:
    assert (shrunk(_ramp(24, 32), 16).height, shrunk(_ramp(24, 32), 16).width) == (12, 16)
    small = _ramp()
    assert shrunk(small, 32) is small
