r"""A sampler as a table of plain floats.

A row of the table spends one evaluation of the network and forms two linear combinations:

.. math::
    D_k &= \mathrm{denoise}(x_k, t_k) \\
    b_{k+1} &= \mathrm{base}_k \cdot [\,b_k, x_k, D_k, D_{k-1}, \dots, y, z\,] \\
    x_{k+1} &= \mathrm{x}_k \cdot [\,b_{k+1}, x_k, D_k, D_{k-1}, \dots, y, z\,]

Two states are enough for every sampler here: ``x`` is what the network looks at next, and ``base`` is the
state a step starts from. They differ only while a step takes more than one look: a midpoint method keeps its
``base`` while ``x`` is the midpoint, and a predictor-corrector mends its ``base`` with the evaluation that it
made at the prediction.
"""

__all__ = ["Mix", "Step", "Table"]

import math
from dataclasses import dataclass, field

from relume.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Mix:
    r"""The weights of one linear combination; a weight of zero costs nothing.

    ``base`` and ``x`` weigh the two states, ``data`` the network's answers (newest first), ``y`` the damaged
    picture and ``noise`` a fresh standard normal.
    """

    base: float = 0.0
    x: float = 0.0
    data: tuple[float, ...] = ()
    y: float = 0.0
    noise: float = 0.0

    def weights(self) -> tuple[float, ...]:
        """All weights in one row: base, x, y, noise, data…"""
        return (self.base, self.x, self.y, self.noise, *self.data)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One evaluation at time ``t`` in [0,1], the new ``base`` (by default what was looked at) and ``x``."""

    t: float
    base: Mix = field(default_factory=lambda: Mix(x=1.0))
    x: Mix

    def mixes(self) -> tuple[Mix, Mix]:
        return (self.base, self.x)


@dataclass(frozen=True, kw_only=True)
class Table:
    r"""A complete sampler: where it starts, its steps, and the order of convergence that it promises.

    ``start`` combines ``y`` and ``noise`` into the first state. ``order`` is the order in the largest step of
    :math:`\lambda` (half log signal-to-noise) for a deterministic sampler, and of the variance that comes out
    for a stochastic one.

    Raises:
        UsageError: a weight is not a finite Python float.

    >>> once = Table(name="once", start=Mix(y=1.0), steps=(Step(t=1.0, x=Mix(data=(1.0,))),), order=1)
    >>> once.evaluations, once.stochastic
    (1, False)
    """

    name: str
    start: Mix
    steps: tuple[Step, ...]
    order: int

    def __post_init__(self) -> None:
        rows = [self.start.weights()] + [mix.weights() for step in self.steps for mix in step.mixes()]
        numbers = [number for row in rows for number in row] + [step.t for step in self.steps]
        # numpy's floats are refused too: they would lift a float32 array to float64.
        if not all(type(number) is float and math.isfinite(number) for number in numbers):
            raise UsageError(f"the sampler {self.name!r} has a weight that is not finite: use fewer steps")

    @property
    def evaluations(self) -> int:
        """How often the network is asked."""
        return len(self.steps)

    @property
    def stochastic(self) -> bool:
        """Whether a step (beyond the start) draws fresh noise."""
        return any(mix.noise != 0.0 for step in self.steps for mix in step.mixes())

    @property
    def memory(self) -> int:
        """How many of the network's answers have to be kept at once."""
        return max(1, *(len(mix.data) for step in self.steps for mix in step.mixes()))
