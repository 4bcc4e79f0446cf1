r"""Shapes that samples are made of, each a thickness at any place of a canvas that is never stored.

A :data:`Field` takes the rows y and the columns x that are wanted, in pixels of the canvas and ascending, and
gives the thickness (len(y), len(x)). A tile of a mosaic asks for its window, an overview for every tenth
pixel; both see the same sample.
"""

__all__ = ["Field", "Places", "Shape", "discs", "fractal", "polygon", "strokes", "total"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Shape = npt.NDArray[np.float32]
Field = Callable[[Shape, Shape], Shape]
Paint = Callable[[Shape, Shape], Shape]
_TABLE = 256


@dataclass(frozen=True)
class Places:
    """Shapes with a place: centres (N,2) and reach (N,) in pixels, and what each paints around its centre."""

    centres: npt.NDArray[np.float64]
    reach: npt.NDArray[np.float64]
    paints: Sequence[Paint]

    def __call__(self, y: Shape, x: Shape) -> Shape:
        """The sum of all of them; those that do not reach the window cost a comparison."""
        out = np.zeros((len(y), len(x)), np.float32)
        if not len(self.centres):
            return out
        low, high = self.centres - self.reach[:, None], self.centres + self.reach[:, None]
        near = (high >= (y[0], x[0])).all(1) & (low <= (y[-1], x[-1])).all(1)
        for i in np.flatnonzero(near).tolist():
            rows = slice(*np.searchsorted(y, (low[i, 0], high[i, 0])))
            columns = slice(*np.searchsorted(x, (low[i, 1], high[i, 1])))
            v = (y[rows, None] - self.centres[i, 0]).astype(np.float32)
            u = (x[None, columns] - self.centres[i, 1]).astype(np.float32)
            out[rows, columns] += self.paints[i](v, u)
        return out


def discs(
    centres: npt.NDArray[np.float64],
    radii: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    *,
    hollow: float = 0.0,
) -> Places:
    """Spheres seen from above: the chord 2√(r²−d²) in units of the diameter, times a weight.

    With ``hollow`` in (0,1) each is a shell whose inner radius is that share of the outer one.
    """

    def ball(r: float, weight: float) -> Paint:
        def paint(v: Shape, u: Shape) -> Shape:
            d2 = v * v + u * u
            chord = np.sqrt(np.maximum(r * r - d2, 0)) - np.sqrt(np.maximum((hollow * r) ** 2 - d2, 0))
            return np.asarray(weight / r * chord, np.float32)

        return paint

    return Places(centres, radii, [ball(float(r), float(w)) for r, w in zip(radii, weights, strict=True)])


def polygon(centre: npt.NDArray[np.float64], radius: float, corners: int, rng: np.random.Generator) -> Places:
    """One convex plate of even thickness 1, its edge half a pixel soft."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    distances = radius * rng.uniform(0.6, 1.0, corners)

    def paint(v: Shape, u: Shape) -> Shape:
        inside = np.full(np.broadcast_shapes(v.shape, u.shape), np.float32(radius))
        for angle, distance in zip(angles, distances, strict=True):
            inside = np.minimum(
                inside, distance - np.float32(np.cos(angle)) * u - np.float32(np.sin(angle)) * v
            )
        inside = np.minimum(inside, radius - np.sqrt(v * v + u * u))  # half planes alone may stay open
        return np.asarray(np.clip(inside + 0.5, 0, 1), np.float32)

    return Places(centre[None], np.array([radius + 1]), [paint])


def strokes(points: npt.NDArray[np.float64], widths: npt.NDArray[np.float64], weight: float) -> Places:
    """A path of round strokes between consecutive points (N,2), each with its half-width."""

    def capsule(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], width: float) -> Paint:
        half = ((b - a) / 2).astype(np.float32)
        length2 = float(half @ half) + 1e-6

        def paint(v: Shape, u: Shape) -> Shape:
            t = np.clip((v * half[0] + u * half[1]) / length2, -1, 1)
            d2 = (v - t * half[0]) ** 2 + (u - t * half[1]) ** 2
            return np.asarray(weight * np.sqrt(np.maximum(1 - d2 / width**2, 0)), np.float32)

        return paint

    starts, ends = points[:-1], points[1:]
    reach = np.linalg.norm(ends - starts, axis=1) / 2 + widths
    paints = [capsule(a, b, float(w)) for a, b, w in zip(starts, ends, widths, strict=True)]
    return Places((starts + ends) / 2, reach, paints)


def fractal(alpha: float, largest: float, smallest: float, rng: np.random.Generator) -> Field:
    r"""A random field of mean 0 and variance 1 with power :math:`f^{-\alpha}` between two sizes in pixels.

    A sum of octaves of lattice noise, interpolated by cubic B-splines; every octave has the variance
    :math:`s^{\alpha-2}` that the power law gives it at its spacing s. A lattice repeats after 256 steps.

    Source: Perlin, *An image synthesizer*, 1985; Mandelbrot, *The fractal geometry of nature*, 1982.
    """
    spacings = largest / 2.0 ** np.arange(max(1, int(np.floor(np.log2(largest / smallest))) + 1))
    variance = spacings ** (alpha - 2)
    # A cubic B-spline of white noise has 151/315 of its variance, along each of the two axes.
    weights = np.sqrt(variance / variance.sum()) / (151 / 315)
    tables = rng.standard_normal((len(spacings), _TABLE, _TABLE), np.float32)
    offsets = rng.uniform(0, _TABLE, (len(spacings), 2))

    def field(y: Shape, x: Shape) -> Shape:
        out = np.zeros((len(y), len(x)), np.float32)
        for table, spacing, weight, offset in zip(tables, spacings, weights, offsets, strict=True):
            rows, wy = _spline(y / spacing + offset[0])
            columns, wx = _spline(x / spacing + offset[1])
            out += wy @ (np.float32(weight) * table[np.ix_(rows, columns)]) @ wx.T
        return out

    return field


def _spline(places: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.intp], Shape]:
    """The lattice points that ascending places touch, modulo the table, and their weights."""
    whole = np.floor(places).astype(np.intp)
    t = places - whole
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    points = np.unique((whole[:, None] + np.arange(4)).ravel())
    weights = np.zeros((len(places), len(points)), np.float32)
    for k, part in enumerate(parts):
        weights[np.arange(len(places)), np.searchsorted(points, whole + k)] = part / 6
    return points % _TABLE, weights


def total(*fields: Field) -> Field:
    """The sum of several."""

    def field(y: Shape, x: Shape) -> Shape:
        return np.asarray(np.sum([one(y, x) for one in fields], axis=0), np.float32)

    return field
