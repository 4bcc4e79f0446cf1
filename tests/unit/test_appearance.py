"""Figures of a picture's look: against what was put into it, and as distances."""

import numpy as np
import pytest

from relume.bench.appearance import APPEARANCE, appearance, appearance_distance

pytest.importorskip("skimage", reason="the figures are computed in Lab by scikit-image")


def ramp(low: float, high: float) -> np.ndarray:
    return np.repeat(np.linspace(low, high, 64 * 64, dtype=np.float32).reshape(64, 64, 1), 3, axis=2)


def test_grain_is_the_noise_that_was_added() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((256, 256, 1)).astype(np.float32)
    picture = np.clip(0.5 + 0.03 * noise, 0, 1).repeat(3, axis=2)
    assert appearance(picture)["grain"] == pytest.approx(0.03, rel=0.05)
    assert appearance(ramp(0.2, 0.8))["grain"] < 1e-3


def test_levels_and_tint_follow_the_picture() -> None:
    dull, full = appearance(ramp(0.3, 0.7)), appearance(ramp(0, 1))
    assert dull["black"] > full["black"] + 20 and dull["white"] < full["white"] - 20
    assert dull["contrast"] < full["contrast"] and full["tint"] < 0.1
    sepia = appearance(ramp(0.1, 0.9) * np.array([1, 0.9, 0.7], np.float32))
    assert sepia["tint"] > 10


def test_distance_is_none_to_itself_and_counts_in_standard_deviations() -> None:
    rng = np.random.default_rng(1)
    some = [dict.fromkeys(APPEARANCE, float(value)) for value in rng.standard_normal(500)]
    moved = [{name: value + 2 for name, value in one.items()} for one in some]
    assert all(value == 0 for value in appearance_distance(some, some).values())
    assert all(value == pytest.approx(2, rel=0.1) for value in appearance_distance(moved, some).values())
