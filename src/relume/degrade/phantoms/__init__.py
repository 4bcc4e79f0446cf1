r"""Samples for a simulated X-ray microscope: projected absorption A and phase φ at any place of a canvas.

A :class:`Kind` is a sort of sample with its ranges; :func:`phantom` draws one. To add one, write its function
in ``kinds.py`` and list it in :data:`KINDS`.
"""

__all__ = ["KINDS", "HELD_OUT", "Kind", "Phantom", "phantom", "draw_kind", "wedge"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from relume.errors import UsageError

from . import kinds
from .shapes import Field, Shape


class Kind(NamedTuple):
    """A sort of sample: how it is drawn, and the ranges of its largest optical depth and phase (radians)."""

    make: Callable[[tuple[float, float], float, np.random.Generator], Field]
    absorption: tuple[float, float]
    phase: tuple[float, float]


KINDS: dict[str, Kind] = {
    "cells": Kind(kinds.cells, (0.03, 0.25), (0.4, 1.2)),
    "tissue": Kind(kinds.tissue, (0.3, 1.2), (0.2, 0.8)),
    "foam": Kind(kinds.foam, (0.2, 0.9), (0.3, 1.2)),
    "battery": Kind(kinds.battery, (0.4, 1.6), (0.2, 1.0)),
    "star": Kind(kinds.star, (0.1, 0.8), (0.2, 0.9)),
    "porous": Kind(kinds.porous, (0.3, 1.3), (0.2, 0.9)),
    "particles": Kind(kinds.particles, (0.1, 1.2), (0.2, 0.9)),
    "sparse": Kind(kinds.sparse, (0.1, 0.6), (0.2, 0.8)),
    "empty": Kind(kinds.empty, (0.0, 0.0), (0.0, 0.0)),
    "full-field": Kind(kinds.full_field, (0.2, 1.0), (0.3, 1.0)),
}
HELD_OUT = ("tissue", "foam")
"""Kinds that training leaves out, so that a test on them is one on samples of a kind never seen."""

_SHARES = {"empty": 0.10, "full-field": 0.15}


@dataclass(frozen=True)
class Phantom:
    """One sample. The 99th percentile of its thickness over the canvas is 1.

    ``absorption`` and ``phase`` are the optical depth A and the phase −φ of that thickness.
    """

    kind: str
    absorption: float
    phase: float
    field: Field
    scale: float

    def thickness(self, y: Shape, x: Shape) -> Shape:
        """At ascending rows y and columns x, in pixels of the canvas: (len(y), len(x)) float32."""
        return self.field(y, x) * np.float32(self.scale)


def phantom(kind: str, canvas: tuple[float, float], unit: float, rng: np.random.Generator) -> Phantom:
    """Draws a sample of a kind on a canvas of (H, W) pixels; ``unit`` is half a tile, in pixels.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in KINDS:
        raise UsageError(f'no sample "{kind}"; there are {", ".join(KINDS)}')
    make, absorption, phase = KINDS[kind]
    strength, turn = rng.uniform(*absorption), rng.uniform(*phase)
    field = make(canvas, unit, rng)
    overview = field(*(np.linspace(0, side, 256, dtype=np.float32) for side in canvas))
    top = float(np.percentile(overview, 99))
    # of a sample that covers less than a hundredth of the canvas, the thickest place counts
    top = top if top > 1e-3 else float(overview.max())
    return Phantom(kind, strength, turn, field, 1 / top if top > 1e-3 else 1.0)


def draw_kind(rng: np.random.Generator, among: Sequence[str] = tuple(KINDS)) -> str:
    """A kind: empty in 10 % and full-field in 15 % of all cases where they are among those allowed."""
    fixed = {kind: share for kind, share in _SHARES.items() if kind in among}
    others = [kind for kind in among if kind not in fixed]
    rest = (1 - sum(fixed.values())) / max(len(others), 1)
    weights = np.array([fixed.get(kind, rest) for kind in among])
    return str(rng.choice(list(among), p=weights / weights.sum()))


def wedge(canvas: tuple[float, float], steps: Sequence[float] = (0.0, 0.05, 0.2, 0.5, 1.0, 1.5)) -> Phantom:
    """Bands of known optical depth from left to right, for a scale: absorption is 1, thickness the depth."""

    def field(y: Shape, x: Shape) -> Shape:
        band = np.clip((x / canvas[1] * len(steps)).astype(int), 0, len(steps) - 1)
        return np.tile(np.asarray(steps, np.float32)[band], (len(y), 1))

    return Phantom("wedge", 1.0, 0.0, field, 1.0)
