r"""The map of an instrument: what is fine and stays, without the lamp of any day or the noise of flats."""

import numpy as np
import pytest

from relume.degrade.illumination import VALIDATION, Simulator
from relume.degrade.illumination.fixed import DARKEST, fine_pattern, fixed_map
from relume.errors import UsageError

SIDE = 256


def days(instrument: int, count: int) -> list[Simulator]:
    """One instrument on other days, each with a lamp of its own."""
    return [Simulator(VALIDATION[day], SIDE, instrument=instrument) for day in range(count)]


def pattern_of(simulator: Simulator) -> tuple[np.ndarray, np.ndarray]:
    """What the simulator fixed to the instrument and is fine, and where light falls."""
    fixed = simulator.light.fixed
    return fine_pattern(fixed - np.median(fixed)), simulator.light.vignette > 0.97


def noisy(light: np.ndarray, quanta: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).poisson(quanta * light).astype(np.float64)


def grain(seed: int = 0, rms: float = 0.02, low: int = 16, high: int = 64) -> np.ndarray:
    """Grain between two numbers of cycles a frame."""
    rng, f = np.random.default_rng(seed), np.fft.fftfreq(SIDE, 1 / SIDE)
    reach = np.hypot(f[:, None], f[None, :])
    field = np.fft.ifft2(
        np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * ((reach > low) & (reach < high))
    ).real
    return np.asarray(rms * field / field.std())


def test_what_is_slow_and_what_is_fine_are_all_of_it() -> None:
    y, x = np.mgrid[:128, :128] / 128
    slow, fine = 0.5 * np.cos(2 * x + y), 0.02 * np.cos(2 * np.pi * 16 * x)
    assert np.abs(fine_pattern(slow)).max() < 1e-3, "nothing at the borders, either"
    np.testing.assert_allclose(fine_pattern(slow + fine)[16:-16, 16:-16], fine[16:-16, 16:-16], atol=1e-3)
    both = fine_pattern(np.stack([slow, fine]))
    np.testing.assert_array_equal(both[1], fine_pattern(fine))


@pytest.mark.parametrize("shape", [(128, 128), (96, 160), (8, 8), (40, 7)])
def test_a_slope_leaves_no_pattern(shape: tuple[int, int]) -> None:
    y, x = (np.linspace(-1, 1, side) for side in shape)
    light = 0.3 * x[None, :] - 0.2 * y[:, None] ** 2 + 0.1 * (y**3)[:, None] * x[None, :]
    assert fine_pattern(light).shape == shape
    assert np.abs(fine_pattern(light)).max() < 1e-4


def test_a_corner_without_light_has_no_pattern_and_leaves_none_beside_it() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE / 2) - 1
    radius, fine = np.hypot(y, x), grain()
    for edge in (1.15, 1.22):  # which moves from day to day
        vignette = 0.05 + 0.95 / (1 + np.exp((radius - edge) / 0.01))
        found = fine_pattern(np.log(vignette) + fine)
        assert (found[radius > edge] == 0).all()
        inside = radius < edge - 0.12
        assert np.std((found - fine_pattern(fine))[inside]) < 0.1 * fine.std()


def test_a_dead_pixel_and_a_deep_scratch_are_part_of_it() -> None:
    light = np.zeros((SIDE, SIDE))
    light[100, 100] = -4.0
    light[50:52] = -0.3
    found = fine_pattern(light)
    assert found[100, 100] == pytest.approx(DARKEST, abs=0.01)
    assert found[50:52].mean() == pytest.approx(-0.3, abs=0.05)


def test_the_map_is_that_of_the_instrument_and_not_of_its_days() -> None:
    for instrument in (3, 5):
        simulators = days(instrument, 6)
        truth, inside = pattern_of(simulators[0])
        lights = [each.light(each.drift.at(0))[0] for each in simulators]
        found = fixed_map([1e9 * light for light in lights])
        today = Simulator(VALIDATION[50], SIDE, instrument=instrument)
        inside &= today.light.vignette > 0.97
        assert np.std((found - truth)[inside]) < 0.2 * np.std(truth[inside])
        flats = [each.flat(0, exposures=40) - each.session.detector.dark for each in simulators]
        assert np.corrcoef(fixed_map(flats)[inside], truth[inside])[0, 1] > 0.97


def test_a_flat_counts_by_its_noise() -> None:
    truth = grain(low=12, high=24)
    light = np.exp(truth)
    good, bad = ([noisy(light, quanta, k) for k in range(4)] for quanta in (20_000, 100))
    error = [
        np.std(fixed_map(flats) - fine_pattern(truth)) for flats in (good[:2], [*good[:2], *bad[2:]], bad)
    ]
    assert error[1] < 1.2 * error[0] < 0.5 * error[2]
    assert np.std(fixed_map([bad[0]]) - fine_pattern(truth)) < 0.02 * 1.05, "not worse than no map"
    # an exposure is no quality: counts of another gain are the same flat
    np.testing.assert_allclose(fixed_map([good[0], 7 * bad[1]]), fixed_map([good[0], bad[1]]), atol=2e-4)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_noise_does_not_become_a_pattern(count: int) -> None:
    nothing = [noisy(np.ones((SIDE, SIDE)), 400, seed) for seed in range(count)]  # noise of 5 %
    assert fixed_map(nothing).std() < 0.35 * 0.05 / np.sqrt(count)
    fine = grain()
    flats = [noisy(np.exp(fine), 400, seed) for seed in range(count)]
    error = np.std(fixed_map(flats) - fine_pattern(fine))
    # the best that a filter can: signal .02² and noise .05² / N, each in the band of the grain
    band = 0.05**2 / count * np.pi * (64**2 - 16**2) / SIDE**2
    best = np.sqrt(band * 0.02**2 / (band + 0.02**2))
    assert 0.9 * best < error < 1.15 * best
    assert error < 0.6 * np.std(np.mean([np.log(flat / 400) for flat in flats], axis=0) - fine)


@pytest.mark.parametrize("beside", [0.0, 0.2])
def test_of_one_flat_noise_is_what_neighbours_differ_by_but_for_one_per_cent(beside: float) -> None:
    fine, rng = grain(low=6, high=10), np.random.default_rng(0)
    weights = np.array([beside, 1, beside])
    weights /= np.sqrt((weights**2).sum())  # a camera that spreads a little of each pixel to its neighbours

    def flat(sigma: float) -> np.ndarray:
        white = rng.standard_normal((SIDE, SIDE))
        for axis in (0, 1):
            white = sum(w * np.roll(white, k, axis) for k, w in zip((-1, 0, 1), weights, strict=True))
        return np.asarray(np.exp(fine + sigma * white))

    averaged = flat(0.007)  # of many exposures: what is left may be the pixels' own
    np.testing.assert_allclose(fixed_map([averaged]), fine_pattern(np.log(averaged)), atol=1e-5)
    left = [np.std(fixed_map([flat(sigma)]) - fine) / sigma for sigma in (0.02, 0.05, 0.1)]
    assert left[0] < 0.6 and left[1] < 0.4 and left[2] < 0.22


def test_specks_of_one_flat_are_no_part_of_the_map_and_those_of_all_are() -> None:
    flats = [noisy(np.exp(grain()), 4000, seed) for seed in range(4)]
    before = fixed_map(flats)
    flats[1][60, 60] *= 10  # a cosmic ray
    assert np.abs(fixed_map(flats) - before).max() < 0.03
    for flat in flats:
        flat[90, 90] *= 0.5
    assert fixed_map(flats)[90, 90] < -0.3


def test_what_is_no_flat_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        fixed_map([])
    with pytest.raises(UsageError, match="flats of one size"):
        fixed_map([np.ones((8, 8)), np.ones((8, 9))])
    with pytest.raises(UsageError, match="not above the dark"):
        fixed_map([-np.ones((8, 8))])


def test_pixels_that_are_not_known_are_as_bright_as_the_rest() -> None:
    flat = noisy(np.exp(grain()), 4000, 0)
    flat[10:12, 10:12] = np.nan
    assert np.isfinite(fixed_map([flat])).all()
