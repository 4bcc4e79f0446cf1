r"""Tone for the whole photograph: a thumbnail is read once, one transform is applied to every pixel."""

__all__ = ["THUMBNAIL", "ToneTransform", "thumbnail", "apply_transform"]

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

Array = NDArray[np.float32]

THUMBNAIL = 64  # what the tone net was trained on


def thumbnail(picture: Array) -> Array:
    """H×W×3 → 1×3×64×64 by area averaging, the aspect ratio given up: tone has no geometry."""
    channels = [
        np.asarray(
            PilImage.fromarray(np.ascontiguousarray(picture[..., c])).resize(
                (THUMBNAIL, THUMBNAIL), PilImage.Resampling.BOX
            )
        )
        for c in range(3)
    ]
    return np.stack(channels)[None].astype(np.float32)


@dataclass(frozen=True)
class ToneTransform:
    r"""One monotone curve per channel, then a colour matrix and an offset.

    .. math:: x'_c = o_c + \sum_d A_{cd} f_d(x_d)

    ``curves`` is 3×(K+1): the values of :math:`f_d` at equal steps of [0,1], linear in between.
    """

    curves: NDArray[np.float64]
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def from_parameters(cls, parameters: NDArray[np.floating]) -> "ToneTransform":
        """From the tone net's answer: 3K log-slopes, 3 starts, a 3×3 matrix less the identity, 3 offsets."""
        values = np.asarray(parameters, dtype=np.float64).reshape(-1)
        knots = (values.size - 15) // 3
        slopes = np.exp(values[: 3 * knots].reshape(3, knots))
        start, matrix, offset = np.split(values[3 * knots :], [3, 12])
        rises = np.concatenate([np.zeros((3, 1)), np.cumsum(slopes, axis=1) / knots], axis=1)
        return cls(start[:, None] + rises, np.eye(3) + matrix.reshape(3, 3), offset)

    @classmethod
    def identity(cls, knots: int = 1) -> "ToneTransform":
        """The transform that changes nothing."""
        return cls.from_parameters(np.zeros(3 * knots + 15))


def apply_transform(picture: Array, transform: ToneTransform, *, rows: int = 256) -> Array:
    """H×W×3 in [0,1] → H×W×3 clipped to [0,1], at full depth, some rows at a time to bound the memory."""
    out = np.empty_like(picture)
    places = np.linspace(0, 1, transform.curves.shape[1])
    matrix = transform.matrix.T.astype(np.float32)
    offset = transform.offset.astype(np.float32)
    for top in range(0, len(picture), rows):
        part = picture[top : top + rows]
        curved = np.stack(
            [np.interp(part[..., c], places, transform.curves[c]) for c in range(3)], axis=-1
        ).astype(np.float32)
        np.clip(curved @ matrix + offset, 0, 1, out=out[top : top + rows])
    return out
