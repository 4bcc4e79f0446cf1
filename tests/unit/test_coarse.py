"""Damage too wide to be seen at full size: found on smaller copies by a net that knows thin lines alone."""

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL import ImageFilter

from relume.tasks import coarse
from relume.tasks.coarse import SMALLEST, halved, search

Array = np.ndarray


class ThinLines:
    """Takes for damage what is white and at most 4 pixels wide, and fills it with the median."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, picture: Array, shown: Array | None) -> tuple[Array, Array]:
        self.sizes.append(picture.shape[0])
        white = PilImage.fromarray(((picture.min(axis=2) > 0.9) * 255).astype(np.uint8))
        wide = white.filter(ImageFilter.MinFilter(5)).filter(ImageFilter.MaxFilter(5))
        found = (np.asarray(white) > np.asarray(wide)).astype(np.float32)
        return np.where(found[..., None] > 0, np.float32(np.median(picture)), picture), found


def lined(width: int, side: int = 1000) -> Array:
    picture = np.full((side, side, 3), 0.4, np.float32)
    picture[:, 480 : 480 + width] = 1
    return picture


@pytest.mark.parametrize(("width", "copies"), [(7, 1), (14, 2)])
def test_a_wide_line_is_found_on_a_smaller_copy(width: int, copies: int) -> None:
    picture, net = lined(width), ThinLines()
    clean, seen = net(picture, None)
    assert not seen.any() and (clean == picture).all()
    more = search(picture, seen, net)
    assert more is not None
    assert (more.weight[:, 480 : 480 + width] > 0.9).all(), "all of the line"
    assert not more.weight[:, : 480 - 4 * 2**copies].any(), "and little else"
    assert np.median(np.abs(more.filled[20:-20, 480 : 480 + width] - 0.4)) < 0.06, "a soft rim is left"
    assert (more.shown >= 0).all() and (more.shown[more.weight > 0.99] > 0.5).all()


def test_what_was_seen_at_full_size_is_left_to_it() -> None:
    picture, net = lined(3), ThinLines()
    _, seen = net(picture, None)
    assert seen.any() and search(picture, seen, net) is None


def test_a_sound_picture_costs_a_third_more_and_stays_as_it_is() -> None:
    rng = np.random.default_rng(0)
    picture, net = rng.uniform(0.2, 0.7, (1000, 1000, 3)).astype(np.float32), ThinLines()
    assert search(picture, np.zeros((1000, 1000), np.float32), net) is None
    assert net.sizes == [500, 250]  # a quarter and a sixteenth of the pixels, once each


def test_small_pictures_have_no_smaller_copy() -> None:
    assert halved(np.zeros((2 * SMALLEST - 1, 4000, 3), np.float32)) is None
    small = halved(np.full((2 * SMALLEST, 901, 3), 0.3, np.float32))
    assert small is not None and small.shape == (SMALLEST, 450, 3)
    assert np.abs(small - 0.3).max() < 0.5 / 255


def test_a_copy_went_through_a_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving it once more changes little, as its blocks are there already; without them it changes more."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(0.2, 0.8, (2 * SMALLEST, 2 * SMALLEST, 3)).astype(np.float32)
    small = halved(picture)
    monkeypatch.setattr(coarse, "_LONGEST", SMALLEST - 1)
    plain = halved(picture)
    monkeypatch.undo()
    assert small is not None and plain is not None and np.abs(small - plain).max() < 0.1
    change = [float(np.abs(coarse._saved(each) - each).mean()) for each in (small, plain)]
    assert change[0] < change[1] / 3
