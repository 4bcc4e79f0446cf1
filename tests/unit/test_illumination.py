r"""The simulated microscope: its statistics, its physics in closed form, its seeds, and its two backends."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from relume.degrade.illumination import (
    PATTERNS,
    SHOTS,
    TEST,
    TRAIN,
    VALIDATION,
    Mosaic,
    Simulator,
)
from relume.degrade.illumination.arrays import blur, shifted
from relume.degrade.illumination.drift import MODES, drift, polynomial, stale
from relume.degrade.illumination.formation import (
    Optics,
    content_gain,
    expose,
    intensity,
    optics,
    transmission,
)
from relume.degrade.illumination.session import Detector, session
from relume.degrade.illumination.streams import stream
from relume.degrade.illumination.targets import background_of, network_input, network_target
from relume.errors import UsageError

CHIP = Path(__file__).parents[3] / "shared" / "xray" / "xrm" / "test_chip00.xrm"
ZERNIKE = Optics(True, np.pi / 2, 0.7, 24, 1.0, 0.6, 1.0)
ABSORPTION = ZERNIKE._replace(zernike=False)


def residue(field: np.ndarray, sigma: float) -> float:
    """What remains of the central 400 pixels of 512 after division by the field's own blur."""
    centre = slice(56, 456)
    ratio = (field / gaussian_filter(field, sigma))[centre, centre]
    return float(ratio.std() / ratio.mean())


def slopes(field: np.ndarray) -> tuple[float, float]:
    """Log-power slopes of 3 to 60 cycles per tile, and above."""
    n = len(field)
    window = np.outer(np.hanning(n), np.hanning(n))
    power = np.abs(np.fft.rfft2((np.log(field) - np.log(field).mean()) * window)) ** 2
    cycles = n * np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
    edges = np.geomspace(3, 0.49 * n, 22)
    middle = np.sqrt(edges[1:] * edges[:-1])
    level = [power[(cycles >= a) & (cycles < b)].mean() for a, b in pairwise(edges)]
    low, high = (np.polyfit(np.log(middle[m]), np.log(level)[m], 1)[0] for m in (middle < 60, middle >= 60))
    return float(low), float(high)


@pytest.fixture(scope="module")
def lights() -> list[Simulator]:
    return [Simulator(seed) for seed in range(16)]


def empty(simulator: Simulator, index: int = 0) -> np.ndarray:
    return simulator.light(simulator.drift.at(index))[0]


def test_empty_fields_have_the_statistics_of_measured_ones(lights: list[Simulator]) -> None:
    rows = []
    for simulator in lights:
        field, valid = empty(simulator), simulator.light.vignette > 0.97
        inside = field[valid]
        assert np.median(field) == pytest.approx(1)
        assert 0.95 < valid.mean() <= 1
        rows.append(
            [
                inside.std() / inside.mean(),
                *np.percentile(inside, [1, 99]),
                *(residue(field, sigma) for sigma in (4, 16, 64)),
                *slopes(field),
            ]
        )
    cv, p1, p99, fine, middle, coarse, low, high = np.mean(rows, axis=0)
    # measured: CV 0.137, P1 0.70, P99 1.30, residues 1.6, 2.5 and 4.9 %, slopes −2.3 and −2.9
    assert 0.11 < cv < 0.21
    assert 0.65 < p1 < 0.82 and 1.25 < p99 < 1.45
    assert 0.012 < fine < 0.022 and 0.019 < middle < 0.032 and 0.03 < coarse < 0.06
    assert -2.5 < low < -1.8 and -3.4 < high < -2.6
    assert all(0.05 < row[0] < 0.40 for row in rows)


def test_the_fixed_map_survives_the_session_and_the_lamp_does_not() -> None:
    one, other = Simulator(3, n=128), Simulator(4, n=128, instrument=3)
    np.testing.assert_array_equal(one.light.fixed, other.light.fixed)
    logs = [np.log(empty(s)) for s in (one, other)]
    fine = [(x - gaussian_filter(x, 4))[16:-16, 16:-16].ravel() for x in logs]
    slow = [gaussian_filter(x, 16).ravel() for x in logs]
    assert np.corrcoef(*fine)[0, 1] > 0.9
    assert np.corrcoef(*slow)[0, 1] < 0.9
    assert np.abs(Simulator(5, n=128).light.fixed - one.light.fixed).max() > 0.02


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_are_zero_or_as_strong_as_drawn(name: str) -> None:
    strong = 0
    for seed in range(40):
        draw = PATTERNS[name].sample(96, np.random.default_rng(seed))
        field = PATTERNS[name].paint(draw, 96, np.zeros(1))
        assert field.shape == (96, 96) and np.isfinite(field).all()
        if "rms" in draw:
            assert field.std() == pytest.approx(draw["rms"], rel=1e-6, abs=1e-9)
        strong += bool(np.abs(field).max() > 0.005)
    # stripes and ripple occur in a fifth of all instruments
    assert 2 <= strong <= 16 if name in ("stripes", "ripple") else strong >= 36
    if name == "dust":
        assert field.min() < -0.01 and field.max() <= 0


def test_drift_is_an_autoregression_with_steps_of_the_gain() -> None:
    walks = [drift(300, np.random.default_rng(seed)).modes for seed in range(200)]
    steps = np.array([w[1:] - 0.97 * w[:-1] for w in walks])
    np.testing.assert_allclose(steps[..., 1:].std((0, 1)), [0.004, 0.004, 0.003, 0.003, 0.003], rtol=0.03)
    jumps = np.abs(steps[..., 0]) > 5 * 0.006
    assert 0.0005 < jumps.mean() < 0.02  # most steps of 0.02 hide in the walk; the largest do not
    assert not any(w[0].any() for w in walks)
    wander = drift(300, np.random.default_rng(0)).wander
    assert np.diff(wander, axis=0).std() == pytest.approx(0.001, rel=0.1)


def test_a_stale_flat_differs_by_the_shape_that_was_asked_for() -> None:
    moment = drift(3, np.random.default_rng(0)).at(2)
    changes = [stale(moment, 0.015, np.random.default_rng(s)).modes - moment.modes for s in range(5)]
    fields = polynomial(np.concatenate(changes), 256, np.zeros(1))
    np.testing.assert_allclose(fields.std((1, 2)), 0.015, rtol=2e-3)
    np.testing.assert_allclose(fields.mean((1, 2)), 0, atol=1e-5)
    assert changes[0].shape == (1, MODES)


def test_the_shift_moves_the_fixed_map_and_whole_pixels_exactly() -> None:
    field = np.random.default_rng(0).normal(size=(24, 31))
    moved = shifted(field, np.array([[2.0, -3.0], [0.0, 0.0]]))
    np.testing.assert_allclose(moved[0], np.roll(field, (2, -3), (0, 1)), atol=1e-12)
    np.testing.assert_allclose(moved[1], field, atol=1e-12)


def test_the_blur_keeps_the_mean_and_has_the_variance_of_its_kernel() -> None:
    point = np.zeros((65, 64))
    point[32, 32] = 1
    spread = blur(point, 2.5)
    rows = np.arange(65) - 32
    assert spread.sum() == pytest.approx(1)
    assert (spread.sum(1) * rows**2).sum() == pytest.approx(2.5**2, rel=5e-3)
    np.testing.assert_allclose(spread[20:45, 20:45], gaussian_filter(point, 2.5)[20:45, 20:45], atol=1e-9)


def test_an_empty_field_transmits_one_in_either_mode() -> None:
    for seed in range(6):
        how = optics(np.random.default_rng(seed), zernike=bool(seed % 2))
        t = transmission(np.zeros((64, 64)), np.zeros((64, 64)), how, 512)
        np.testing.assert_allclose(t, 1, atol=1e-12)
        assert content_gain(t, how).item() == pytest.approx(how.jitter)


def test_absorption_follows_beer_and_lambert() -> None:
    depth = np.full((32, 32), 0.7)
    np.testing.assert_allclose(transmission(depth, depth, ABSORPTION, 512), np.exp(-0.7))


@pytest.mark.parametrize("psi", [np.pi / 2, -np.pi / 2])
def test_a_weak_fine_phase_shows_as_twice_itself_over_the_amplitude(psi: float) -> None:
    how = ZERNIKE._replace(psi=psi)
    x = np.arange(256)
    phase = 1e-3 * np.cos(2 * np.pi * x * 32 / 256)[None, :] * np.ones((256, 1))
    t = transmission(np.zeros_like(phase), phase, how, 512)
    sharp = blur(1 + np.sign(psi) * 2 * phase / how.a, 0.87)
    np.testing.assert_allclose(t, sharp, atol=5e-6)


def test_zernike_fringes_rise_above_one_and_nothing_clips_them() -> None:
    rows, columns = np.mgrid[-64:64, -64:64]
    disc = 0.8 * (np.hypot(rows, columns) < 20)
    assert transmission(np.zeros_like(disc), -disc, ZERNIKE, 512).max() > 1.05


def test_glare_adds_a_share_of_the_mean() -> None:
    t, b = np.random.default_rng(0).uniform(0.2, 1.2, (2, 3, 16, 16))
    light = intensity(t, b, 0.9, 0.05)
    np.testing.assert_allclose(light.mean((1, 2)), 1.05 * (0.9 * b * t).mean((1, 2)))
    np.testing.assert_allclose(light - light.mean((1, 2), keepdims=True),
                               0.9 * (b * t - (b * t).mean((1, 2), keepdims=True)), atol=1e-12)  # fmt: skip


CAMERA = Detector(dark=1500, gain=1.5, read=12, glare=0.0, hot=0.0, known=True)


def test_noise_is_that_of_counted_quanta() -> None:
    flux, light = 4000.0, np.ones((512, 512))
    raw = expose(light, flux, CAMERA, np.random.default_rng(0)).astype(float)
    kernel = blur(np.pad([[1.0]], 8), 0.45)
    assert raw.mean() == pytest.approx(1500 + 1.5 * flux, rel=1e-3)
    assert raw.var() == pytest.approx(1.5**2 * flux * (kernel**2).sum() + 12**2, rel=0.02)
    x = raw - raw.mean()
    neighbours = (x[:, 1:] * x[:, :-1]).mean() / raw.var()
    assert 0.13 < neighbours < 0.23  # measured: 0.18


def test_the_camera_saturates_at_sixteen_bits_and_has_hot_pixels() -> None:
    full = expose(np.full((64, 64), 3.0), 15_000, replace(CAMERA, gain=2.2), np.random.default_rng(0))
    assert full.dtype == np.uint16 and (full == 65535).all()


def test_hot_pixels_are_bright_and_as_many_as_drawn() -> None:
    hot = Detector(dark=100, gain=1.5, read=0.1, glare=0, hot=1e-3, known=True)
    raw = expose(np.ones((512, 512)), 2000, hot, np.random.default_rng(1)).astype(float)
    cold = expose(np.ones((512, 512)), 2000, CAMERA, np.random.default_rng(1)).astype(float)
    limit = np.median(raw) + 7 * cold.std()
    assert 0.5e-3 < (raw > limit).mean() < 1e-3
    assert (raw < np.median(raw) - 7 * cold.std()).mean() < 1e-5


def test_the_same_seed_gives_the_same_shot_and_each_purpose_has_its_own_stream() -> None:
    one, again = Simulator(11, n=64), Simulator(11, n=64)
    first = one.shot(3)
    np.testing.assert_array_equal(first.raw, again.shot(3).raw)
    assert (one.shot(4).raw != first.raw).mean() > 0.9
    other = Simulator(11, n=64, kinds=("star",))  # another sample, the same light and instrument
    np.testing.assert_array_equal(other.shot(3).background, first.background)
    swapped = one.shot(3, scene=other.scene(3))
    np.testing.assert_array_equal(swapped.background, first.background)
    np.testing.assert_array_equal(swapped.raw, other.shot(3).raw)
    draws = [stream(1, p, i).random() for p in ("session", "drift", "sample", "noise") for i in (0, 1)]
    assert len(set(draws)) == len(draws)


def test_splits_share_no_session() -> None:
    assert not (set(TRAIN) & set(VALIDATION) or set(TRAIN) & set(TEST) or set(VALIDATION) & set(TEST))


def test_what_was_measured_divided_by_the_truth_is_the_truth() -> None:
    shot = Simulator(2, n=128, kinds=("battery",), zernike=False).shot(5)
    detector, flux = shot.session.detector, shot.session.flux
    light = (shot.raw.astype(float) - detector.dark) / detector.gain / flux
    mean = light.mean() / (1 + detector.glare)
    seen = (light - detector.glare * mean) / (shot.gain * shot.background)
    error = seen - shot.clean
    quanta = np.sqrt(1 / flux) * 1.2
    assert abs(np.median(error)) < 0.3 * quanta
    assert np.median(np.abs(error)) < 1.5 * quanta


def test_flats_are_the_background_and_more_of_them_are_quieter() -> None:
    simulator = Simulator(6, n=128)
    background = empty(simulator, 4)

    def error(**how: float) -> float:
        flat = simulator.flat(4, **how) - simulator.session.detector.dark  # type: ignore[arg-type]
        veil = simulator.session.detector.glare * flat.mean() / (1 + simulator.session.detector.glare)
        ratio = (flat - veil) / background
        return float(np.median(np.abs(ratio / np.median(ratio) - 1)))  # hot pixels do not count

    assert error(exposures=8) < 0.6 * error(exposures=1) < 0.6 * error(exposures=1, shape_drift=0.2)


def test_numpy_and_torch_agree_before_noise() -> None:
    torch = pytest.importorskip("torch")
    from relume.degrade.illumination.batched import BatchSimulator

    for seed, instrument in ((0, None), (1, 7)):
        simulator = Simulator(seed, n=192, instrument=instrument)
        batch = BatchSimulator(simulator).noiseless(range(6))
        assert batch.raw.dtype == torch.float32
        assert {simulator.scene(i).optics.zernike for i in range(6)} == {True, False}
        for i in range(6):
            shot = simulator.shot(i)
            light = intensity(shot.clean, shot.background, shot.gain, shot.session.detector.glare)
            for ours, theirs in (
                (batch.background, shot.background),
                (batch.clean, shot.clean),
                (batch.gain, np.asarray(shot.gain)),
                (batch.raw, light),
            ):
                np.testing.assert_allclose(ours[i].numpy(), theirs, rtol=0, atol=1e-4)


def test_the_noise_of_torch_has_the_statistics_of_numpys() -> None:
    torch = pytest.importorskip("torch")
    from relume.degrade.illumination.batched import expose_batch

    camera = Detector(dark=700, gain=1.7, read=15, glare=0, hot=1e-4, known=True)
    light = np.linspace(0.3, 1.4, 256)[None, :] * np.ones((256, 1))
    ours = expose(light, 5000, camera, np.random.default_rng(0)).astype(float)
    theirs = expose_batch(torch.tensor(light)[None], 5000, camera, torch.Generator().manual_seed(0))[
        0
    ].numpy()
    expected = 700 + 1.7 * 5000 * light
    spread = [
        np.quantile((x - expected) / np.sqrt(expected - 700), [0.05, 0.25, 0.5, 0.75, 0.95])
        for x in (ours, theirs)
    ]
    np.testing.assert_allclose(spread[0], spread[1], atol=0.03)
    assert (theirs == np.round(theirs)).all()


def test_tiles_of_a_mosaic_show_the_same_sample_where_they_overlap() -> None:
    for zernike in (False, True):
        mosaic = Mosaic(9, 3, n=128, step=96, kinds=("full-field",), zernike=zernike)
        mosaic.positions[:] = np.rint(mosaic.positions)  # whole pixels, so that they can be compared
        left, right = mosaic[0], mosaic[1]
        if mosaic.positions[0, 1] > mosaic.positions[1, 1]:
            left, right = right, left
        dy, dx = (mosaic.positions[1] - mosaic.positions[0]).astype(int)
        a = left.clean[max(0, dy) : 128 + min(0, dy), dx:]
        b = right.clean[max(0, -dy) : 128 + min(0, -dy), : 128 - dx]
        assert a.shape[1] > 10
        np.testing.assert_allclose(a, b, atol=0.02 if zernike else 1e-5)
        assert np.abs(a - a.mean()).max() > 0.03


def test_a_mosaic_starts_at_the_lower_left_and_its_stage_is_only_nearly_right() -> None:
    mosaic = Mosaic(1, 4, n=64, step=60, serpentine=True)
    np.testing.assert_array_equal(mosaic.nominal[:2], [[180, 0], [180, 60]])
    np.testing.assert_array_equal(mosaic.nominal[4:6], [[120, 180], [120, 120]])
    plain = Mosaic(1, 4, n=64, step=60, serpentine=False)
    np.testing.assert_array_equal(plain.nominal[4:6], [[120, 0], [120, 60]])
    error = np.concatenate([(m := Mosaic(s, 4, n=512, step=480)).positions - m.nominal for s in range(12)])
    assert 5 < error.std() < 14
    assert len(mosaic) == 16 and mosaic[-1].raw.shape == (64, 64)
    with pytest.raises(UsageError, match="overlap"):
        Mosaic(1, 4, n=64, step=65)


def test_a_large_mosaic_costs_the_memory_of_a_tile() -> None:
    import tracemalloc

    tracemalloc.start()
    mosaic = Mosaic(2, 31, n=96, kinds=("porous",))
    tiles = [mosaic[i].raw.sum() for i in (0, 480, 960)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    side = 30 * mosaic.step + 96
    assert peak < side * side * 8  # less than one canvas of float64
    assert len(set(tiles)) == 3


def test_content_makes_full_tiles_darker_than_their_background_explains() -> None:
    how = ZERNIKE._replace(kappa=0.67)
    full, bare = np.full((8, 8), 0.5), np.ones((8, 8))
    assert content_gain(full, how).item() == pytest.approx(0.5**0.67)
    assert content_gain(bare, how).item() == 1
    drawn = [optics(np.random.default_rng(s)) for s in range(200)]
    assert all(0.4 <= o.kappa <= 0.9 if o.zernike else 0 <= o.kappa <= 0.15 for o in drawn)
    assert 70 < sum(o.zernike for o in drawn) < 130


def test_sessions_cover_the_ranges() -> None:
    sessions = [session(seed, 16) for seed in range(300)]
    flux = np.log([s.flux for s in sessions])
    assert np.log(300) < flux.min() < np.log(400) and np.log(11_000) < flux.max() < np.log(15_000)
    assert 110 < sum(s.detector.known for s in sessions) < 190
    strong = sum(s.lamp["lobe"] > 0.65 or s.lamp["tilt"] > 0.2 for s in sessions)
    assert 15 < strong < 45
    assert SHOTS == 20


def test_an_empty_field_of_another_microscope_lies_among_the_simulated_ones() -> None:
    pytest.importorskip("olefile")
    if not CHIP.exists():
        pytest.skip("the measured .xrm is not beside the checkout")
    from relume.scan import open_scan

    flats = open_scan(CHIP).flats
    assert flats is not None
    # 8×8 pixels together, as its few quanta would count as structure; without the corners beyond its aperture
    measured = flats[0].reshape(64, 8, 64, 8).mean((1, 3))[8:-8, 8:-8]
    simulated = [empty(Simulator(seed, n=64))[8:-8, 8:-8] for seed in range(120)]
    spread = [field.std() / field.mean() for field in simulated]
    assert 0.15 < measured.std() / measured.mean() < max(spread)


def test_the_network_sees_neither_exposure_nor_hot_pixels_and_answers_for_the_light() -> None:
    torch = pytest.importorskip("torch")
    shot = Simulator(8, n=64, kinds=("empty",), zernike=False).shot(0)
    counts = shot.raw - shot.dark
    seen = network_input(counts)
    np.testing.assert_allclose(network_input(3 * counts), seen, atol=1e-12)
    spoilt = counts.copy()
    spoilt[3, 4], spoilt[5, 6] = 1e9, -20
    other = network_input(spoilt)
    assert (other[3, 4], other[5, 6]) == (pytest.approx(4), pytest.approx(-4))
    assert np.median(np.abs(other - seen)) < 1e-3
    np.testing.assert_allclose(network_input(torch.tensor(counts)).numpy(), seen, atol=2e-3)
    target = network_target(shot.background)
    assert np.median(target) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(background_of(target + 1.7), shot.background, rtol=1e-4)
    assert np.corrcoef(seen.ravel(), target.ravel())[0, 1] > 0.9
