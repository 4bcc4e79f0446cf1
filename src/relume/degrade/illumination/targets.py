r"""What a network sees of a raw image, and what it is to answer.

It answers with log B and not with T: the corrected image is raw / B, so that the sample's detail comes from
the raw image and cannot be invented.
"""

__all__ = ["LIMIT", "background_of", "channels", "network_input", "network_target"]

import numpy as np

from .arrays import Array, median, onto, space

LIMIT = 4.0  # natural logarithm: a factor of 55 either way


def network_input(counts: Array) -> Array:
    r""":math:`\ln(I / \operatorname{median} I)` within ±4, for counts less the dark level (..., H, W).

    The median does not see hot pixels; a count of zero or less becomes −4. The exposure does not matter.
    """
    ratio = counts / median(counts)
    return space(counts).log(ratio.clip(float(np.exp(-LIMIT)), float(np.exp(LIMIT))))


def channels(level: Array, known: Array) -> Array:
    """What goes into the net (..., 4, H, W): log counts (..., H, W), y and x, and what is known (...).

    y and x run from −1 to 1 between the outer borders: light has a place in the frame, a sample has not.
    ``known`` is 1 where the instrument's fixed map was divided out before, else 0.
    """
    h, w = level.shape[-2:]
    y, x = (onto((2 * np.arange(n) + 1) / n - 1, level) for n in (h, w))
    zero = 0 * level
    return space(level).stack([level, y[:, None] + zero, x + zero, known[..., None, None] + zero], -3)


def network_target(background: Array) -> Array:
    r""":math:`\ln B` less its median (..., H, W)."""
    field = space(background).log(background)
    return field - median(field)


def background_of(answer: Array) -> Array:
    """The background of median 1 that an answer (..., H, W) stands for, whatever its level."""
    return space(answer).exp(answer - median(answer))
