r"""Every metric in the list: perfect on the truth, worse the more is wrong, and strict about shapes."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageFilter

from relume.bench import METRICS, Metric
from relume.errors import UsageError

Picture = NDArray[np.float32]
EVERY = pytest.mark.parametrize("metric", METRICS, ids=lambda each: each.name)


def truth(height: int = 96, width: int = 120) -> Picture:
    """Smooth shapes, edges and texture, with room for noise on both sides."""
    rows, columns = np.mgrid[0:height, 0:width] / height
    texture = 0.06 * np.random.default_rng(5).standard_normal((height, width))
    planes = [
        0.5 + 0.2 * np.sin(9 * columns) + texture,
        0.3 + 0.3 * (rows > 0.5) + texture,
        0.6 - 0.2 * columns + 0.1 * (np.hypot(rows - 0.5, columns - 0.6) < 0.3) + texture,
    ]
    return np.clip(np.stack(planes, axis=-1), 0, 1).astype(np.float32)


def noisy(picture: Picture, strength: float) -> Picture:
    noise = np.random.default_rng(1).standard_normal(picture.shape)
    return np.clip(picture + strength * noise, 0, 1).astype(np.float32)


def blurred(picture: Picture, sigma: float) -> Picture:
    levels = PilImage.fromarray(np.round(picture * 255).astype(np.uint8))
    return np.asarray(levels.filter(ImageFilter.GaussianBlur(sigma)), np.float32) / np.float32(255)


def needed(metric: Metric) -> None:
    reason = metric.lacking()
    if reason is not None:
        pytest.skip(reason)


def badness(metric: Metric, value: float) -> float:
    """Grows with how bad a value is."""
    if metric.better == "nearer":
        return abs(np.log(value / metric.best))
    return value if metric.better == "lower" else -value


def test_names_are_one_each() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@EVERY
def test_the_truth_itself_is_perfect(metric: Metric) -> None:
    needed(metric)
    assert metric.measure(truth(), truth()) == pytest.approx(metric.best, abs=1e-5)


@EVERY
def test_more_noise_is_worse(metric: Metric) -> None:
    needed(metric)
    values = []
    for strength in (0.02, 0.05, 0.1, 0.2):
        # The noise and its negative: in the mean of both, chance agreement with the picture cancels.
        both = [metric.measure(noisy(truth(), sign * strength), truth()) for sign in (1, -1)]
        values.append(badness(metric, float(np.mean(both))))
    assert all(a < b for a, b in pairwise(values)), values


@EVERY
def test_more_blur_is_worse(metric: Metric) -> None:
    needed(metric)
    values = [badness(metric, metric.measure(blurred(truth(), s), truth())) for s in (0.5, 1.0, 2.0, 4.0)]
    assert all(a < b for a, b in pairwise(values)), values


@EVERY
def test_the_same_pictures_give_the_same_figure_and_stay_as_they_are(metric: Metric) -> None:
    needed(metric)
    picture, clean = noisy(truth(), 0.1), truth()
    copies = picture.copy(), clean.copy()
    assert metric.measure(picture, clean) == metric.measure(picture, clean)
    assert np.array_equal(picture, copies[0]) and np.array_equal(clean, copies[1])


@EVERY
def test_turning_both_pictures_round_changes_nothing(metric: Metric) -> None:
    needed(metric)
    picture, clean = noisy(truth(), 0.1), truth()
    turned = [np.ascontiguousarray(each[::-1, ::-1]) for each in (picture, clean)]
    # Filters of even size sit half a pixel off.
    assert metric.measure(*turned) == pytest.approx(metric.measure(picture, clean), rel=5e-3)


@EVERY
def test_shapes_that_would_broadcast_are_refused(metric: Metric) -> None:
    needed(metric)
    with pytest.raises(UsageError, match="shapes"):
        metric.measure(truth()[:1], truth())
