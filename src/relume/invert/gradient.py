r"""Gradient descent: the baseline that differentiates F."""

__all__ = ["gradient"]

from typing import Any

from relume.errors import UsageError
from relume.invert.adam import Adam, pace
from relume.invert.inversion import Array, Forward, Inversion, Search, relative


def gradient(
    forward: Forward,
    y: Array,
    x: Array,
    *,
    tolerance: float = 1e-6,
    iterations: int = 100,
    rate: float = 0.1,
    epsilon: float = 1e-8,
) -> Inversion:
    r"""Minimises :math:`\|F(x) - y\|^2` by Adam under the schedule of :func:`relume.invert.adam.pace`.

    F is torch code on tensors, and is differentiated: every iteration keeps the activations of F in memory
    and costs about three evaluations, of which ``iterations`` counts one.

    Raises:
        UsageError: ``x`` is not a torch tensor.
    """
    if type(x).__module__.partition(".")[0] != "torch":
        raise UsageError(
            "gradient descent needs torch tensors: use forward_step or anderson for other arrays"
        )
    import torch

    search = Search(forward, y, x, tolerance=tolerance, iterations=iterations)
    moments = Adam(epsilon=epsilon)
    while not search.over():
        rate_now = rate * pace(search.count, iterations)
        point: Any = x.detach().requires_grad_()
        with torch.enable_grad():
            miss = forward(point) - y
            (slope,) = torch.autograd.grad((miss * miss).sum(), point)
        search.note(x, relative(miss.detach(), y))
        x = x - rate_now * moments.direction(slope)
    return search.result()
