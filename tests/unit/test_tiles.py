r"""Tiles: nothing is lost, no seam appears, and every call has the same size."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from relume import tiles
from relume.errors import UsageError

TILE, OVERLAP = 64, 24
SIZES = [
    (1, 1),
    (5, 300),
    (TILE, TILE),
    (TILE - 1, TILE + 1),
    (TILE + 1, 2 * TILE - OVERLAP),
    (2 * TILE - OVERLAP + 1, 2),
    (3 * TILE, 131),
    (97, 201),
]


def random(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).random((height, width, channels), dtype=np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [0, 1, 7, OVERLAP, TILE // 2])
def test_identity_returns_every_bit(size: tuple[int, int], overlap: int) -> None:
    picture = np.round(random(*size) * 255).astype(np.float32) / np.float32(255)
    result = tiles.apply(lambda x: x, picture, tile=TILE, overlap=overlap)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, picture)


@pytest.mark.parametrize("size", SIZES)
def test_every_call_has_the_fixed_size_and_comes_in_the_order_of_the_grid(size: tuple[int, int]) -> None:
    picture = random(*size)
    grid = tiles.grid(*size, TILE, OVERLAP)
    seen: list[np.ndarray] = []
    progress: list[tuple[int, int]] = []

    def function(x: np.ndarray) -> np.ndarray:
        seen.append(x.copy())
        assert x.dtype == np.float32 and x.flags.c_contiguous
        return x

    tiles.apply(function, picture, tile=TILE, overlap=OVERLAP, progress=lambda *p: progress.append(p))
    assert progress == [(i + 1, len(grid)) for i in range(len(grid))]
    covered = np.zeros(size, bool)
    for tile, x in zip(grid, seen, strict=True):
        assert x.shape == (TILE, TILE, 3)
        inside = picture[tile.y : tile.y + TILE, tile.x : tile.x + TILE]
        np.testing.assert_array_equal(x[: inside.shape[0], : inside.shape[1]], inside)
        covered[tile.y : tile.y + TILE, tile.x : tile.x + TILE] = True
    assert covered.all()


def windows(size: tuple[int, int]) -> np.ndarray:
    """The weight of each tile at each pixel, measured: the result when only that tile answers one."""
    count = len(tiles.grid(*size, TILE, OVERLAP))
    found = []
    for wanted in range(count):
        calls = iter(range(count))
        function = lambda x, calls=calls, wanted=wanted: np.full(  # noqa: E731
            (TILE, TILE, 1), float(next(calls) == wanted), np.float32
        )
        found.append(tiles.apply(function, np.zeros((*size, 3), np.float32), tile=TILE, overlap=OVERLAP))
    return np.stack(found)[..., 0]


@pytest.mark.parametrize("size", SIZES)
def test_windows_are_weights_that_sum_to_one(size: tuple[int, int]) -> None:
    weights = windows(size)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(0), 1, atol=3e-7)
    # Only the middle half of an overlap blends: the outermost quarter of a tile counts nowhere.
    context = OVERLAP // 4
    for tile, weight in zip(tiles.grid(*size, TILE, OVERLAP), weights, strict=True):
        if tile.y > 0:
            assert not weight[: tile.y + context].any()
        if tile.x + TILE < size[1]:
            assert not weight[:, tile.x + TILE - context :].any()


def test_result_is_the_weighted_sum_in_any_order() -> None:
    size = (150, 170)
    picture, weights = random(*size), windows(size)
    grid = tiles.grid(*size, TILE, OVERLAP)
    rng = np.random.default_rng(1)
    answers = rng.random((len(grid), TILE, TILE, 2), dtype=np.float32)
    calls = iter(answers)
    result = tiles.apply(lambda x: next(calls), picture, tile=TILE, overlap=OVERLAP)
    total = np.zeros((*size, 2))
    for index in rng.permutation(len(grid)):
        y, x = grid[index].y, grid[index].x
        weight = weights[index, y : y + TILE, x : x + TILE, None]
        height, width = weight.shape[:2]  # the last ones reach beyond the picture
        total[y : y + TILE, x : x + TILE] += weight * answers[index][:height, :width]
    np.testing.assert_allclose(result, total, atol=1e-6)


def seam(size: tuple[int, int], reach: int) -> float:
    """How much a blur through tiles differs from the same blur of the whole picture, away from its border."""

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, (reach / 2, reach / 2, 0), radius=(reach, reach, 0), mode="mirror")

    picture = random(*size)
    apart = np.abs(tiles.apply(blur, picture, tile=TILE, overlap=OVERLAP) - blur(picture))
    return float(apart[reach:-reach, reach:-reach].max())


# The last one is covered without a pixel to spare: its tiles share exactly the overlap.
@pytest.mark.parametrize("size", [(TILE, TILE), (65, 131), (2 * TILE - OVERLAP, 3 * TILE - 2 * OVERLAP)])
def test_a_blur_that_reaches_a_quarter_of_the_overlap_does_not_see_the_tiles(size: tuple[int, int]) -> None:
    assert seam(size, OVERLAP // 4) < 1e-6


def test_and_one_that_reaches_further_does() -> None:
    assert seam((2 * TILE - OVERLAP, 3 * TILE - 2 * OVERLAP), OVERLAP) > 1e-3


@pytest.mark.parametrize("size", SIZES)
def test_blocks_of_eight_lie_in_every_tile_as_in_the_first(size: tuple[int, int]) -> None:
    """A function that sees a file's blocks gives the same picture through tiles as without them."""
    rows, columns = np.mgrid[:TILE, :TILE]
    by_place = lambda x: x + ((rows % 8) * 8 + columns % 8)[..., None].astype(np.float32)  # noqa: E731
    result = tiles.apply(by_place, np.zeros((*size, 1), np.float32), tile=TILE, overlap=OVERLAP)[..., 0]
    rows, columns = np.mgrid[: size[0], : size[1]]
    np.testing.assert_array_equal(result, (rows % 8) * 8 + columns % 8)
    for tile in tiles.grid(*size, 512, 128):
        assert tile.y % 16 == tile.x % 16 == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("lead", [(3, 6), (7, 0), (0, 1)])
def test_blocks_that_begin_before_the_picture_do_so_in_every_tile(
    size: tuple[int, int], lead: tuple[int, int]
) -> None:
    laid = {"tile": TILE, "overlap": OVERLAP, "lead": lead}
    picture = random(*size)
    same = tiles.blend(tiles.cuts(picture, **laid), *size, **laid)
    np.testing.assert_array_equal(same, picture)
    rows, columns = np.mgrid[:TILE, :TILE]
    places = ((rows % 8) * 8 + columns % 8)[..., None].astype(np.float32)
    found = tiles.blend((places for _ in tiles.grid(*size, **laid)), *size, **laid)[..., 0]
    rows, columns = np.mgrid[: size[0], : size[1]]
    np.testing.assert_array_equal(found, ((rows + lead[0]) % 8) * 8 + (columns + lead[1]) % 8)
    first = tiles.grid(*size, **laid)[0]
    assert (first.y, first.x) == (-lead[0], -lead[1])


def test_small_pictures_are_mirrored_without_repeating_their_edge() -> None:
    picture = np.arange(4, dtype=np.float32).reshape(1, 4, 1)
    seen = []
    tiles.apply(lambda x: seen.append(x) or x, picture, tile=10, overlap=2)
    np.testing.assert_array_equal(seen[0][:, :, 0], np.tile([0, 1, 2, 3, 2, 1, 0, 1, 2, 3], (10, 1)))


def test_strips_come_from_top_to_bottom_and_make_up_the_result() -> None:
    picture = random(300, 90)
    parts = list(tiles.strips(lambda x: x * 2, picture, tile=TILE, overlap=OVERLAP))
    ends = [y + len(rows) for y, rows in parts]
    assert [y for y, _ in parts] == [0, *ends[:-1]] and ends[-1] == 300
    assert max(len(rows) for _, rows in parts) <= TILE
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in parts]), picture * 2)


def test_a_function_may_change_its_tile_in_place() -> None:
    picture = random(100, 100)
    before = picture.copy()
    result = tiles.apply(lambda x: np.multiply(x, 0, out=x), picture, tile=TILE, overlap=OVERLAP)
    assert not result.any()
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize(
    ("picture", "tile", "overlap", "function"),
    [
        (np.zeros((8, 8)), 4, 2, lambda x: x),
        (np.zeros((0, 8, 3)), 4, 2, lambda x: x),
        (np.zeros((8, 8, 3)), 4, 3, lambda x: x),
        (np.zeros((8, 8, 3)), 0, 0, lambda x: x),
        (np.zeros((8, 8, 3)), 4, -1, lambda x: x),
        (np.zeros((8, 8, 3)), 4, 2, lambda x: x[1:]),
    ],
)
def test_wrong_use_is_refused(picture: np.ndarray, tile: int, overlap: int, function) -> None:
    with pytest.raises(UsageError):
        tiles.apply(function, picture, tile=tile, overlap=overlap)
