r"""Classifier-free guidance: one denoiser made of the answers with and without a condition."""

__all__ = ["guided"]

from typing import Any

from relume.diffusion.loop import Denoise
from relume.errors import UsageError


def guided(denoise: Denoise, scale: float, *, unconditional: Any = None) -> Denoise:
    r"""Moves the answer away from the one without a condition, ``scale`` times as far as the net did:

    .. math:: D_w(x, t, c) = D(x, t, ∅) + w\, (D(x, t, c) - D(x, t, ∅))

    ``scale`` = 1 is the net itself and costs one evaluation; any other costs two. Large scales (7.5 is usual
    for text) steepen :math:`D_w` in x, which makes the sampler harder to run backwards.

    Raises:
        UsageError: ``scale`` is negative.

    Source: "Classifier-Free Diffusion Guidance", Ho, Salimans, 2022.
    """
    if not scale >= 0.0:
        raise UsageError(f"guidance scale={scale:g} is negative: use 0 or more")
    if scale == 1.0:
        return denoise

    def both(x: Any, t: float, condition: Any) -> Any:
        return scale * denoise(x, t, condition) + (1.0 - scale) * denoise(x, t, unconditional)

    return both
