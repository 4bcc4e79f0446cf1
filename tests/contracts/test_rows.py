r"""Every row in the list: a picture in, a picture of the same kind out, and what the row is there for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from relume.bench import psnr
from relume.bench.classical import ROWS, Row, row
from relume.bench.classical.scratches import scratch_mask
from relume.bench.detection import auc
from relume.bench.spectrum import gradient_energy
from relume.errors import UsageError

Picture = NDArray[np.float32]
EVERY = pytest.mark.parametrize("name", ROWS)


def able(name: str) -> Row:
    reason = row(name).lacking()
    if reason is not None:
        pytest.skip(reason)
    return row(name)


def smooth(height: int = 48, width: int = 64) -> Picture:
    rows, columns = np.mgrid[0:height, 0:width] / width
    return np.stack([0.3 + 0.3 * rows, 0.2 + 0.5 * columns, 0.6 - 0.2 * rows], axis=-1).astype(np.float32)


def noisy(picture: Picture, strength: float = 0.08) -> Picture:
    noise = np.random.default_rng(0).standard_normal(picture.shape)
    return np.clip(picture + strength * noise, 0, 1).astype(np.float32)


def scratched() -> tuple[Picture, NDArray[np.bool_]]:
    """A smooth picture with a bright vertical line of two pixels."""
    mask = np.zeros((80, 96), bool)
    mask[5:75, 40:42] = True
    return np.where(mask[..., None], np.float32(1), smooth(80, 96)), mask


@EVERY
def test_a_picture_comes_back_as_a_picture(name: str) -> None:
    given = noisy(smooth())
    copy = given.copy()
    first, second = (able(name).restore(given) for _ in range(2))
    assert first.shape == given.shape and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 1
    assert np.array_equal(given, copy), "the given picture was written into"
    assert np.abs(first - second).max() < 1e-5, "two runs differ by more than the order of a sum"


@EVERY
def test_what_looks_for_damage_scores_every_pixel(name: str) -> None:
    find = able(name).find
    if find is None:
        return
    picture, mask = scratched()
    found = find(picture)
    assert found.shape == mask.shape and found.min() >= 0
    quality = auc(found, mask)
    assert quality is not None and quality > 0.95


@EVERY
def test_the_order_says_what_a_row_is(name: str) -> None:
    assert ROWS[name].name == name and ROWS[name].title
    assert ROWS[name].control == (name in ("identity", "blur"))


def test_an_unknown_row_is_named_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="identity, blur"):
        row("magic")


def test_identity_is_the_picture_itself() -> None:
    picture = noisy(smooth())
    assert row("identity").restore(picture) is picture


@pytest.mark.parametrize("name", ["blur", "median", "nlmeans", "denoise", "bm3d", "combined"])
def test_what_is_to_take_noise_away_makes_pictures_smoother(name: str) -> None:
    picture = noisy(smooth())
    assert gradient_energy(able(name).restore(picture), picture) < 0.6


@pytest.mark.parametrize("name", ["nlmeans", "bm3d"])
def test_denoisers_come_nearer_to_the_truth_and_leave_clean_pictures_alone(name: str) -> None:
    clean = smooth()
    assert psnr(able(name).restore(noisy(clean)), clean) > psnr(noisy(clean), clean) + 3
    assert psnr(able(name).restore(clean), clean) > 45


@pytest.mark.parametrize("name", ["inpaint", "inpaint-ns"])
def test_inpainting_fills_a_scratch_and_changes_nothing_else(name: str) -> None:
    picture, mask = scratched()
    filled = able(name).restore(picture)
    assert np.abs(filled - smooth(80, 96))[mask].max() < 0.05
    beside = ~scratch_mask(picture)
    assert np.array_equal(filled[beside], picture[beside])
    assert beside.mean() > 0.9 and not beside[mask].any()
    assert np.array_equal(able(name).restore(smooth()), smooth())  # nothing to be found


def test_clahe_gives_a_flat_picture_contrast() -> None:
    dull = (0.45 + 0.1 * smooth()).astype(np.float32)
    assert able("clahe").restore(dull).std() > 1.3 * dull.std()


def test_auto_contrast_takes_linear_fading_back() -> None:
    clean = smooth()
    clean = (clean - clean.min((0, 1))) / np.ptp(clean, axis=(0, 1))
    faded = (0.2 + 0.5 * clean).astype(np.float32)
    assert np.abs(row("autocontrast").restore(faded) - clean).max() < 2.1 / 255 / 0.5


def test_grey_world_takes_a_cast_away() -> None:
    cast = smooth() * np.asarray([0.9, 0.7, 0.5], np.float32)
    means = row("greyworld").restore(cast).mean((0, 1))
    np.testing.assert_allclose(means, cast.mean(), rtol=1e-4)
