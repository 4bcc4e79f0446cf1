r"""Adam with a schedule, on the residual in place of a gradient."""

__all__ = ["Adam", "adam", "pace"]

import math

from relume.invert.inversion import Array, Forward, Inversion, Search

# The schedule of a run ends here; a longer run holds its last rate.
LONGEST_SCHEDULE = 100


class Adam:
    """The direction of Adam: bias-corrected first moment over the root of the second.

    Source: "Adam: A Method for Stochastic Optimization", Kingma, Ba, 2015.
    """

    def __init__(self, *, first: float = 0.9, second: float = 0.999, epsilon: float = 1e-8) -> None:
        self._decay, self._epsilon, self._count = (first, second), epsilon, 0
        self._mean: Array = 0.0
        self._square: Array = 0.0

    def direction(self, gradient: Array) -> Array:
        first, second = self._decay
        self._count += 1
        self._mean = first * self._mean + (1 - first) * gradient
        self._square = second * self._square + (1 - second) * (gradient * gradient)
        root = (self._square / (1 - second**self._count)) ** 0.5
        return self._mean / (1 - first**self._count) / (root + self._epsilon)


def pace(k: int, iterations: int) -> float:
    """The share of the highest rate at iteration k = 0, 1, …: up over 10 %, down a cosine, held from 80 % on.

    >>> [round(pace(k, 20), 3) for k in (0, 1, 2, 11, 16, 19)]
    [0.5, 1.0, 1.0, 0.5, 0.117, 0.117]
    """
    length = min(iterations, LONGEST_SCHEDULE)
    rising = max(1, length // 10)
    if k < rising:
        return (k + 1) / rising
    share = (min(k, int(0.8 * length)) - rising) / max(1, length - rising)
    return 0.5 * (1 + math.cos(math.pi * max(0.0, share)))


def adam(
    forward: Forward,
    y: Array,
    x: Array,
    *,
    tolerance: float = 1e-6,
    iterations: int = 100,
    rate: float = 0.01,
    epsilon: float = 1e-8,
) -> Inversion:
    r"""Feeds F(x) - y to Adam as if it were a gradient: each coordinate gets its own step length.

    ``rate`` is the length of a step in the units of x. In half precision take ``epsilon`` = 1e-4, below which
    the second moment underflows.

    Source: "Gradient-free Decoder Inversion in Latent Diffusion Models", Hong, Jeon, Lee, Ryu, Chun, 2024.
    """
    search = Search(forward, y, x, tolerance=tolerance, iterations=iterations)
    moments = Adam(epsilon=epsilon)
    while not search.over():
        rate_now = rate * pace(search.count, iterations)
        x = x - rate_now * moments.direction(search.miss(x))
    return search.result()
