r"""The common field from gradients: an edge of the sample lies in few tiles, a slope of the light in all."""

__all__ = ["gradients", "integrate"]

import numpy as np
import numpy.typing as npt

from .location import biweight, location
from .looks import Field, Level

_GRID = 128  # cells along a side, on which gradients are taken


def gradients(level: Level, count: int, shape: tuple[int, int]) -> Field:
    r"""The field whose gradients are the biweight means over the tiles of the gradients there.

    .. math:: \min_F \sum_r \lVert \nabla F(r) - \operatorname{loc}_i \nabla x_i(r) \rVert^2

    A sample that is flat between its edges falls out, however much of the tiles it covers; gains do so
    always. Gradients are those of means over cells of a 128th of a tile; what is finer is the location over
    the tiles (:mod:`.location`). Memory: 16,384 floats a tile.

    Source: Weiss, *Deriving intrinsic images from image sequences*, 2001.
    """
    step = max(1, min(shape) // _GRID)
    cells = np.stack([_means(level(i), step).astype(np.float32) for i in range(count)])
    slopes = [np.empty((cells.shape[1] - (a == 0), cells.shape[2] - (a == 1))) for a in (0, 1)]
    for axis in (0, 1):
        lines = np.moveaxis(np.diff(cells, axis=axis + 1), axis + 1, 1)
        out = np.moveaxis(slopes[axis], axis, 0)
        for k in range(lines.shape[1]):  # line by line: the whole stack of differences would be too large
            out[k] = biweight(lines[:, k].astype(np.float64), reach=3.0)
    slow = integrate(slopes[0], slopes[1])
    if step == 1:
        return slow
    fine = location(lambda i: _fine(level(i), step), count, shape)
    return fine + _enlarged(slow, shape, step)


def integrate(down: Field, right: Field) -> Field:
    """The field (H,W) of mean 0 whose differences are nearest to (H−1,W) and (H,W−1), by cosine transforms.

    >>> import numpy as np
    >>> f = np.arange(12.0).reshape(3, 4) ** 2
    >>> np.allclose(integrate(np.diff(f, axis=0), np.diff(f, axis=1)), f - f.mean())
    True
    """
    from scipy import fft

    h, w = right.shape[0], down.shape[1]
    source = np.zeros((h, w))
    source[:-1] -= down
    source[1:] += down
    source[:, :-1] -= right
    source[:, 1:] += right
    rows, columns = (2 - 2 * np.cos(np.pi * np.arange(side) / side) for side in (h, w))
    stiffness = rows[:, None] + columns
    stiffness[0, 0] = 1
    spectrum = fft.dctn(source, norm="ortho") / stiffness
    spectrum[0, 0] = 0
    return np.asarray(fft.idctn(spectrum, norm="ortho"))


def _means(x: npt.NDArray[np.floating], step: int) -> Field:
    """Means of cells; what does not fill one at the lower and right border belongs to the last."""
    rows, columns = (np.arange(side // step) * step for side in x.shape)
    total = np.add.reduceat(np.add.reduceat(np.asarray(x, np.float64), rows, 0), columns, 1)
    sizes = [np.diff(np.append(line, side)) for line, side in zip((rows, columns), x.shape, strict=True)]
    return np.asarray(total / np.outer(*sizes))


def _enlarged(cells: Field, shape: tuple[int, int], step: int) -> Field:
    """Cells to pixels, straight between their centres."""
    from scipy.ndimage import map_coordinates

    lines = [(np.arange(side) + 0.5) / step - 0.5 for side in shape]
    grid = np.meshgrid(*lines, indexing="ij")
    return np.asarray(map_coordinates(cells, grid, order=1, mode="nearest"))


def _fine(x: npt.NDArray[np.floating], step: int) -> Field:
    return np.asarray(x - _enlarged(_means(x, step), (x.shape[0], x.shape[1]), step))
