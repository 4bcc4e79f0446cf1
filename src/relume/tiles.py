r"""A picture in tiles of one fixed size, and back without seams.

The picture is cut into overlapping squares that lie about evenly spread. Each begins at a multiple of 16
pixels (or of what of that divides the tile and its overlap): the blocks of a JPEG then lie in every tile as
they lie in the first, and a net sees them alike. The last ones therefore reach beyond the picture's border,
by less than that. Between neighbours only the middle half of ``overlap`` is crossfaded; the outer quarters
are context that a network needs and nobody sees:

.. code-block:: text

    tile a  ───────────────────┐ weight 1 ╲ fades ╲ 0
    tile b            0 ╱ fades ╱ weight 1 ┌───────────────────
                      ┆ ¼ ┆   ½   ┆ ¼ ┆          of the overlap

The weights are raised cosines that sum to one. A function whose value at a pixel depends on its surroundings
up to ``overlap // 4`` pixels away therefore gives the same picture through the tiles as without them.
"""

__all__ = ["Lead", "Tile", "grid", "seams", "apply", "blend", "cuts", "strips"]

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt

from relume.errors import UsageError

Array = npt.NDArray[np.float32]

Lead = tuple[int, int]
"""(rows, columns) by which the first tile begins before the picture; what it lacks there is mirrored."""

_LATTICE = 16  # pixels: a block of a JPEG with halved colour, two without


@dataclass(frozen=True)
class Tile:
    """One square of the grid: it covers rows ``y … y+size`` and columns ``x … x+size`` of the picture."""

    y: int
    x: int
    size: int


@dataclass(frozen=True)
class _Span:
    """One tile along one axis: before ``fade`` its predecessor rules, after ``fade + len(ramp)`` it does."""

    start: int
    fade: int
    ramp: Array


def grid(height: int, width: int, tile: int, overlap: int, lead: Lead = (0, 0)) -> list[Tile]:
    r"""Lists the tiles that cover a picture, row by row.

    Neighbours share at least ``overlap`` pixels. Where the picture is smaller than a tile, that one tile
    reaches beyond it. With ``lead`` the first tile begins so many rows and columns before the picture.

    Raises:
        UsageError: a size is not positive, or ``overlap`` is above half a tile.

    >>> grid(100, 40, 64, 16)
    [Tile(y=0, x=0, size=64), Tile(y=48, x=0, size=64)]
    """
    rows, columns = _axis(height, tile, overlap, lead[0]), _axis(width, tile, overlap, lead[1])
    return [Tile(row.start, column.start, tile) for row in rows for column in columns]


def seams(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Lists the bands ``(from, below)`` of an axis in which tiles are crossfaded: seams would show there.

    Raises:
        UsageError: a size is not positive, or ``overlap`` is above half a tile.

    >>> seams(100, 64, 16)
    [(52, 60)]
    """
    return [(span.fade, span.fade + len(span.ramp)) for span in _axis(length, tile, overlap)[1:]]


def apply(
    function: Callable[[Array], npt.ArrayLike],
    picture: npt.NDArray[np.floating],
    *,
    tile: int = 512,
    overlap: int = 64,
    lead: Lead = (0, 0),
    progress: Callable[[int, int], None] | None = None,
) -> Array:
    r"""Applies a function to a picture of any size, tile by tile.

    Besides the picture and the result, no more than two rows of tiles are in memory.

    Arguments:
        function: :math:`(tile, tile, C) \to (tile, tile, C')`, always called with exactly that size; what the
            picture lacks is mirrored.
        picture: :math:`(H, W, C)`.
        overlap: pixels that neighbours share, at most half a tile; a quarter of it is pure context.
        lead: as in :func:`grid`.
        progress: called with (tiles done, tiles in all) after each tile.

    Returns:
        :math:`(H, W, C')`, float32. The identity comes back unchanged to the last bit.

    Raises:
        UsageError: the picture is not HWC or empty, the overlap is too large, or the function gives back
            another size.

    >>> picture = np.random.default_rng(0).random((70, 90, 3), dtype=np.float32)
    >>> bool((apply(lambda x: x, picture, tile=32, overlap=8) == picture).all())
    True
    """
    done = map(function, cuts(picture, tile=tile, overlap=overlap, lead=lead))
    height, width = picture.shape[:2]
    return blend(done, height, width, tile=tile, overlap=overlap, lead=lead, progress=progress)


def cuts(
    picture: npt.NDArray[np.floating], *, tile: int, overlap: int, lead: Lead = (0, 0)
) -> Iterator[Array]:
    r"""Cuts a picture :math:`(H, W, C)` into its tiles :math:`(tile, tile, C)`, in the order of :func:`grid`.

    Each is cut when it is asked for; what the picture lacks is mirrored. For callers that have several tiles
    under way at once: what became of them goes to :func:`blend`.

    Raises:
        UsageError: the picture is not HWC or empty, or the overlap is too large.
    """
    if picture.ndim != 3 or 0 in picture.shape:
        raise UsageError(f"tiles need a picture of shape (H, W, C), not {picture.shape}")
    height, width = picture.shape[:2]
    places = grid(height, width, tile, overlap, lead)
    return (_cut(picture, place.y, place.x, tile) for place in places)


def blend(
    done: Iterable[npt.ArrayLike],
    height: int,
    width: int,
    *,
    tile: int,
    overlap: int,
    lead: Lead = (0, 0),
    progress: Callable[[int, int], None] | None = None,
) -> Array:
    r"""Blends tiles :math:`(tile, tile, C')`, which come in the order of :func:`grid`, into a picture.

    Returns:
        :math:`(H, W, C')`, float32.

    Raises:
        UsageError: a tile has another size, or the overlap is too large.
    """
    result: Array | None = None
    spans, columns = _axis(height, tile, overlap, lead[0]), _axis(width, tile, overlap, lead[1])
    for y, rows in _rows(iter(done), height, width, tile, spans, columns, progress):
        if result is None:
            result = np.empty((height, width, rows.shape[2]), np.float32)
        result[y : y + len(rows)] = rows
    assert result is not None  # a picture has at least one row
    return result


def strips(
    function: Callable[[Array], npt.ArrayLike],
    picture: npt.NDArray[np.floating],
    *,
    tile: int = 512,
    overlap: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, Array]]:
    r"""Does the work of :func:`apply`, handing out finished rows from top to bottom.

    For callers that keep less than the whole float32 result. Arguments and errors are those of :func:`apply`.

    Yields:
        ``(y, rows)``: the finished rows from ``y`` on, :math:`(h, W, C')`. Together they are the result.
    """
    done = map(function, cuts(picture, tile=tile, overlap=overlap))
    height, width = picture.shape[:2]
    spans, columns = _axis(height, tile, overlap), _axis(width, tile, overlap)
    return _rows(done, height, width, tile, spans, columns, progress)


def _rows(
    tiles: Iterator[npt.ArrayLike],
    height: int,
    width: int,
    tile: int,
    spans: list[_Span],
    columns: list[_Span],
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[int, Array]]:
    total, done = len(spans) * len(columns), 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    waiting: Array | None = None  # rows of the strip above, from its first unfinished row on
    for index, span in enumerate(spans):
        strip = _strip(tiles, width, tile, columns, advance)
        rows = strip[span.fade - span.start : height - span.start]
        if waiting is not None:
            _crossfade(waiting, rows, span.ramp, axis=0)
        # What the next strip has no part in is finished; the rest waits for it.
        end = spans[index + 1].fade if index + 1 < len(spans) else height
        yield span.fade, rows[: end - span.fade]
        waiting = rows[end - span.fade :]


def _strip(
    tiles: Iterator[npt.ArrayLike],
    width: int,
    tile: int,
    columns: list[_Span],
    advance: Callable[[], None],
) -> Array:
    """Takes one row of tiles and blends them from left to right: (tile, W, C')."""
    strip: Array | None = None
    for column in columns:
        done = np.asarray(next(tiles, ()), np.float32)
        if done.ndim != 3 or done.shape[:2] != (tile, tile):
            raise UsageError(f"a tile of {tile}×{tile} came back with shape {done.shape}")
        if strip is None:
            strip = np.empty((tile, width, done.shape[2]), np.float32)
        part = done[:, column.fade - column.start : width - column.start].copy()
        _crossfade(strip[:, column.fade :], part, column.ramp, axis=1)
        strip[:, column.fade : column.fade + part.shape[1]] = part
        advance()
    assert strip is not None  # an axis has at least one tile
    return strip


def _crossfade(old: Array, new: Array, ramp: Array, *, axis: int) -> None:
    """Fades from ``old`` to ``new`` along ``axis``, inside ``new``.

    Written as a + w (b − a), which is exactly a where a = b.
    """
    count = len(ramp)
    where = (slice(None),) * axis + (slice(0, count),)
    weight = ramp.reshape((count,) + (1,) * (2 - axis))
    new[where] = old[where] + weight * (new[where] - old[where])


def _cut(picture: npt.NDArray[np.floating], y: int, x: int, tile: int) -> Array:
    height, width = picture.shape[:2]
    if min(y, x) >= 0 and y + tile <= height and x + tile <= width:
        return np.array(picture[y : y + tile, x : x + tile], np.float32)
    rows, columns = _mirror(y, tile, height), _mirror(x, tile, width)
    return picture[rows[:, None], columns].astype(np.float32)


def _mirror(start: int, count: int, length: int) -> npt.NDArray[np.intp]:
    """Indices start … start+count, thrown back at the ends of an axis without repeating the end pixels."""
    period = max(2 * (length - 1), 1)
    index = np.arange(start, start + count) % period
    return np.minimum(index, (period - index) % period) if length > 1 else np.zeros(count, np.intp)


def _axis(length: int, tile: int, overlap: int, lead: int = 0) -> list[_Span]:
    """Lays tiles along one axis, about evenly, with the crossfade in the middle of what neighbours share.

    With overlap ≤ tile / 2 two crossfades never meet, so at most two tiles have a say in one pixel.
    """
    if length < 1 or tile < 1 or not 0 <= overlap <= tile // 2:
        raise UsageError(
            f"tiles of {tile} pixels that overlap by {overlap}: use an overlap of 0 to {tile // 2}"
        )
    step = gcd(_LATTICE, tile, overlap)
    rest = max(0, -(-(lead + length - tile) // step))  # steps from the first tile to the last
    count = 1 + -(-rest * step // (tile - overlap))
    fade = overlap // 2
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / max(fade, 1))).astype(np.float32)
    spans = [_Span(-lead, 0, ramp[:0])]
    for index in range(1, count):
        start = (index * rest + (count - 1) // 2) // (count - 1) * step - lead
        shared = spans[-1].start + tile - start
        spans.append(_Span(start, start + (shared - fade) // 2, ramp))
    return spans
