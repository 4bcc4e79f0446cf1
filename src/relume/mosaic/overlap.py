r"""Which tiles overlap, and where."""

__all__ = ["Overlap", "groups", "neighbours", "shared"]

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.float64]


class Overlap(NamedTuple):
    """What two tiles both show, as slices into each: rows and columns of one, rows and columns of the
    other."""

    here: tuple[slice, slice]
    there: tuple[slice, slice]

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the overlap; 0 where there is none."""
        rows, columns = self.here
        return max(0, rows.stop - rows.start), max(0, columns.stop - columns.start)


def shared(offset: tuple[int, int], size: tuple[int, int], *, grow: int = 0) -> Overlap:
    """Of two tiles (H,W), the second one ``offset`` (y, x) pixels from the first; grown on all sides."""
    here, there = [], []
    for d, side in zip(offset, size, strict=True):
        here.append(slice(max(0, d - grow), min(side, side + d + grow)))
        there.append(slice(max(0, -d - grow), min(side, side - d + grow)))
    return Overlap((here[0], here[1]), (there[0], there[1]))


def neighbours(places: Places, size: tuple[int, int], *, least: int, grow: int = 0) -> list[tuple[int, int]]:
    """Pairs i < j that share an edge: ``least`` pixels wide or more, and half a tile long.

    ``grow`` counts tiles as so many pixels larger, for places that are not known well. Pairs come by j.
    """
    found = []
    for j in range(len(places)):
        apart = np.abs(places[:j] - places[j])
        common = np.asarray(size) + grow - apart
        near = (common.min(1, initial=np.inf) >= least) & (common[:, :] >= np.asarray(size) / 2).any(1)
        found += [(int(i), j) for i in np.flatnonzero(near)]
    return found


def groups(places: Places, size: tuple[int, int]) -> int:
    """How many groups the tiles fall into that no edge in common joins, as :func:`neighbours` has it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.array(neighbours(places, size, least=4), np.intp).reshape(-1, 2)
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(places), len(places)))
    return int(connected_components(joined, directed=False)[0])
