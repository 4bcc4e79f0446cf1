r"""The lattice survives what happens to pictures, and its p-value is honest."""

import io

import numpy as np
import pytest
from PIL import Image as PilImage
from scipy import stats

from relume.bench import psnr
from relume.errors import UsageError
from relume.marks import Lattice
from relume.marks.activity import luma, masked, window_mean
from relume.marks.lattice import _Seen


def photograph(height=160, width=192, seed=0):
    """Fractal texture beside a flat sky: what a photograph has of both."""
    rng = np.random.default_rng(seed)
    cycles = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    spectrum = np.fft.fft2(rng.standard_normal((height, width, 3)), axes=(0, 1))
    texture = np.fft.ifft2(spectrum / np.maximum(cycles, 1 / width)[..., None] ** 1.2, axes=(0, 1)).real
    texture = 0.5 + 0.15 * texture / texture.std()
    texture[: height // 3] = 0.7
    return np.clip(texture, 0, 1).astype(np.float32)


def levels(picture):
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def unit(array):
    return np.asarray(array, np.float32) / np.float32(255)


def jpeg(picture, quality):
    file = io.BytesIO()
    PilImage.fromarray(levels(picture)).save(file, "JPEG", quality=quality)
    return unit(PilImage.open(file))


def resized(picture, width, height, filter=PilImage.Resampling.BILINEAR):
    return unit(PilImage.fromarray(levels(picture)).resize((width, height), filter))


ATTACKS = {
    "8 bit": (lambda x: unit(levels(x)), "as it was"),
    "JPEG 50": (lambda x: jpeg(x, 50), "as it was"),
    "darker": (lambda x: 0.7 * x, "as it was"),
    "gray": (lambda x: x.mean(axis=2, keepdims=True), "as it was"),
    "noise": (lambda x: x + 0.03 * np.random.default_rng(9).standard_normal(x.shape), "as it was"),
    "crop": (lambda x: jpeg(x[21:, 13:-9], 80), "cropped"),
    "larger": (lambda x: jpeg(resized(x, 250, 208), 80), "resized"),
    "screenshot": (lambda x: jpeg(resized(x[5:-3, 9:], 240, 199), 75), "resized"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_survives(name):
    attack, question = ATTACKS[name]
    mark = Lattice("key")
    found = mark.detect(attack(mark.embed(photograph())).astype(np.float32))
    assert found.p_value < 1e-6 and found.question == question


def test_the_pitch_that_is_found_is_the_scale():
    mark = Lattice("key")
    marked = mark.embed(photograph())
    found = mark.detect(resized(marked, 288, 240))
    assert found.pitch == pytest.approx(1.5, rel=0.01)


def test_a_large_picture_has_a_larger_unit_and_its_part_is_found():
    mark = Lattice("key")
    marked = mark.embed(photograph(96, 2304))
    assert mark.detect(marked).pitch == 1.5
    part = mark.detect(marked[:, 700:1400])
    assert part.p_value < 1e-6 and part.pitch == pytest.approx(1.5, rel=0.01)


def test_it_costs_little_and_hides_where_much_goes_on():
    plain = photograph()
    marked = Lattice("key").embed(plain)
    assert psnr(marked, plain) > 40 and marked.min() >= 0 and marked.max() <= 1
    change = np.abs(marked - plain)
    assert change[:40].mean() < 1 / 255 < change[80:].max()
    with pytest.raises(UsageError, match="strength"):
        Lattice("key", strength=0)


def test_one_question_has_exactly_the_law_of_the_sphere():
    # "As it was" alone, over keys: its p-value is uniform for a picture that is nothing like noise.
    picture = photograph()
    seen = _Seen(luma(picture)).at(1.0)
    values = []
    for i in range(800):
        mark = Lattice(f"key {i}")
        cosine = mark._cosine(seen, (80, 96), 1.0)
        values.append(cosine * np.sqrt((575) / (1 - cosine**2)))
    # For R = 576 dimensions the cosine is that of Student's t with 575 degrees of freedom.
    assert 2 * len(Lattice("a")._direction) == 576
    assert stats.kstest(values, stats.t(575).cdf).pvalue > 0.01


def test_the_window_mean_is_the_mean_over_the_window():
    plane = np.random.default_rng(0).standard_normal((17, 23))
    rows, columns = np.clip(np.arange(5, 12), 0, 16), np.clip(np.arange(16, 23), 0, 22)
    assert window_mean(plane, 7)[8, 19] == pytest.approx(plane[np.ix_(rows, columns)].mean(), abs=1e-12)
    np.testing.assert_allclose(window_mean(np.ones((5, 9)), 9), 1)


def test_one_edge_beside_a_flat_place_does_not_hide_a_mark():
    flat = np.full((64, 64), 0.2)
    step, rough = flat.copy(), flat + 0.1 * np.random.default_rng(0).standard_normal((64, 64))
    step[:, 32:] = 0.9
    plain, edge, busy = (masked(each, 1.0)[1][32, 38] for each in (flat, step, rough))
    assert plain <= edge < 1.6 * plain and busy > 3 * plain
