r"""Classical backgrounds: what each can recover exactly, and how they rank on simulated images."""

import numpy as np
import pytest

from relume.background import ESTIMATORS, corrected, optical_density
from relume.bench.transmission import report
from relume.degrade.illumination import Simulator
from relume.errors import MissingExtra, UsageError

pytest.importorskip("skimage")
Y, X = np.mgrid[-1:1:128j, -1:1:128j]
SMOOTH = np.exp(0.3 * X - 0.2 * Y**2 + 0.1 * X * Y)
SMOOTH /= np.median(SMOOTH)


def fixed(seed: int = 0) -> np.ndarray:
    return SMOOTH * np.exp(0.03 * np.random.default_rng(seed).standard_normal(SMOOTH.shape))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimate_has_median_one_and_does_not_depend_on_exposure(name: str) -> None:
    estimator = ESTIMATORS[name]
    assert estimator.name == name
    if name == "basic":
        pytest.importorskip("basicpy")
    image, references = fixed() * 700.0, [900 * fixed(s) for s in range(1, 5)]
    before = image.copy()
    found = estimator(image, references)
    assert found.shape == image.shape and np.median(found) == pytest.approx(1)
    np.testing.assert_allclose(estimator(3 * image, references), found, rtol=2e-3)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "name", ["polynomial", "rolling-ball", "gaussian", "tile-median", "flat", "eigen-flats"]
)
def test_an_empty_smooth_field_is_found(name: str) -> None:
    found = ESTIMATORS[name](5000 * SMOOTH, [4000 * SMOOTH] * 4)
    tolerance = {"gaussian": 0.25, "rolling-ball": 0.12}.get(
        name, 2e-3
    )  # both bend at the borders of a small image
    assert np.abs(np.log(found / SMOOTH)).std() < tolerance


def test_the_polynomial_is_exact_on_its_own_and_deaf_to_a_small_object() -> None:
    image = 3000 * np.exp(0.2 * X**3 * Y - 0.4 * X * Y + 0.1 * Y**4)
    empty = ESTIMATORS["polynomial"](image)
    np.testing.assert_allclose(empty, image / np.median(image), rtol=2e-3)
    hidden = image.copy()
    hidden[40:60, 30:55] *= 0.3
    found = ESTIMATORS["polynomial"](hidden)
    ratio = found / empty
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.02


def test_the_tile_median_keeps_what_is_in_most_tiles_only() -> None:
    light = fixed()
    tiles = []
    for i in range(9):
        tile = 1000 * (1 + 0.1 * i) * light
        tile[12 * i : 12 * i + 12, 20:60] *= 0.4
        tiles.append(tile)
    found = ESTIMATORS["tile-median"](tiles[0], tiles)
    np.testing.assert_allclose(found, light / np.median(light), rtol=0.01)


def test_eigen_flats_follow_a_variation_that_they_have_seen() -> None:
    shape = 0.1 * X
    flats = [1000 * fixed() * np.exp(w * shape) for w in (-1.0, -0.5, 0.2, 0.6, 1.0)]
    light = fixed() * np.exp(0.8 * shape)
    sample = np.where(np.hypot(X, Y) < 0.4, 0.5, 1.0)
    found = ESTIMATORS["eigen-flats"](1000 * light * sample, flats)
    mean = ESTIMATORS["flat"](light, flats)

    def error(b: np.ndarray) -> float:
        return float(np.log(b / light).std())

    assert error(found) < 0.25 * error(mean)


def test_dividing_undoes_multiplying_and_clips_nothing() -> None:
    t = np.array([[0.2, 1.4], [-0.01, 1.0]])
    b = np.array([[1.0, 0.5], [2.0, 0.0]])
    found = corrected(t * b * 1000 + 150, b * 1000, dark=150)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.2, 1.4], [-0.01, np.nan]], rtol=1e-5)
    np.testing.assert_allclose(
        optical_density(np.array([[0.5, 1.0], [0.0, -1.0]])), [[np.log(2), 0], [np.nan, np.nan]], rtol=1e-6
    )


def test_calls_that_make_no_sense_are_refused() -> None:
    for name, image, references, message in [
        ("flat", SMOOTH, [], "needs flats; give at least one"),
        ("tile-median", SMOOTH, [SMOOTH[:5]], "of the image's size"),
        ("gaussian", -SMOOTH, [], "less the dark level"),
        ("none", SMOOTH[None], [], "less the dark level"),
        ("flat", SMOOTH, [-SMOOTH], "is the dark level right"),
    ]:
        with pytest.raises(UsageError, match=message):
            ESTIMATORS[name](image, references)


def test_without_the_extra_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("scipy.ndimage", "skimage.restoration", "scipy.optimize"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("gaussian", "rolling-ball", "eigen-flats"):
        with pytest.raises(MissingExtra, match=r"relume\[xray\]"):
            ESTIMATORS[name](SMOOTH, [SMOOTH, SMOOTH**2, SMOOTH**3])


def test_more_knowledge_gives_better_images() -> None:
    scores: dict[str, list[float]] = {}
    for seed in (200_000, 200_003, 200_007):
        simulator = Simulator(seed, n=256, kinds=("battery", "foam", "cells"))
        shot = simulator.shot(2)
        image, valid = shot.raw - shot.dark, shot.vignette > 0.97
        tiles = [simulator.shot(i).raw - shot.dark for i in range(3, 19)]
        cases = {
            "none": ESTIMATORS["none"](image),
            "polynomial": ESTIMATORS["polynomial"](image),
            "tiles": ESTIMATORS["tile-median"](image, tiles),
            "fresh": ESTIMATORS["flat"](image, [simulator.flat(2, exposures=10) - shot.dark]),
        }
        for name, background in cases.items():
            r = report(corrected(image, background), shot.clean, valid)
            scores.setdefault(name, []).append(r.psnr)
    mean = {name: float(np.mean(values)) for name, values in scores.items()}
    assert mean["none"] + 2 < mean["polynomial"] < mean["tiles"] + 2 < mean["fresh"] + 2
    assert mean["fresh"] > mean["polynomial"] + 3
