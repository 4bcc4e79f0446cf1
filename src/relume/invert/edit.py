r"""Editing by inversion: one region is made anew, the rest stays what it was."""

__all__ = ["edit"]

from typing import Any

from relume.diffusion import Denoise, Noise, Table, sample
from relume.invert.inversion import Array, gradient_free
from relume.invert.sampler import Trajectory


def edit(
    table: Table,
    denoise: Denoise,
    found: Trajectory,
    *,
    condition: Any,
    instead: Any,
    mask: Array,
    y: Array = None,
    noise: Noise | None = None,
) -> Array:
    r"""Runs the sampler again from the recovered noise, with another condition where ``mask`` is 1.

    The network's answer becomes

    .. math:: D_k = m\, D(x_k, t_k, c') + (1 - m)\, D(x^*_k, t_k, c)

    with :math:`x^*` the states of ``found``. A sampler treats each pixel by itself, so outside of the mask
    the result differs from the picture that was inverted by the residual of the inversion and by nothing
    else, for any sampler here. Inside, the new part sees its surroundings. Two evaluations a step.

    Arguments:
        condition: as the picture was inverted with.
        instead: c′.
        mask: in [0,1], broadcast over a state.
        y, noise: as they were given to ``invert_sampler``.
    """
    original = iter(found.states)

    def mixed(x: Array, t: float, _: Any) -> Array:
        known = denoise(next(original), t, condition)
        return mask * denoise(x, t, instead) + (1 - mask) * known

    with gradient_free(found.x):
        return sample(table, mixed, found.x, y=y, noise=noise)
