r"""Samples by kind. Each function draws one on a canvas (H, W) in pixels; ``unit`` is half a tile."""

__all__ = [
    "battery",
    "cells",
    "empty",
    "foam",
    "full_field",
    "particles",
    "porous",
    "sparse",
    "star",
    "tissue",
]

import numpy as np
import numpy.typing as npt

from .shapes import Field, Shape, discs, fractal, polygon, strokes, total

Canvas = tuple[float, float]
Random = np.random.Generator


def _many(low: int, high: int, canvas: Canvas, unit: float, rng: Random) -> int:
    """As many as a tile of this canvas's size would hold: ``low`` to ``high`` a tile."""
    tiles = max(1.0, canvas[0] * canvas[1] / (2 * unit) ** 2)
    return round(int(rng.integers(low, high + 1)) * tiles)


def _somewhere(count: int, canvas: Canvas, rng: Random) -> npt.NDArray[np.float64]:
    return rng.uniform(0, 1, (count, 2)) * canvas


def _balls(
    count: int, low: float, high: float, canvas: Canvas, unit: float, rng: Random, *, hollow: float = 0
) -> Field:
    radii = rng.uniform(low, high, count) * unit
    return discs(_somewhere(count, canvas, rng), radii, radii / unit, hollow=hollow)


def cells(canvas: Canvas, unit: float, rng: Random) -> Field:
    """Two to five rough spheres a tile, with organelles in and around them."""
    bodies = _balls(_many(2, 5, canvas, unit, rng), 0.25, 0.6, canvas, unit, rng)
    organelles = _balls(_many(20, 20, canvas, unit, rng), 0.02, 0.08, canvas, unit, rng)
    rough = fractal(2.5, unit / 2, 2, rng)

    def field(y: Shape, x: Shape) -> Shape:
        body = bodies(y, x)
        if not body.any():
            return organelles(y, x)
        return np.asarray(body * np.clip(1 + 0.35 * rough(y, x), 0, None) + organelles(y, x), np.float32)

    return field


def tissue(canvas: Canvas, unit: float, rng: Random) -> Field:
    """Fossil or tissue: a thresholded rough field, lamellae and fine grain."""
    coarse, grain = fractal(3.0, unit, 2, rng), fractal(2.2, unit / 16, 2, rng)
    threshold, angle = rng.normal(0, 0.4), rng.uniform(0, np.pi)
    period, depth = rng.uniform(0.04, 0.15) * unit, rng.uniform(0.1, 0.4)

    def field(y: Shape, x: Shape) -> Shape:
        level = coarse(y, x)
        body = np.clip((level - threshold) * 3, 0, 1)
        along = np.cos(angle) * y[:, None] + np.sin(angle) * x[None, :]
        lamellae = 1 + depth * np.sin(2 * np.pi * along / period + 3 * level)
        return np.asarray(body * np.clip(lamellae + 0.15 * grain(y, x), 0.05, None), np.float32)

    return field


def foam(canvas: Canvas, unit: float, rng: Random) -> Field:
    """Overlapping shells and spheres."""
    count = _many(15, 50, canvas, unit, rng)
    shells = round(count * rng.uniform(0.3, 0.9))
    return total(
        _balls(shells, 0.05, 0.35, canvas, unit, rng, hollow=rng.uniform(0.75, 0.95)),
        _balls(count - shells, 0.05, 0.35, canvas, unit, rng),
    )


def battery(canvas: Canvas, unit: float, rng: Random) -> Field:
    """Electrode: flat plates with sharp edges, dendrites, and binder between them."""
    plates = [
        polygon(centre, unit * rng.uniform(0.3, 0.8), int(rng.integers(4, 8)), rng)
        for centre in _somewhere(_many(1, 3, canvas, unit, rng), canvas, rng)
    ]
    trees = [_dendrite(start, unit, rng) for start in _somewhere(_many(1, 4, canvas, unit, rng), canvas, rng)]
    binder = fractal(2.5, unit / 4, 2, rng)

    def soft(y: Shape, x: Shape) -> Shape:
        return np.asarray(np.clip(0.25 * (binder(y, x) - 0.3), 0, None), np.float32)

    return total(*plates, *trees, soft)


def _dendrite(start: npt.NDArray[np.float64], unit: float, rng: Random) -> Field:
    steps = int(rng.integers(15, 50))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.5, steps))
    lengths = rng.uniform(0.02, 0.06, steps)[:, None] * unit
    path = start + np.cumsum(lengths * np.stack([np.sin(heading), np.cos(heading)], 1), axis=0)
    return strokes(path, np.linspace(0.03, 0.008, steps - 1) * unit + 0.5, rng.uniform(0.3, 1.0))


def star(canvas: Canvas, unit: float, rng: Random) -> Field:
    """Siemens star of 16 to 40 spokes with a ring at every quarter, in the middle of every tile or so."""
    spokes, phase = int(rng.integers(16, 41)), rng.uniform(0, 2 * np.pi)
    pitch = 2.2 * unit
    middle = np.asarray(canvas) / 2 + rng.normal(0, 0.1, 2) * unit

    def field(y: Shape, x: Shape) -> Shape:
        v = (y[:, None] - middle[0] + pitch / 2) % pitch - pitch / 2
        u = (x[None, :] - middle[1] + pitch / 2) % pitch - pitch / 2
        radius = np.hypot(v, u) / unit
        # the edge of a spoke is a pixel wide wherever it is: the sine is divided by its slope there
        slope = spokes / np.maximum(2 * radius * unit, 1e-3)
        bars = np.clip(0.5 + np.sin(spokes * np.arctan2(v, u) + phase) / np.maximum(2 * slope, 1e-3), 0, 1)
        rings = np.clip(0.5 + (0.02 - np.abs((radius + 0.125) % 0.25 - 0.125)) * unit, 0, 1)
        return np.asarray(np.maximum(bars, rings) * (radius < 1) * (radius > 0.03), np.float32)

    return field


def porous(canvas: Canvas, unit: float, rng: Random) -> Field:
    """The solid part of a porous medium: where a rough field lies above a level, 30 to 70 % of the plane."""
    rough, thick = fractal(2.6, unit / 2, 3, rng), fractal(2.6, unit, 8, rng)
    level = rng.uniform(-0.52, 0.52)

    def field(y: Shape, x: Shape) -> Shape:
        solid = np.clip(0.5 + (rough(y, x) - level) * 8, 0, 1)
        return np.asarray(solid * np.clip(1 + 0.2 * thick(y, x), 0.2, None), np.float32)

    return field


def particles(canvas: Canvas, unit: float, rng: Random) -> Field:
    """Sixty to three hundred small spheres a tile, in clusters."""
    count = _many(60, 300, canvas, unit, rng)
    clusters = _somewhere(max(2, count // 15), canvas, rng)
    places = clusters[rng.integers(0, len(clusters), count)] + rng.normal(0, 0.12 * unit, (count, 2))
    radii = rng.uniform(0.01, 0.06, count) * unit
    return discs(places, radii, radii / unit)


def sparse(canvas: Canvas, unit: float, rng: Random) -> Field:
    """A wire, and up to three objects a tile."""
    side = max(canvas)
    heading, middle = rng.uniform(0, np.pi), _somewhere(1, canvas, rng)[0]
    along = np.linspace(-side, side, 40)[:, None] * np.array([np.sin(heading), np.cos(heading)])
    bend = rng.normal(0, 0.05) * np.linspace(-1, 1, 40)[:, None] ** 2 * side
    wire = strokes(middle + along + bend, np.full(39, rng.uniform(0.01, 0.05) * unit + 0.5), 0.5)
    return total(wire, _balls(_many(0, 3, canvas, unit, rng), 0.05, 0.3, canvas, unit, rng))


def empty(canvas: Canvas, unit: float, rng: Random) -> Field:
    """Nothing."""

    def field(y: Shape, x: Shape) -> Shape:
        return np.zeros((len(y), len(x)), np.float32)

    return field


def full_field(canvas: Canvas, unit: float, rng: Random) -> Field:
    """An object wider than the tile: nowhere is there nothing."""
    rough, floor = fractal(rng.uniform(2.4, 3.2), 2 * unit, 2, rng), rng.uniform(0.3, 0.7)

    def field(y: Shape, x: Shape) -> Shape:
        return np.asarray(floor + (1 - floor) / (1 + np.exp(-1.5 * rough(y, x))), np.float32)

    return field
