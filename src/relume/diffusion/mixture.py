r"""The one denoiser that is known exactly: for a mixture of Gaussians."""

__all__ = ["mixture_denoiser"]

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from relume.diffusion.loop import Denoise
from relume.diffusion.schedules import NoiseSchedule


def mixture_denoiser(schedule: NoiseSchedule, means: ArrayLike, variances: ArrayLike) -> Denoise:
    r"""E[x₀ | x_t] for :math:`x_0 \sim \sum_i w_i N(μ_i, s_i^2 I)`, an oracle that needs no training.

    .. math::
        D(x, t) = \sum_i p_i(x) \Big( μ_i + \frac{α s_i^2}{α^2 s_i^2 + σ^2} (x - α μ_i) \Big), \qquad
        p_i \propto w_i N(x; α μ_i, (α^2 s_i^2 + σ^2) I)

    Arguments:
        means: (K, d); variances: (K,), above 0.

    The states of the denoiser are numpy arrays (..., d). Its condition is the weights w (K,), so that two
    conditions can be told apart by guidance; None weighs all components alike.

    >>> from relume.diffusion import linear
    >>> exact = mixture_denoiser(linear(), [[-1.0], [1.0]], [0.01, 0.01])
    >>> exact(np.array([0.0]), 0.5, None).item(), round(exact(np.array([0.0]), 1.0, [0, 1]).item(), 3)
    (0.0, 1.0)
    """
    centers = np.asarray(means, np.float64)
    spread = np.asarray(variances, np.float64)
    dimensions = centers.shape[1]

    def denoise(x: Any, t: float, condition: Any) -> Any:
        level = schedule.at_time(t)
        weights = np.ones(len(centers)) if condition is None else np.asarray(condition, np.float64)
        total = level.alpha**2 * spread + level.sigma**2
        away = np.asarray(x)[..., None, :] - level.alpha * centers
        with np.errstate(divide="ignore"):  # a component of weight 0 has the logarithm -inf, as it should
            share = np.log(weights) - 0.5 * (away**2).sum(-1) / total - 0.5 * dimensions * np.log(total)
        share = np.exp(share - share.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        posterior = centers + (level.alpha * spread / total)[:, None] * away
        return (share[..., None] * posterior).sum(-2)

    return denoise
