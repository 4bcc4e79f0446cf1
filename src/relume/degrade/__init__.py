r"""Damage, drawn first and applied afterwards: y = A(x).

A :class:`Degradation` is one kind of damage; a :class:`Recipe` is a sequence of them. Those that are
:class:`Linear` also have an ``adjoint``.

>>> import numpy as np
>>> clean = np.full((64, 64, 3), 0.5, dtype=np.float32)
>>> damaged = recipe("old-photo")(clean, np.random.default_rng(7))
>>> damaged.picture.shape, damaged.mask.shape
((64, 64, 3), (64, 64))
"""

__all__ = ["DEGRADATIONS", "RECIPES", "Degradation", "Degraded", "Linear", "Recipe", "recipe"]

from relume.degrade.cracks import Cracks
from relume.degrade.degradation import Degradation, Degraded, Linear
from relume.degrade.dust import Dust
from relume.degrade.fading import Fading
from relume.degrade.flaking import Flaking
from relume.degrade.folds import Folds
from relume.degrade.jpeg import Jpeg
from relume.degrade.levels import Levels
from relume.degrade.noise import Noise, Speckle
from relume.degrade.recipes import RECIPES, Recipe, recipe
from relume.degrade.resample import Blur, LowContrast, Resample
from relume.degrade.scratches import Scratches
from relume.degrade.scuffs import Scuffs
from relume.degrade.shading import Shading
from relume.degrade.sharpen import Sharpen
from relume.degrade.stains import UnevenFading
from relume.degrade.tears import Tears

DEGRADATIONS: dict[str, type[Degradation]] = {
    kind.name: kind
    for kind in (
        Fading,
        Levels,
        Blur,
        LowContrast,
        Noise,
        Scratches,
        Cracks,
        Speckle,
        Resample,
        Sharpen,
        Jpeg,
        Dust,
        Folds,
        UnevenFading,
        Shading,
        Tears,
        Flaking,
        Scuffs,
    )
}
