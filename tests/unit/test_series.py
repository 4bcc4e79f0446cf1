"""One light behind many images: what they have in common, and what one of them alone cannot tell."""

import numpy as np
import pytest

from relume.degrade.illumination import VALIDATION, Simulator
from relume.errors import UsageError
from relume.tasks.background import BackgroundNet
from relume.tasks.correct import apart, prepared
from relume.tasks.series import LEAST, Seen, Series, series
from relume.tasks.series_drift import Drift, drift
from relume.tasks.xray import correct, estimate_background, find_method

SIZE = 96
QUIET = np.full((SIZE, SIZE), 0.01)


def _smooth(rng: np.random.Generator, scale: float) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    a, b, c, d, e = rng.normal(0, scale, 5)
    return a * y + b * x + c * (3 * y * y - 1) / 2 + d * x * y + e * (3 * x * x - 1) / 2


def _drawn(count: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """A light with a pattern, images of rectangles before it, and answers that miss the pattern."""
    rng = np.random.default_rng(seed)
    slow = _smooth(rng, 0.2)
    light = slow + rng.normal(0, 0.03, (SIZE, SIZE))
    levels, answers = [], []
    for _ in range(count):
        sample = np.zeros((SIZE, SIZE))
        for _ in range(4):
            y, x = rng.integers(0, SIZE - 20, 2)
            sample[y : y + rng.integers(5, 40), x : x + rng.integers(5, 40)] -= rng.uniform(0.2, 1)
        levels.append(light + sample + rng.normal(0, 0.01, (SIZE, SIZE)) + rng.normal())
        answers.append(slow + _smooth(rng, 0.01) + rng.normal())
    return light, levels, answers


def _series(*parts: list[np.ndarray]) -> Series:
    """Levels, answers, errors and noises of each."""
    return series([Seen(*each) for each in zip(*parts, strict=True)])


def _of(levels: list[np.ndarray], answers: list[np.ndarray]) -> Series:
    return _series(levels, answers, [np.full((SIZE, SIZE), 0.03)] * len(levels), [QUIET] * len(levels))


def _off(found: np.ndarray, light: np.ndarray) -> float:
    return float((found - light).std())


def test_what_all_images_hold_is_found_and_their_samples_are_not() -> None:
    """The pattern is .03, what an answer misses more: of sixteen images a third of that is left."""
    errors = []
    for count in (3, 6, 16):
        light, levels, answers = _drawn(count)
        alone = np.mean([_off(answer, light) for answer in answers])
        found = _of(levels, answers)
        errors.append(_off(found.field, light) / alone)
        reached = np.abs((found.field - found.field.mean()) - (light - light.mean()))
        assert np.mean(reached < 1.645 * found.sigma) > 0.85
        assert np.sqrt(np.mean(found.sigma**2)) < 2.5 * np.sqrt(np.mean(reached**2))  # nor is it too wide
    assert errors[0] < 0.9 and errors[1] < 0.6 and errors[2] < 1 / 3
    assert errors == sorted(errors, reverse=True)


def test_neither_order_nor_exposure_matters() -> None:
    _, levels, answers = _drawn(5)
    found = _of(levels, answers).field
    turned = _of(levels[::-1], answers[::-1]).field
    brighter = _of([level + 2.0 for level in levels], [answer - 1.0 for answer in answers]).field
    np.testing.assert_allclose(turned, found, atol=1e-5)
    np.testing.assert_allclose(brighter - brighter.mean(), found - found.mean(), atol=1e-5)


def test_a_single_image_with_a_large_sample_does_not_leave_it_in_the_light() -> None:
    light, levels, answers = _drawn(3)
    levels = [light.copy() for _ in levels]
    levels[1][20:70, 20:70] -= 1.0
    edge = _of(levels, answers).field - light
    inside, outside = edge[24:66, 24:66].mean(), edge[:16].mean()
    assert abs(inside - outside) < 0.05
    steps = np.abs(np.diff(edge, axis=0))[[19, 69]][:, 24:66]
    assert steps.max() < 0.15  # of 1


def test_images_without_samples_give_the_light_to_their_noise() -> None:
    rng = np.random.default_rng(1)
    light, _, answers = _drawn(8)
    levels = [light + rng.normal(0, 0.01, light.shape) for _ in answers]
    assert _off(_of(levels, answers).field, light) < 1.7 * np.hypot(0.01, 0.02) / np.sqrt(8)


def test_too_few_images_and_several_sizes_are_refused() -> None:
    _, levels, answers = _drawn(LEAST - 1)
    with pytest.raises(UsageError, match="3 images"):
        _of(levels, answers)
    _, levels, answers = _drawn(3)
    with pytest.raises(UsageError, match="one size"):
        _of([levels[0], levels[1], levels[2][:-2]], answers)


def test_an_answer_that_is_wrong_counts_little_whether_it_says_so_or_not() -> None:
    light, levels, answers = _drawn(4)
    lean = 0.3 * np.linspace(-1, 1, SIZE)[:, None] * np.ones((SIZE, SIZE))
    misled = [answers[0] + lean, *answers[1:]]
    errors = [np.full((SIZE, SIZE), 0.3 if i == 0 else 0.02) for i in range(4)]
    for found in (_series(levels, misled, errors, [QUIET] * 4), _of(levels, misled)):
        assert _off(found.field, light) < 0.4 * lean.std() / 4


@pytest.mark.parametrize("value", [-4.0, 2.0])
def test_a_part_in_which_one_image_has_seen_nothing_says_nothing(value: float) -> None:
    """Blocked or saturated: constant, so quieter than any image that has seen something."""
    light, levels, answers = _drawn(16)
    part = np.s_[30:66, 30:66]
    noises = [QUIET] * 16
    whole = _of(levels, answers).field - light
    levels[5] = levels[5].copy()
    levels[5][part] = value
    if value < 0:  # it is known to be blocked
        noises[5] = QUIET.copy()
        noises[5][part] = 1
    found = _series(levels, answers, [np.full((SIZE, SIZE), 0.03)] * 16, noises)
    off = found.field - light
    inner = np.s_[36:60, 36:60]
    assert np.std(off[inner]) < 1.5 * np.std(whole[inner])
    assert np.mean(np.abs(off - off.mean())[inner] < 1.645 * found.sigma[inner]) > 0.8


def test_a_loud_zone_does_not_hide_the_pattern_elsewhere() -> None:
    light, levels, answers = _drawn(16)
    rng = np.random.default_rng(5)
    loud = [level.copy() for level in levels]
    for level in loud:
        level[:48, :48] += rng.normal(0, 1, (48, 48))
    quiet, found = _of(levels, answers).field - light, _of(loud, answers).field - light
    assert np.std(found[56:, 56:]) < 1.3 * np.std(quiet[56:, 56:])


# --- light that drifts -----------------------------------------------------------------------------------


def _walk(count: int, step: float, noise: float, seed: int = 0) -> tuple[np.ndarray, Drift]:
    """The true waves of a drifting light over their mean (N,5), and what is found of them behind noise."""
    rng = np.random.default_rng(seed)
    flat = np.zeros((24, 24), np.float32)
    waves = drift([flat, flat], flat, [flat + 1] * 2, [flat + 1] * 2, range(2)).waves
    true = np.cumsum(rng.normal(0, step, (count, 5)), axis=0)
    seen = true + rng.normal(0, noise, true.shape)
    own = [np.tensordot(each, waves, 1).astype(np.float32) for each in seen]
    weights = [flat + 1] * count
    return true - true.mean(0), drift(own, np.mean(own, axis=0), weights, weights, range(count))


def test_a_drift_is_found_behind_the_noise_of_answers_and_its_error_is_told() -> None:
    errors, noise, still, scores = [], [], [], []
    for seed in range(40):
        true, found = _walk(20, 0.01, 0.02, seed)
        errors.append(np.square(found.size - true).mean())
        scores.append(np.square(found.size - true) / found.variance)
        still.append(np.square(true).mean())
        noise.append(0.02**2)
    assert np.mean(errors) < 0.5 * min(np.mean(noise), np.mean(still))
    assert 0.7 < np.mean(scores) < 2  # how fast light drifts is not known but estimated, too


def test_light_that_stands_still_is_not_moved() -> None:
    moved = [np.square(_walk(20, 0.0, 0.02, seed)[1].size).mean() for seed in range(20)]
    assert np.mean(moved) < 0.1 * 0.02**2


def test_the_drift_of_reversed_time_is_the_drift_reversed() -> None:
    rng = np.random.default_rng(3)
    own = [rng.normal(0, 0.02, (20, 30)).astype(np.float32) for _ in range(6)]
    weights = [rng.uniform(1, 3, (20, 30)).astype(np.float32) for _ in own]
    mean = np.sum([w * o for w, o in zip(weights, own, strict=True)], axis=0) / np.sum(weights, axis=0)
    places = np.array([0.0, 1, 2, 5, 6, 8])
    ahead = drift(own, mean, weights, [1 / w for w in weights], list(places))
    back = drift(own[::-1], mean, weights[::-1], [1 / w for w in weights[::-1]], list(8 - places[::-1]))
    np.testing.assert_allclose(back.size[::-1], ahead.size, atol=1e-7)
    np.testing.assert_allclose(back.variance[::-1], ahead.variance, rtol=1e-4)
    shifted = [one + np.float32(0.1) for one in own]
    np.testing.assert_allclose(
        drift(shifted, mean, weights, [1 / w for w in weights], list(places)).size, ahead.size, atol=1e-6
    )


def test_between_two_images_light_is_between_theirs() -> None:
    _, found = _walk(8, 0.02, 0.01)
    one, two, between = (found.at(place)[0] for place in (3, 4, 3.25))
    np.testing.assert_allclose(between, 0.75 * one + 0.25 * two)
    np.testing.assert_allclose(found.at(-2)[0], found.at(0)[0])
    nobody = found.at(None)
    assert not nobody[0].any() and (nobody[1].mean() > np.mean(found.size**2))


# --- with the net ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net() -> BackgroundNet:
    return BackgroundNet("xray", threads=1)


def test_a_session_is_corrected_better_together(net: BackgroundNet) -> None:
    """Simulated sessions: the error of ln B, image by image, with the net alone and together."""
    alone, together, within = [], [], []
    for seed in VALIDATION[:2]:
        simulator = Simulator(seed, 128)
        shots = [simulator.shot(i) for i in range(6)]
        raws, dark, valid = [shot.raw for shot in shots], shots[0].dark, shots[0].vignette > 0.97
        for shot in shots:
            truth = np.log(shot.background)
            for name, errors in (("pix2pix", alone), ("series", together)):
                references = raws if name == "series" else ()
                found = estimate_background(shot.raw, name, references, dark=dark, net=net)
                off = (np.log(found.field) - truth)[valid]
                errors.append(off.std())
                if name == "series":
                    assert found.sigma is not None
                    within.append(np.mean(np.abs(off - np.median(off)) < 1.645 * found.sigma[valid]))
    assert np.mean(together) < 0.6 * np.mean(alone)
    assert 0.7 < np.mean(within) < 0.999


def test_the_net_is_asked_once_an_image_however_many_files_there_are(
    net: BackgroundNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = Simulator(VALIDATION[0], 64)
    raws = [simulator.shot(i).raw for i in range(3)]
    asked = []
    engine = net.engine
    monkeypatch.setattr(net, "engine", lambda planes: asked.append(len(planes)) or engine(planes))
    method = find_method("series", net=net)
    ready = prepared(method, raws)
    done = [
        next(correct([raw], method=method, places=[place], ready=ready)) for place, raw in enumerate(raws)
    ]
    assert len(asked) == 3
    whole = correct(raws, method=method, references=raws)
    for one, other in zip(done, whole, strict=True):
        np.testing.assert_array_equal(one.background, other.background)


def test_an_image_of_another_size_is_no_part_of_the_series(net: BackgroundNet) -> None:
    raws = [Simulator(VALIDATION[0], 64).shot(i).raw for i in range(3)]
    with pytest.raises(UsageError, match="series is of size"):
        next(correct([raws[0][:60]], method=find_method("series", net=net), references=raws))


def test_light_is_divided_out_as_it_was_when_an_image_was_taken(net: BackgroundNet) -> None:
    """Lamps that wander: an image that is one of the series is known, of another it is told when it was."""
    simulator = Simulator(VALIDATION[0], 64)
    y = np.linspace(-1, 1, 64)[:, None]
    shots = [simulator.shot(i) for i in range(8)]
    raws = [(shot.raw - shot.dark) * np.exp(0.06 * (i - 3.5) * y) for i, shot in enumerate(shots)]
    bare = BackgroundNet("xray", threads=1, empty=False)
    method = find_method("series", net=bare)
    fields = [np.log(one.background) for one in correct(raws, method=method, references=raws)]
    slopes = [np.mean(field * y) / np.mean(y**2) for field in fields]
    wandered = 0.06 * (np.arange(8) - 3.5)
    assert np.std(slopes - wandered) < 0.5 * np.std(wandered)
    strange = raws[3] * 1.001
    (told,) = correct([strange], method=method, references=raws, places=[3], uncertainty=True)
    np.testing.assert_allclose(np.log(told.background), fields[3], atol=1e-6)
    (untold,) = correct([strange], method=method, references=raws, uncertainty=True)
    between = np.mean(np.log(untold.background) * y) / np.mean(y**2)
    assert min(slopes) + 0.02 < between < max(slopes) - 0.02
    assert told.sigma is not None and untold.sigma is not None
    assert np.median(told.sigma) < np.median(untold.sigma)
    alone = estimate_background(raws[6], "series", raws, net=bare)
    np.testing.assert_allclose(np.log(alone.field), fields[6], atol=1e-6)


def test_a_smooth_sample_that_looks_empty_does_not_move_what_the_series_knows(
    net: BackgroundNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots = [Simulator(VALIDATION[0], 64).shot(i) for i in range(4)]
    lights = [shot.raw - shot.dark for shot in shots]
    monkeypatch.setattr("relume.tasks.background.evened", lambda light, field: field)
    find = find_method("series", net=net).ready(lights)
    plain = find(lights[1], 1).field
    for lean, moved in ((0.004, True), (0.4, False)):
        tilt = np.exp(np.linspace(-lean, lean, 64)[:, None])
        monkeypatch.setattr("relume.tasks.background.evened", lambda light, field, tilt=tilt: field * tilt)
        np.testing.assert_allclose(find(lights[1], 1).field, plain * tilt if moved else plain)


def test_of_large_frames_fewer_are_taken() -> None:
    assert apart(64, (1024, 1024)) == 1 and apart(65, (512, 512)) == 2
    assert apart(64, (2048, 2048)) == 4 and apart(961, (2048, 2048)) == 61
    assert apart(24, (8192, 8192)) == 2 and apart(0, ()) == 1


def test_what_is_dark_unmeasured_or_hot_in_an_image_spoils_no_other(net: BackgroundNet) -> None:
    shots = [Simulator(VALIDATION[0], 64).shot(i) for i in range(6)]
    raws, dark = [np.asarray(shot.raw, np.float64) for shot in shots], shots[0].dark
    method = find_method("series", net=net)

    def background(images: list[np.ndarray]) -> np.ndarray:
        done = correct(images, method=method, dark=dark, references=images, blank=lambda n, e: None)
        return np.log(next(done).background)

    usual = background(raws)
    hurt = [raw.copy() for raw in raws]
    hurt[2][:, :50] = dark[:, :50] if np.ndim(dark) else dark  # dark over half its size
    hurt[3][10:14, 20:24] = np.nan
    hurt[4][:] = dark  # nothing but the dark level
    hurt[5][40, 40] *= 8
    assert np.std(background(hurt) - usual) < 0.02
    dim = [hurt[2]] * 3 + raws[:2]
    with pytest.raises(UsageError, match="3 of 5 images of the series are dark"):
        background(dim)


def test_another_way_with_what_the_camera_adds_is_another_series(net: BackgroundNet) -> None:
    from relume.background import NO_ARTEFACTS

    shots = [Simulator(VALIDATION[0], 64).shot(i) for i in range(3)]
    lights = [shot.raw - shot.dark for shot in shots]
    for light in lights:
        light[20, 30] *= 6
    method = find_method("series", net=net)
    mended = method.ready(lights)(lights[0]).field
    kept = method._replace(artefacts=NO_ARTEFACTS).ready(lights)(lights[0]).field
    assert kept[20, 30] > 1.2 * mended[20, 30]


def test_images_of_several_sizes_are_refused_with_their_sizes() -> None:
    one, other = np.ones((32, 32)), np.ones((30, 32))
    for images in ((one, [one, one, other]), (np.ones((3, 32, 32)), [one] * 3)):
        with pytest.raises(UsageError, match="of one size"):
            estimate_background(images[0], "series", images[1])
    with pytest.raises(UsageError, match="of one size"):
        estimate_background(one, "series", [one] * 3, dark=other)


def test_exposures_of_one_place_are_told_from_a_series() -> None:
    light, levels, answers = _drawn(6)
    assert not _of(levels, answers).still
    rng = np.random.default_rng(0)
    again = [levels[0] + rng.normal(0, 0.01, light.shape) for _ in levels]
    assert _of(again, answers).still
    empty = [light + rng.normal(0, 0.01, light.shape) for _ in levels]
    assert not _series(empty, [light + 0.01 * one for one in answers], [QUIET] * 6, [QUIET] * 6).still
