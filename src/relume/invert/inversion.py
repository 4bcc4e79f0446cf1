r"""What an inversion is, and the search that every solver conducts.

A solver gets a function F, a value y and a first guess, and looks for x with F(x) = y. Where the search
stands is always told by one number,

.. math:: \mathrm{residual}(x) = \frac{\mathrm{rms}(F(x) - y)}{\mathrm{rms}(y)},

measured at the x that is returned, not at one before or behind it.
"""

__all__ = ["Array", "Forward", "Inversion", "Search", "gradient_free", "inner", "relative", "rms", "rounding"]

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

Array = Any
"""A numpy array or a torch tensor, of any shape and floating dtype."""

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}

Forward = Callable[[Array], Array]
"""The function to invert: F(x), of the same kind and dtype as x."""


@dataclass(frozen=True, kw_only=True)
class Inversion:
    r"""The best x that was found for F(x) = y.

    ``iterations`` counts evaluations of F. ``residual`` is relative, inf if F never gave a finite value.
    """

    x: Array
    residual: float
    iterations: int
    tolerance: float

    @property
    def converged(self) -> bool:
        """Whether the residual is within the tolerance: read off the residual, never stored."""
        return self.residual <= self.tolerance


def inner(a: Array, b: Array) -> float:
    """The mean of the products. A mean cannot overflow where half precision's sum would."""
    return float((a * b).mean())


def rms(a: Array) -> float:
    """The root mean square, scaled so that squares neither overflow nor vanish in half precision."""
    largest = float(abs(a).max())
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    unit = a / largest
    return largest * math.sqrt(inner(unit, unit))


def relative(miss: Array, y: Array) -> float:
    """rms(miss)/rms(y); rms(miss) where y is zero; inf where it is not a number."""
    value = rms(miss) / (rms(y) or 1.0)
    return value if math.isfinite(value) else math.inf


def rounding(x: Array) -> float:
    """The relative rounding error of the dtype of ``x``: 2.2e-16 for float64."""
    return EPSILON[str(x.dtype).rpartition(".")[2]]


def gradient_free(x: Array) -> AbstractContextManager[Any]:
    """A context in which torch keeps no graph for tensors such as ``x``; nothing for other arrays."""
    if type(x).__module__.partition(".")[0] != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()  # type: ignore[no-any-return, no-untyped-call, unused-ignore]


class Search:
    r"""Evaluates F, counts, and remembers the best point.

    A search is over when the tolerance or the limit is reached, when a value is not finite, or when
    ``patience`` evaluations in a row brought nothing better.
    """

    def __init__(
        self, forward: Forward, y: Array, x: Array, *, tolerance: float, iterations: int, patience: int = 100
    ) -> None:
        self.best, self.residual, self.count, self.last = x, math.inf, 0, math.inf
        self._forward, self._y, self._tolerance = forward, y, tolerance
        self._limit, self._patience, self._idle = iterations, patience, 0
        self._size = rms(y) or 1.0

    def miss(self, x: Array) -> Array:
        """F(x) - y, without gradients."""
        with gradient_free(x):
            miss = self._forward(x) - self._y
        self.note(x, rms(miss) / self._size)
        return miss

    def note(self, x: Array, residual: float) -> None:
        """Counts an evaluation at ``x`` that a solver made itself."""
        self.count += 1
        self.last = residual if math.isfinite(residual) else math.inf
        self._idle = 0 if self.last < self.residual else self._idle + 1
        if self.last < self.residual:
            self.best, self.residual = x, self.last

    def over(self) -> bool:
        """Whether there is nothing more to be gained or spent."""
        done = self.residual <= self._tolerance or self.count >= self._limit
        return done or self._idle >= self._patience or (self.count > 0 and math.isinf(self.last))

    def result(self) -> Inversion:
        return Inversion(
            x=self.best, residual=self.residual, iterations=self.count, tolerance=self._tolerance
        )
