r"""Tree rings: a mark is found, and nothing else is."""

import numpy as np
import pytest
from scipy import stats

from relume.diffusion import ddim, linear, mixture_denoiser, sample
from relume.errors import UsageError
from relume.invert import invert_sampler, naive_inversion
from relume.marks import TreeRing
from relume.marks.sphere import cap

KEYS = ("first", "second", "third")


def noises(count, shape=(3, 64, 64), seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape))


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 65, 64), (4, 41, 90)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_untouched_mark_is_found_exactly(shape, dtype):
    noise = noises(1, shape)[0].astype(dtype)
    mark = TreeRing("key", channel=-1)
    marked = mark.embed(noise)
    found = mark.detect(marked)
    assert marked.dtype == dtype and marked.shape == shape
    assert found.similarity > 1 - 1e-9 and found.p_value < 1e-9
    assert found.distance < (1e-9 if dtype == np.float64 else 1e-5)
    # The other channels, and the other frequencies, are as they were.
    np.testing.assert_array_equal(marked[:-1], noise[:-1])
    change = np.abs(np.fft.fft2(marked[-1] - noise[-1])) / np.abs(np.fft.fft2(noise[-1])).max()
    away = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape[1:]), indexing="ij"))
    assert change[away >= 10].max() < 1e-6 and change[away < 10].min() > 1e-6


def test_marked_noise_has_the_energy_of_noise():
    batch = noises(60, (1, 48, 48))
    marked = np.concatenate([TreeRing(str(i)).embed(noise) for i, noise in enumerate(batch)])
    assert marked.var() == pytest.approx(1.0, abs=0.03)
    spectrum = np.abs(np.fft.fft2(marked)) ** 2 / 48**2
    assert spectrum[:, :6, :6].mean() == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("dimensions", [3, 8, 16, 41])
def test_the_cap_of_a_sphere(dimensions):
    # The cosine c has the law of Student's t: c √(R-1) / √(1-c²) with R - 1 degrees of freedom.
    for cosine in (-0.9, -0.1, 0.2, 0.7, 0.99, 0.9999):
        t = cosine * np.sqrt(dimensions - 1) / np.sqrt(1 - cosine**2)
        assert cap(cosine, dimensions) == pytest.approx(stats.t.sf(t, dimensions - 1), rel=1e-7)
    assert cap(1.0, dimensions) == 0.0 and cap(-1.0, dimensions) == 1.0


def test_false_alarms_of_ten_thousand_unmarked_noises_are_as_many_as_said():
    mark, values = TreeRing("a fixed key"), []
    for chunk in range(10):
        batch = 1.7 * noises(1000, (1, 32, 32), seed=chunk)
        values += [mark.detect(noise).p_value for noise in batch]
    assert stats.kstest(values, "uniform").pvalue > 0.01
    for level in (0.1, 0.01, 0.001):
        alarms = int(np.sum(np.array(values) < level))
        assert stats.binomtest(alarms, 10_000, level).pvalue > 0.01


def test_for_random_keys_the_p_value_holds_even_for_what_is_no_noise():
    ramp = np.linspace(0, 4, 48)[None, :, None] * np.linspace(1, 2, 48) ** 2
    values = [TreeRing(f"key {i}").detect(ramp).p_value for i in range(2000)]
    assert stats.kstest(values, "uniform").pvalue > 0.01


def test_keys_are_told_apart_the_better_the_nearer_the_noise():
    marks = [TreeRing(key) for key in KEYS]
    batch = noises(50, (1, 64, 64))
    rates = []
    for decibels in (20, -3, -20):
        right = 0
        errors = 10 ** (decibels / 20) * noises(50, (1, 64, 64), seed=9)
        for own, mark in enumerate(marks):
            for noise, error in zip(batch, errors, strict=True):
                seen = mark.embed(noise) + error
                right += own == int(np.argmin([each.detect(seen).p_value for each in marks]))
        rates.append(right / 150)
    assert rates[0] < 0.9 and rates[1] > 0.95 and rates[2] == 1.0


def test_a_mark_survives_turning_and_mirroring():
    mark = TreeRing("key")
    marked = mark.embed(noises(1, (1, 64, 64))[0])
    for changed in (marked[:, ::-1], marked[:, :, ::-1], np.rot90(marked, axes=(1, 2)), 0.2 * marked):
        assert mark.detect(changed).p_value < 1e-9
    assert TreeRing("other").detect(marked).p_value > 1e-3


def test_a_picture_is_traced_to_its_key_by_exact_inversion():
    size = 24
    rng = np.random.default_rng(0)
    schedule = linear()
    centers = np.cumsum(np.cumsum(rng.standard_normal((4, size, size)), 1), 2).reshape(4, -1)
    denoise = mixture_denoiser(schedule, centers / np.abs(centers).max(), [0.02] * 4)
    mark, table = TreeRing("key", radius=6.0, rings=8), ddim(schedule, 10)
    noise = mark.embed(rng.standard_normal((1, size, size)))
    picture = sample(table, denoise, noise.reshape(1, -1))
    found = invert_sampler(table, schedule, denoise, picture, tolerance=1e-9)
    exact = mark.detect(found.x.reshape(1, size, size))
    naive = mark.detect(naive_inversion(table, schedule, denoise, picture).x.reshape(1, size, size))
    assert exact.p_value < 1e-12 < naive.p_value
    assert TreeRing("other", radius=6.0, rings=8).detect(found.x.reshape(1, size, size)).p_value > 1e-3


def test_what_cannot_be_marked_is_refused():
    noise = noises(1, (3, 16, 64))[0]
    with pytest.raises(UsageError, match="larger"):
        TreeRing("key").embed(noise)
    with pytest.raises(UsageError, match="channel 3"):
        TreeRing("key", channel=3, radius=5).embed(noise)
    with pytest.raises(UsageError, match="one noise"):
        TreeRing("key").detect(noise[None])
    with pytest.raises(UsageError, match="fewer"):
        TreeRing("key", radius=2, rings=30).embed(noise)
    with pytest.raises(UsageError, match="no mark"):
        TreeRing("key", rings=2)
