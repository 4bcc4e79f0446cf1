r"""Every mark: put in, found again with its key, and with no other."""

import numpy as np
import pytest

from relume.errors import UsageError
from relume.marks import MARKS

SIDE = 96


def host(medium, seed=0):
    rng = np.random.default_rng(seed)
    if medium == "noise":
        return rng.standard_normal((3, SIDE, SIDE)).astype(np.float32)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    smooth = np.stack([0.3 + 0.4 * rows, 0.2 + 0.5 * columns, 0.6 - 0.3 * rows], axis=-1)
    return np.clip(smooth + 0.03 * rng.standard_normal(smooth.shape), 0, 1).astype(np.float32)


@pytest.fixture(params=sorted(MARKS))
def make(request):
    return MARKS[request.param]


def test_a_mark_is_found_by_its_key_alone(make):
    mark = make("own")
    array = host(mark.medium)
    before = array.copy()
    marked = mark.embed(array)
    np.testing.assert_array_equal(array, before)
    assert marked.shape == array.shape and marked.dtype == array.dtype and (marked != array).any()
    assert mark.detect(marked).p_value < 1e-9
    assert make("other").detect(marked).p_value > 1e-4 and mark.detect(array).p_value > 1e-4


def test_the_same_key_makes_the_same_mark(make):
    mark = make("own")
    array = host(mark.medium)
    np.testing.assert_array_equal(mark.embed(array), make("own").embed(array))
    assert (mark.embed(array) != make("own ").embed(array)).any()


def test_at_most_a_share_p_of_all_keys_finds_p_or_less_whatever_the_picture(make):
    # The least favourable host: it repeats as the lattice does, and all its energy lies where a mark's would.
    medium = make("").medium
    tile = np.random.default_rng(3).standard_normal((64, 64))
    tiled = np.tile(tile, (2, 2))[:SIDE, :SIDE]
    array = tiled[None] if medium == "noise" else np.clip(0.5 + 0.1 * tiled, 0, 1)[..., None]
    values = np.array([make(f"key {i}").detect(array).p_value for i in range(100)])
    for level in (0.05, 0.2):
        # Three standard deviations of a binomial above the level
        assert (values <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / len(values))


def test_a_constant_picture_holds_no_mark(make):
    mark = make("own")
    array = np.zeros_like(host(mark.medium)) + np.float32(0.5)
    assert mark.detect(array).p_value > 1e-4


def test_what_is_too_small_is_refused(make):
    mark = make("own")
    small = host(mark.medium)[..., :5, :] if mark.medium == "noise" else host(mark.medium)[:5]
    for call in (mark.embed, mark.detect):
        with pytest.raises(UsageError):
            call(small)
