"""The light of a mosaic by a net: which estimator a mosaic gets, and what it makes of few tiles."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from relume.degrade.illumination import VALIDATION, Mosaic
from relume.errors import BundleNotFound, UsageError
from relume.mosaic import Settings, mosaic
from relume.tasks.mosaic_field import AUTO, FEW, common_field, series_field
from relume.tasks.xray_eval import evaluate_mosaic


def test_few_tiles_are_a_series_and_many_tell_their_slopes() -> None:
    few, many = (common_field(AUTO, tiles=tiles) for tiles in (FEW, FEW + 1))
    assert few.name == "series" and few.bundle is not None and few.bundle.name == "xray"
    assert many.name == "gradients" and many.bundle is None
    with pytest.raises(UsageError, match="auto, series, gradients"):
        common_field("magic")


def test_of_few_tiles_the_light_is_found_as_no_classical_estimate_does() -> None:
    """Four tiles hold the same sample twice over: what they have in common is the sample, too."""
    errors: dict[str, list[float]] = {"series": [], "gradients": []}
    for seed in VALIDATION[10:13]:
        tiles = Mosaic(seed, 2, 128)
        for name, found in errors.items():
            found.append(evaluate_mosaic(tiles, Settings(name))["field"])
    assert np.mean(errors["series"]) < 0.7 * np.mean(errors["gradients"])


def test_arrays_take_an_estimator() -> None:
    tiles = Mosaic(VALIDATION[0], 2, 64)
    raws, dark = [shot.raw for shot in tiles], tiles.simulator.session.detector.dark
    estimator = common_field("series", tiles=4).estimator
    one = mosaic(raws, tiles.nominal, dark=dark, estimator=estimator)
    two = mosaic(raws, tiles.nominal, dark=dark)
    assert np.isfinite(one.transmission).mean() > 0.5
    assert np.std(one.solution.field - two.solution.field) > 1e-3


@pytest.mark.parametrize("count", [1, 2])
def test_of_one_tile_or_two_it_is_the_answers_alone(count: int) -> None:
    x = np.linspace(-1, 1, 64)[None] * np.ones((64, 1))
    rng = np.random.default_rng(0)
    tiles = [0.2 * x + rng.normal(0, 0.1, x.shape) for _ in range(count)]
    seen: list[float] = []

    def answer(image: Any, *, glare: float) -> SimpleNamespace:
        seen.append(float(np.mean(image)))
        return SimpleNamespace(field=np.exp(0.2 * x), sigma=np.full(x.shape, 0.03))

    class Net(SimpleNamespace):
        __call__ = staticmethod(answer)

    net: Any = Net(fixed=None, error={"unknown": {"fine": 0.01}})
    field = series_field(net, glare=0.05)(lambda i: tiles[i], count, (64, 64))
    np.testing.assert_allclose(field - field.mean(), 0.2 * x, atol=1e-6)
    # the net takes the glare off: it is put back before
    np.testing.assert_allclose(
        seen, [1.05 * np.mean(np.exp(tile - np.median(tile))) for tile in tiles], rtol=1e-5
    )


def test_a_bundle_that_is_not_there_is_told_with_the_way_out() -> None:
    with pytest.raises(BundleNotFound, match="gradients"):
        common_field(AUTO, "no-such-model", tiles=4)
