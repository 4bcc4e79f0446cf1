r"""The brightest part of every part of every tile: where nothing stands in the light ln T is 0, wherever it
is."""

__all__ = ["BLOCKS", "Tops", "tops"]

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .looks import Field, Looks

BLOCKS = 4
"""Along a side of a tile."""
_CELL = 64  # of a tile's side: what is averaged before it is compared, 8 pixels or more where a tile has them
_BRIGHT = 90  # percentile of the cells of a block
_DARK = 0.5  # of the median light: corners that are darker say nothing


class Tops(NamedTuple):
    """``values`` (M,): ln counts over the field of the brightest part of each block; ``tile`` (M,) whose it
    is; ``at``: y and x of its middle, from −1 to 1 in the tile."""

    values: Field
    tile: npt.NDArray[np.intp]
    at: tuple[Field, Field]


def tops(looks: Looks, field: Field) -> Tops:
    """The 90th percentile of the means over cells, in the 4×4 blocks of each tile; dark corners do not
    count."""
    side = min(looks.shape)
    step = max(1, side // _CELL, min(8, side // (2 * BLOCKS)))
    rows, columns = (length // step for length in looks.shape)
    bright = _cells(field, rows, columns, step) > np.log(_DARK)
    down, right = (np.arange(count) * BLOCKS // count for count in (rows, columns))
    block = (BLOCKS * down[:, None] + right)[bright]
    members = {number: found for number in range(BLOCKS**2) if len(found := np.flatnonzero(block == number))}
    values = []
    for i in range(len(looks)):
        cells = _cells(looks[i] - field, rows, columns, step)[bright]
        values += [float(np.percentile(cells[found], _BRIGHT)) for found in members.values()]
    y, x = (
        np.tile((2 * line + 1) / BLOCKS - 1, len(looks))
        for line in np.divmod(np.array(list(members)), BLOCKS)
    )
    return Tops(np.array(values), np.repeat(np.arange(len(looks)), len(members)), (y, x))


def _cells(x: npt.NDArray[np.floating], rows: int, columns: int, step: int) -> Field:
    whole = np.asarray(x[: rows * step, : columns * step], np.float64)
    return np.asarray(whole.reshape(rows, step, columns, step).mean((1, 3)))
