r"""A subject: something whose time is taken, and what is known about it."""

__all__ = ["Subject", "pattern"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relume.bench.roofline import Work
from relume.degrade.recipes import recipe

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """One row of a benchmark before it was measured.

    Parameters
    ----------
    name:
        How the row is called; no two are called the same.
    kind:
        ``model``, ``founding``, ``scheduler`` or ``classical``.
    size:
        Height and width of the picture.
    evaluate:
        One evaluation of the net on one tile; returns when its result is there. ``None``: there is no net.
    picture:
        A whole picture, H×W×3 in [0,1]; ``None`` where that would take too long, and is modelled from
        ``evaluations`` instead.
    work:
        What one evaluation has to do.
    same_as:
        Rows with the same word are compared with the first of them: they ought to give one picture.
    least_db:
        The PSNR from which two such pictures count as the same.
    alone:
        What :mod:`.alone` needs to do this row's work in a process of its own.
    """

    name: str
    kind: str
    size: tuple[int, int]
    evaluate: Callable[[], object] | None = None
    picture: Callable[[], Picture] | None = None
    engine: str | None = None
    version: str | None = None
    device: str | None = None
    precision: str | None = None
    steps: int | None = None
    evaluations: int | None = None
    work: Work | None = None
    same_as: str | None = None
    least_db: float | None = None
    alone: Mapping[str, Any] = field(default_factory=dict)


def pattern(height: int, width: int) -> Picture:
    """A picture with edges, gradients and the damage of an old photograph; the same one each time, H×W×3."""
    rows, columns = np.indices((height, width)) / max(height, width)
    waves = [np.sin(2 * np.pi * (3 * k + 2) * (rows * np.cos(k) + columns * np.sin(k))) for k in range(3)]
    clean = np.stack([0.5 + 0.2 * wave + 0.2 * (np.sign(wave) * columns) for wave in waves], axis=-1)
    drawn = np.clip(clean, 0, 1).astype(np.float32)
    damaged = recipe("old-photo")(drawn, np.random.default_rng(0)).picture
    return np.ascontiguousarray(damaged, np.float32)
