r"""Tiles → one picture, without a shot of the empty field.

.. math:: \ln I_i(r) = c_i + F(r) + d_i\cdot P(r) + S(r + p_i) + \varepsilon

==================  ==================================================================================
``looks.py``        tiles as ln counts, a few of them kept
``overlap.py``      which tiles overlap, and where
``registration.py`` how far neighbours lie apart; ``places.py``: where they all lie, robustly
``fields.py``       F: what all tiles have in common, by one of :data:`FIELDS`
``repeats.py``      what an estimate of F leaves in every tile
``tops.py``         what is brightest in every part of every tile: empty, where they agree
``balance.py``      c and d of all tiles in one sparse solve, and what of the gauge stays open
``solve.py``        the above in turn
``fuse.py``         one picture, band by band, with its standard deviation
``work.py``         parts that are done, so that a killed run goes on
==================  ==================================================================================

To add an estimator of the common field, write its file and list it in :data:`FIELDS`.
"""

__all__ = ["FIELDS", "Common", "Mosaic", "Prior", "Settings", "Solution", "mosaic", "solve"]

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .balance import Prior
from .fields import FIELDS, Common
from .fuse import bands, canvas
from .looks import Counts, Looks
from .overlap import Places
from .solve import Settings, Solution, solve


class Mosaic(NamedTuple):
    """T and its standard deviation (H,W), nan where no tile is; where the upper left pixel lies; what was
    found."""

    transmission: npt.NDArray[np.float32]
    sigma: npt.NDArray[np.float32]
    origin: tuple[int, int]
    solution: Solution


def mosaic(
    tiles: Counts,
    nominal: Places,
    *,
    dark: npt.NDArray[np.floating] | float = 0.0,
    settings: Settings | None = None,
    estimator: Common | None = None,
) -> Mosaic:
    """A whole mosaic in memory: arrays in, arrays out.

    Args:
        tiles: counts (H,W) of one size, in the order in which they were taken.
        nominal: (N,2) upper left corners (y, x) as the stage has them, in pixels.
        dark: what the detector gives without light.
        settings: see :class:`Settings`.
        estimator: of the common field, in place of the one that ``settings`` names.

    Raises:
        UsageError: places and tiles do not match, or a tile is dark.
        MissingExtra: SciPy is not installed.
    """
    settings = settings or Settings()
    looks = Looks(tiles, dark, artefacts=settings.artefacts)
    found = solve(looks, np.asarray(nominal, np.float64), settings=settings, estimator=estimator)
    on = canvas(found.places, looks.shape)
    made = list(bands(looks, found, on))
    return Mosaic(
        np.concatenate([band.transmission for band in made]),
        np.concatenate([band.sigma for band in made]),
        on.origin,
        found,
    )
