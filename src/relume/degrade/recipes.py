r"""Recipes: damages in sequence, each with a chance, some in random order."""

__all__ = ["Recipe", "Stage", "Plan", "RECIPES", "recipe"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relume.degrade.cracks import Cracks
from relume.degrade.degradation import (
    Degradation,
    Degraded,
    Draw,
    from_batch,
    mask_of,
    stack_draws,
    to_batch,
)
from relume.degrade.dust import Dust
from relume.degrade.fading import Fading
from relume.degrade.flaking import Flaking
from relume.degrade.folds import Folds
from relume.degrade.jpeg import Jpeg
from relume.degrade.noise import Noise, Speckle
from relume.degrade.resample import Blur, LowContrast, Resample
from relume.degrade.scratches import Scratches
from relume.degrade.scuffs import Scuffs
from relume.degrade.stains import UnevenFading
from relume.degrade.tears import Tears
from relume.errors import UsageError

Plan = list[tuple[Degradation, Draw]]


@dataclass(frozen=True)
class Stage:
    """Damages of which each happens with its probability; ``shuffled`` draws their order too."""

    choices: Sequence[tuple[type[Degradation], float]]
    shuffled: bool = False
    structured: bool = False


@dataclass(frozen=True)
class Recipe:
    """A sequence of stages.

    Parameters
    ----------
    clean:
        Share of pictures that are left as they are: a restorer has to learn to leave well alone.
    whole:
        Share of pictures without structured damage (no scratch, crack, ...).
    """

    name: str
    stages: tuple[Stage, ...]
    clean: float = 0.0
    whole: float = 0.0

    def sample(
        self,
        shape: tuple[int, int, int],
        rng: np.random.Generator,
        *,
        severity: float = 1.0,
        unit: float | None = None,
    ) -> Plan:
        """Draw the damages for one picture of ``shape`` (C, H, W), in the order in which they happen."""
        if rng.random() < self.clean:
            return []
        whole = rng.random() < self.whole
        plan: Plan = []
        for stage in self.stages:
            if stage.structured and whole:
                continue
            order = rng.permutation(len(stage.choices)) if stage.shuffled else range(len(stage.choices))
            for i in order:
                kind, chance = stage.choices[int(i)]
                if rng.random() < chance:
                    damage = kind(severity, unit=unit)
                    plan.append((damage, damage.sample(shape, rng)))
        return plan

    def __call__(
        self,
        picture: NDArray[Any],
        rng: np.random.Generator,
        *,
        severity: float = 1.0,
        unit: float | None = None,
    ) -> Degraded:
        """Damage one H×W×C picture of floats in [0,1], C = 1 or 3.

        Raises
        ------
        UsageError
            If the picture has another shape or holds integers, or ``severity`` lies outside of [0, 3].
        """
        batch = to_batch(picture)
        plan = self.sample(batch.shape[1:], rng, severity=severity, unit=unit)
        for damage, draw in plan:
            batch = damage.apply(batch, stack_draws([draw]))
        return Degraded(from_batch(batch), plan_mask(plan, batch.shape[2:]))


def plan_mask(plan: Plan, size: tuple[int, ...]) -> NDArray[np.float32]:
    """The union of the masks of a plan's structured damages, H×W."""
    mask = np.zeros(size, dtype=np.float32)
    for damage, draw in plan:
        if damage.structured and not isinstance(damage, UnevenFading):  # a veil has no place to repair
            mask = np.maximum(mask, mask_of(draw, size))
    return mask


_SURFACE = Stage(
    (
        (Scratches, 0.5),
        (Cracks, 0.45),
        (Dust, 0.5),
        (Folds, 0.2),
        (Tears, 0.12),
        (Flaking, 0.25),
        (Scuffs, 0.25),
    ),
    shuffled=True,
    structured=True,
)
_CAPTURE = Stage(((Blur, 0.55), (Noise, 0.6), (Resample, 0.35), (Jpeg, 0.4), (Speckle, 0.25)), shuffled=True)
_SCAN = Stage(((Noise, 0.25), (Jpeg, 0.3)))

RECIPES: dict[str, Recipe] = {
    item.name: item
    for item in (
        # What time and a scanner do to a print.
        Recipe(
            "old-photo",
            (Stage(((Fading, 0.8), (UnevenFading, 0.2))), _CAPTURE, _SURFACE, _SCAN),
            clean=0.05,
            whole=0.25,
        ),
        # The five families of the original 300-step system, all at once.
        Recipe(
            "five-families",
            (
                Stage(((Fading, 1.0), (Blur, 1.0), (LowContrast, 1.0), (Noise, 1.0))),
                Stage(((Scratches, 1.0), (Cracks, 1.0)), structured=True),
            ),
        ),
        # Everything but global tone: what the local net of the photo restorer has to repair.
        Recipe(
            "structure",
            (Stage(((UnevenFading, 0.12),)), _CAPTURE, _SURFACE, _SCAN),
            clean=0.06,
            whole=0.2,
        ),
        # A sound photograph with marks on its surface: there they are easiest to miss.
        Recipe("surface", (_SURFACE,), clean=0.1),
        # Global tone alone, for studies of it.
        Recipe("tone", (Stage(((Fading, 1.0), (LowContrast, 0.3))),)),
    )
}


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises
    ------
    UsageError
        If there is none; the message lists those that exist.
    """
    if name not in RECIPES:
        raise UsageError(f"no recipe is called {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]
