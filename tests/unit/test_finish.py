r"""What stands before and after the nets."""

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL import ImageFilter

from relume.tasks.finish import grown, is_grey


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (64, 40)])
@pytest.mark.parametrize("side", [1, 3, 7, 9])
def test_growing_is_a_rank_filter_of_the_maximum(shape: tuple[int, int], side: int) -> None:
    levels = (np.random.default_rng(0).random(shape) ** 9 * 255).astype(np.uint8)
    expected = np.asarray(PilImage.fromarray(levels).filter(ImageFilter.MaxFilter(side)))
    assert np.array_equal(grown(levels, side), expected)


def test_a_single_coloured_pixel_is_colour_wherever_it_is() -> None:
    picture = np.repeat(np.random.default_rng(1).random((40, 56, 1), np.float32), 3, axis=2)
    assert is_grey(picture)
    for place in ((0, 0), (16, 32), (21, 7), (39, 55)):
        tinted = picture.copy()
        tinted[place] = (0.2, 0.5, 0.2)
        assert not is_grey(tinted)
    assert is_grey(picture + np.asarray([0, 1 / 255, 2 / 255], np.float32))
