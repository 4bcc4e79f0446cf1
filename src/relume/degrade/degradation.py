r"""The contract of a damage.

A damage is drawn first and applied afterwards. :meth:`Degradation.sample` draws everything random from a
numpy generator (strengths, the geometry of a crack, the noise field), and :meth:`Degradation.apply` is then a
deterministic function of the picture. Because ``apply`` uses only operators that numpy arrays and torch
tensors share, one definition serves single pictures and batches for training, and both agree.
"""

__all__ = ["Array", "Degradation", "Degraded", "Draw", "Linear", "composite", "stack_draws"]

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.errors import UsageError

Array = Any  # a numpy array or a torch tensor of shape (B, C, H, W)
Draw = Mapping[str, NDArray[np.float32]]


class Degraded(NamedTuple):
    """A damaged picture and where it was damaged.

    ``picture`` is H×W×C float32 in [0,1]; ``mask`` is H×W float32 in [0,1], the opacity of the structured
    damage (scratches, cracks, dust, ...). Noise, blur and fading are everywhere and are not in the mask.
    """

    picture: NDArray[np.float32]
    mask: NDArray[np.float32]


class Degradation(ABC):
    """One kind of damage.

    Parameters
    ----------
    severity:
        0 leaves the picture as it is, 1 is an ordinary old photograph, 2 is a bad one.
    unit:
        The length in pixels that widths are counted in. ``None`` takes it from the picture, so that a scratch
        on a large scan is as wide, relative to the photograph, as on a small one.

    Raises
    ------
    UsageError
        If ``severity`` lies outside of [0, 3] or ``unit`` is not positive.
    """

    name: str
    structured = False  # whether the damage has a place, and so a mask

    def __init__(self, severity: float = 1.0, *, unit: float | None = None) -> None:
        if not 0 <= severity <= 3:
            raise UsageError(f"severity is {severity}: it must lie between 0 and 3")
        if unit is not None and not unit > 0:
            raise UsageError(f"unit is {unit}: it must be a positive number of pixels")
        self.severity = float(severity)
        self.unit = unit

    @abstractmethod
    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        """Draw all that is random, for a picture of ``shape`` (C, H, W)."""

    @abstractmethod
    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        """Damage a batch (B, C, H, W) in [0,1]; every entry of ``draw`` has the batch in front."""

    def __call__(self, picture: NDArray[Any], rng: np.random.Generator) -> Degraded:
        """Damage one H×W×C picture of floats in [0,1], C = 1 or 3.

        Raises
        ------
        UsageError
            If the picture has another shape, or holds integers.
        """
        batch = to_batch(picture)
        draw = self.sample(batch.shape[1:], rng)
        damaged = self.apply(batch, stack_draws([draw]))
        return Degraded(from_batch(damaged), mask_of(draw, batch.shape[2:]))

    def pixel_unit(self, shape: tuple[int, int, int]) -> float:
        """The unit of length for a picture of ``shape`` (C, H, W): 1 for a short side of 400 pixels."""
        return self.unit if self.unit is not None else max(0.75, min(shape[1:]) / 400)


class Linear(Degradation):
    """A damage that is a matrix once it is drawn, so that inverse problems can be solved with it."""

    @abstractmethod
    def adjoint(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        """The transpose of :meth:`apply`, (B,C,H,W) → (B,C,H,W): ⟨A x, y⟩ = ⟨x, Aᵀ y⟩."""


def to_batch(picture: NDArray[Any]) -> NDArray[np.float32]:
    """H×W×C → 1×C×H×W float32.

    Raises
    ------
    UsageError
        If the picture has another shape, or holds integers.
    """
    if picture.ndim != 3 or picture.shape[2] not in (1, 3):
        raise UsageError(f"a picture has shape (height, width, 1 or 3), not {picture.shape}")
    if picture.dtype.kind != "f":
        raise UsageError(f"a picture holds floats in [0,1], not {picture.dtype}: divide by its largest value")
    return np.ascontiguousarray(picture.transpose(2, 0, 1), dtype=np.float32)[None]


def from_batch(batch: NDArray[Any]) -> NDArray[np.float32]:
    """1×C×H×W → H×W×C float32, clipped to [0,1]."""
    return np.clip(np.ascontiguousarray(batch[0].transpose(1, 2, 0), dtype=np.float32), 0, 1)


def mask_of(draw: Draw, size: tuple[int, ...]) -> NDArray[np.float32]:
    """The mask that a draw carries, or zeros."""
    return draw["alpha"][0] if "alpha" in draw else np.zeros(size, dtype=np.float32)


def stack_draws(draws: Sequence[Draw]) -> dict[str, NDArray[np.float32]]:
    """Put the batch dimension in front of every entry."""
    return {key: np.stack([draw[key] for draw in draws]) for key in draws[0]}


def composite(picture: Array, draw: Mapping[str, Array]) -> Array:
    """Lay premultiplied ``paint`` of opacity ``alpha`` over the picture."""
    return picture * (1 - draw["alpha"]) + draw["paint"][:, : picture.shape[1]]


def scalar(value: float) -> NDArray[np.float32]:
    """A number as a (1,1,1) array, so that it broadcasts against (C,H,W)."""
    return np.full((1, 1, 1), value, dtype=np.float32)
