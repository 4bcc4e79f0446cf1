r"""Every kind of sample keeps the contract: a thickness at any place, the same from any window."""

from itertools import pairwise

import numpy as np
import pytest

from relume.degrade.phantoms import HELD_OUT, KINDS, draw_kind, phantom, wedge
from relume.degrade.phantoms.shapes import discs, fractal, polygon, strokes
from relume.errors import UsageError

EVERY = pytest.mark.parametrize("kind", KINDS)
N = 128
LINE = np.arange(N, dtype=np.float32) + 0.5


def drawn(kind: str, seed: int = 0, side: float = N, unit: float = N / 2):  # type: ignore[no-untyped-def]
    return phantom(kind, (side, side), unit, np.random.default_rng(seed))


def overview(kind: str, seed: int, side: float) -> np.ndarray:
    line = np.linspace(0, side, 200, dtype=np.float32)
    return np.asarray(drawn(kind, seed, side=side).thickness(line, line))


@EVERY
def test_thickness_is_finite_and_not_negative_and_its_top_is_one(kind: str) -> None:
    for seed in range(4):
        sample = drawn(kind, seed)
        t = sample.thickness(LINE, LINE[:100])
        assert t.shape == (N, 100) and t.dtype == np.float32
        assert np.isfinite(t).all() and t.min() >= 0
        low, high = KINDS[kind].absorption
        assert low <= sample.absorption <= high
        low, high = KINDS[kind].phase
        assert low <= sample.phase <= high
        whole = sample.thickness(*[np.linspace(0, N, 256, dtype=np.float32)] * 2)
        if whole.max() > 0 and (whole > 0.01).mean() > 0.02:
            assert np.percentile(whole, 99) == pytest.approx(1, rel=1e-3)


@EVERY
def test_a_window_shows_what_the_whole_shows(kind: str) -> None:
    sample = drawn(kind, 5, side=4 * N)
    ys, xs = (np.arange(4 * N, dtype=np.float32) + 0.5 for _ in range(2))
    whole = sample.thickness(ys, xs)
    np.testing.assert_allclose(sample.thickness(ys[100:200], xs[300:]), whole[100:200, 300:], atol=2e-4)
    np.testing.assert_allclose(sample.thickness(ys[::7], xs[::5]), whole[::7, ::5], atol=2e-4)


@EVERY
def test_a_larger_canvas_holds_more_of_the_same_size(kind: str) -> None:
    if kind in ("empty", "full-field", "sparse"):
        pytest.skip("its cover does not grow with objects")
    covered = [
        np.mean([(overview(kind, seed, side) > 0.02).mean() for seed in range(8)]) for side in (N, 4 * N)
    ]
    assert 0.4 < covered[1] / covered[0] < 2.5


@EVERY
def test_the_seed_decides(kind: str) -> None:
    one, again, other = (drawn(kind, seed).thickness(LINE, LINE) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert kind == "empty" or (one != other).any()


def test_an_empty_sample_is_empty_and_a_full_one_nowhere() -> None:
    for seed in range(6):
        assert not drawn("empty", seed).thickness(LINE, LINE).any()
        assert drawn("full-field", seed).thickness(LINE, LINE).min() > 0.1


def test_porosity_lies_where_it_should() -> None:
    solid = [(overview("porous", seed, 8 * N) > 0.3).mean() for seed in range(12)]
    assert 0.2 < min(solid) < 0.5 < max(solid) < 0.8


def test_kinds_are_drawn_in_their_shares() -> None:
    rng = np.random.default_rng(0)
    kinds = [draw_kind(rng) for _ in range(4000)]
    assert kinds.count("empty") / 4000 == pytest.approx(0.10, abs=0.015)
    assert kinds.count("full-field") / 4000 == pytest.approx(0.15, abs=0.02)
    assert kinds.count("star") / 4000 == pytest.approx(0.75 / 8, abs=0.015)
    allowed = [kind for kind in KINDS if kind not in HELD_OUT]
    assert set(HELD_OUT) < set(KINDS)
    assert {draw_kind(rng, allowed) for _ in range(500)} == set(allowed)
    assert {draw_kind(rng, HELD_OUT) for _ in range(50)} == set(HELD_OUT)
    with pytest.raises(UsageError, match="cells, tissue"):
        drawn("cheese")


@pytest.mark.parametrize("alpha", [2.0, 2.6, 3.2])
def test_a_fractal_has_unit_variance_and_its_slope(alpha: float) -> None:
    line = np.arange(512, dtype=np.float32)
    fields = [fractal(alpha, 256, 2, np.random.default_rng(s))(line, line) for s in range(24)]
    wide = np.linspace(0, 40_000, 400, dtype=np.float32)  # many of the largest cells
    far = fractal(alpha, 256, 2, np.random.default_rng(0))(wide, wide)
    assert far.std() == pytest.approx(1, abs=0.05) and abs(far.mean()) < 0.05
    window = np.outer(np.hanning(512), np.hanning(512))
    power = np.mean([np.abs(np.fft.rfft2((f - f.mean()) * window)) ** 2 for f in fields], axis=0)
    cycles = 512 * np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512))
    edges = np.geomspace(5, 100, 12)
    level = [power[(cycles >= a) & (cycles < b)].mean() for a, b in pairwise(edges)]
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(level), 1)[0]
    assert slope == pytest.approx(-alpha, abs=0.25)


def test_a_sphere_has_the_volume_of_its_chords() -> None:
    line = np.arange(200, dtype=np.float32)
    ball = discs(np.array([[90.3, 101.7]]), np.array([40.0]), np.array([1.0]))(line, line)
    assert ball.max() == pytest.approx(1, abs=1e-3)
    assert 2 * 40 * ball.sum() == pytest.approx(4 / 3 * np.pi * 40**3, rel=2e-3)
    shell = discs(np.array([[90.3, 101.7]]), np.array([40.0]), np.array([1.0]), hollow=0.8)(line, line)
    assert 2 * 40 * shell.sum() == pytest.approx(4 / 3 * np.pi * 40**3 * (1 - 0.8**3), rel=2e-3)
    assert not discs(np.zeros((0, 2)), np.zeros(0), np.zeros(0))(line, line).any()


def test_plates_are_flat_and_convex_and_strokes_are_round() -> None:
    line = np.arange(200, dtype=np.float32)
    plate = polygon(np.array([100.0, 100.0]), 60, 6, np.random.default_rng(0))(line, line)
    inside = plate == 1
    assert inside[100, 100] and inside.mean() > 0.05 and ((plate > 0) & ~inside).mean() < 0.02
    for row in inside:
        where = np.flatnonzero(row)
        assert len(where) == 0 or len(where) == where[-1] - where[0] + 1
    stroke = strokes(np.array([[50.0, 60.0], [50.0, 140.0]]), np.array([10.0]), 0.7)(line, line)
    assert stroke[50, 100] == pytest.approx(0.7) and stroke[56, 100] == pytest.approx(0.7 * 0.8)
    assert stroke[61, 100] == 0 and stroke[50, 149] > 0 == stroke[50, 151]


def test_a_wedge_has_the_depths_that_were_asked_for() -> None:
    t = wedge((N, N), (0.0, 0.5, 1.5)).thickness(LINE, LINE)
    assert sorted(set(t.ravel().tolist())) == [0, 0.5, 1.5]
    assert (np.diff(t, axis=1) >= 0).all()
