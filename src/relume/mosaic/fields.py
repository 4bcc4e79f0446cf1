r"""Estimators of the field that all tiles have in common, by name.

Each takes ``level(i)``, ln counts of a tile less its gain and slow modes; the number of tiles; (H,W); and
gives F (H,W), whose constant means nothing.
"""

__all__ = ["FIELDS", "Common"]

from collections.abc import Callable

from .gradients import gradients
from .implicit import implicit
from .location import location
from .looks import Field, Level

Common = Callable[[Level, int, tuple[int, int]], Field]

FIELDS: dict[str, Common] = {"gradients": gradients, "location": location, "hash-grid": implicit}
