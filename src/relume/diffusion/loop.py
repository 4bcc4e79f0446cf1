r"""The one loop that runs every sampler, on numpy arrays and torch tensors alike."""

__all__ = ["Denoise", "Noise", "Walk", "begin", "sample", "gaussian_noise"]

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from relume.diffusion.table import Mix, Table
from relume.errors import UsageError

# An array is whatever knows ``array + array`` and ``float * array``: the loop asks for nothing else.
Array = Any

Denoise = Callable[[Array, float, Array], Array]
r"""``denoise(x, t, condition) -> x0``: the clean picture that the network sees in ``x`` at time ``t``."""

Noise = Callable[[int], Array] | Sequence[Array]
r"""The standard normal after ``k`` evaluations, as ``noise(k)`` or ``noise[k]``; ``k = 0`` is the start's."""


def begin(table: Table, *, y: Array = None, noise: Noise | None = None) -> Array:
    r"""Makes the first state of ``table``: pure noise, or the damaged picture ``y`` plus noise.

    Raises:
        UsageError: ``y`` or ``noise`` is needed and missing.
    """
    return _combine(table.start, {"y": y}, noise, 0)


class Walk:
    r"""A sampler under way: whoever drives it asks the network about ``x`` at ``t`` and tells the answer.

    For callers that do something else between two steps; :func:`sample` is the loop for all others. ``y`` is
    the damaged picture in the shape of ``x``; only residual-shift tables look at it. ``x`` keeps its kind,
    shape and dtype.

    >>> from relume.diffusion import linear, ddim
    >>> walk = Walk(ddim(linear(), 2), np.ones((1, 3, 8, 8)))
    >>> while not walk.over:
    ...     walk.advance(0.25 + 0.0 * walk.x)
    >>> walk.done, walk.x.mean().item()
    (2, 0.25)
    """

    def __init__(self, table: Table, x: Array, *, y: Array = None, noise: Noise | None = None) -> None:
        self._steps, self._y, self._noise = table.steps, y, noise
        self._data: deque[Array] = deque(maxlen=table.memory)
        self._base = self.x = x
        self.done = 0

    @property
    def over(self) -> bool:
        """Whether ``x`` is the result."""
        return self.done == len(self._steps)

    @property
    def t(self) -> float:
        """The time at which the network is to be asked."""
        return self._steps[self.done].t

    def advance(self, x0: Array) -> None:
        """Takes the network's answer about ``x`` at ``t``, and goes one step on.

        Raises:
            UsageError: the table uses ``y`` or ``noise``, and it was not given.
        """
        step = self._steps[self.done]
        self._data.appendleft(x0)
        slots = {f"data[{i}]": d for i, d in enumerate(self._data)}
        slots |= {"base": self._base, "x": self.x, "y": self._y}
        self.done += 1
        self._base = _combine(step.base, slots, self._noise, self.done)
        self.x = _combine(step.x, {**slots, "base": self._base}, self._noise, self.done)


def sample(
    table: Table,
    denoise: Denoise,
    x: Array,
    *,
    condition: Array = None,
    y: Array = None,
    noise: Noise | None = None,
    callback: Callable[[int, Array, Array], None] | None = None,
) -> Array:
    r"""Runs ``table`` from the state ``x`` and returns the last state.

    ``condition`` is handed to ``denoise`` untouched; ``y`` and ``noise`` are those of :class:`Walk`.
    ``callback(k, x, x0)`` is told after each evaluation ``k = 1, 2, …`` the new state and the network's
    present idea of the result. The result keeps the kind, shape and dtype of ``x``.

    Raises:
        UsageError: the table uses ``y`` or ``noise``, and it was not given.

    >>> from relume.diffusion import linear, ddim
    >>> table = ddim(linear(), 5)
    >>> x = begin(table, noise=gaussian_noise(7, (1, 3, 8, 8)))
    >>> sample(table, lambda x, t, condition: 0.25 + 0.0 * x, x).mean().item()
    0.25
    """
    walk = Walk(table, x, y=y, noise=noise)
    while not walk.over:
        x0 = denoise(walk.x, walk.t, condition)
        walk.advance(x0)
        if callback is not None:
            callback(walk.done, walk.x, x0)
    return walk.x


def _combine(mix: Mix, slots: dict[str, Array], noise: Noise | None, k: int) -> Array:
    """Sums weight · slot over the weights that are not zero."""
    weights = {"base": mix.base, "x": mix.x, "y": mix.y}
    weights |= {f"data[{i}]": weight for i, weight in enumerate(mix.data)}
    total = None
    for name, weight in weights.items():
        if weight != 0.0:
            total = _add(total, weight, slots.get(name), name)
    if mix.noise != 0.0:
        fresh = noise(k) if callable(noise) else None if noise is None else noise[k]
        total = _add(total, mix.noise, fresh, "noise")
    return total


def _add(total: Array, weight: float, slot: Array, name: str) -> Array:
    if slot is None:
        raise UsageError(f"this sampler needs {name!r}: give {name}=… to it")
    term = slot if weight == 1.0 else weight * slot
    return term if total is None else total + term


def gaussian_noise(
    seed: int | Sequence[int], shape: Sequence[int], *, dtype: DTypeLike = np.float32
) -> Callable[[int], NDArray[Any]]:
    r"""Standard normal noise that depends on nothing but its seed and the number of the evaluation.

    With one seed ``noise(k)`` has the given ``shape``; with a sequence of them the pictures are stacked on a
    new first axis, one for each seed, so that a picture's noise does not know the batch it is part of.

    Raises:
        UsageError: a seed is negative.

    >>> alone, batch = gaussian_noise(7, (2, 2)), gaussian_noise([3, 7], (2, 2))
    >>> bool((alone(4) == batch(4)[1]).all())
    True
    """

    single = not isinstance(seed, Sequence)
    seeds = [int(each) for each in seed] if isinstance(seed, Sequence) else [int(seed)]
    if any(each < 0 for each in seeds):
        raise UsageError(f"seed {min(seeds)} is negative: use 0 or more")

    def one(seed: int, k: int) -> NDArray[Any]:
        # Drawn in float64 and rounded, so that a half-precision run sees the same noise, only coarser.
        return np.random.default_rng([seed, k]).standard_normal(tuple(shape)).astype(dtype)

    def noise(k: int) -> NDArray[Any]:
        return one(seeds[0], k) if single else np.stack([one(each, k) for each in seeds])

    return noise
