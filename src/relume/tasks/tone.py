r"""Tone for the whole photograph: a thumbnail is read once, one transform is applied to every pixel."""

__all__ = [
    "THUMBNAIL",
    "TONES",
    "Tone",
    "ToneTransform",
    "apply_transform",
    "cautious",
    "colour",
    "thumbnail",
    "tinted",
]

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

Array = NDArray[np.float32]

# What becomes of the tone. keep: nothing; revive: contrast and lost colours come back, a print's own tint
# stays no stronger than it is; neutral: the same, and a tinted print becomes grey.
Tone = Literal["keep", "revive", "neutral"]
TONES: tuple[Tone, ...] = get_args(Tone)

THUMBNAIL = 64  # what the tone net was trained on

# A mean change below DOUBT is within the net's error on photographs that need none, and is not made; from
# TRUST on it is made in full. Chosen from a grid on 64 photographs of the training folder, which the net had
# seen: against no such caution it gains 2 dB on those damaged by the recipe and 15 dB on clean ones, and
# loses 1.6 dB where a little contrast alone was lost.
DOUBT, TRUST = 0.03, 0.06

# Share of a picture's colour that its brightness does not explain: below the first it is a tinted black-and-
# white print (four genuine ones: 0.09 to 0.14), above the second a colour photograph (two genuine old ones:
# 0.29 and 0.33).
PRINT, PHOTOGRAPH = 0.2, 0.3
# Nobody can see whether a print was toned or has yellowed: so much of its tint stays at least.
LEAST = 0.7
# Colour may come back so many times as much as contrast does: what more the tone net asks for was garish on
# autochromes. On photographs faded by other code this gains 0.1 dB, on the recipe it changes nothing, on 66
# that our own fading alone had changed it loses 0.06.
RICHEST = 1.1
LUMA = np.array([0.299, 0.587, 0.114])


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

    ``curves`` is 3×(K+1): the values of :math:`f_d` at equal steps of [0,1], linear in between. ``amount`` in
    [0,1] is the share of the change that is made; after it, ``saturation`` is what is left of the distance of
    every colour from its grey, and ``own`` is how much of that distance in the picture as it was is added.
    """

    curves: NDArray[np.float64]
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    amount: float = 1.0
    saturation: float = 1.0
    own: float = 0.0

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
        """The transform that changes nothing: of its change, none is made."""
        return replace(cls.from_parameters(np.zeros(3 * knots + 15)), amount=0.0)


def apply_transform(picture: Array, transform: ToneTransform, *, rows: int = 256) -> Array:
    """H×W×3 in [0,1] → H×W×3 clipped to [0,1], at full depth, some rows at a time to bound the memory.

    Where nothing changes the picture itself is returned.
    """
    if transform.amount == 0 and transform.saturation == 1 and transform.own == 0:
        return picture
    out = np.empty_like(picture)
    places = np.linspace(0, 1, transform.curves.shape[1])
    matrix = transform.matrix.T.astype(np.float32)
    offset, luma = transform.offset.astype(np.float32), LUMA.astype(np.float32)
    for top in range(0, len(picture), rows):
        part = picture[top : top + rows]
        curved = np.stack(
            [np.interp(part[..., c], places, transform.curves[c]) for c in range(3)], axis=-1
        ).astype(np.float32)
        toned = np.clip(curved @ matrix + offset, 0, 1)
        toned = part + np.float32(transform.amount) * (toned - part)
        if transform.saturation != 1 or transform.own != 0:
            grey, own = (toned @ luma)[..., None], part - (part @ luma)[..., None]
            toned = grey + np.float32(transform.saturation) * (toned - grey) + np.float32(transform.own) * own
            toned = np.clip(toned, 0, 1)
        out[top : top + rows] = toned
    return out


def cautious(transform: ToneTransform, small: Array) -> ToneTransform:
    """The transform as far as it is to be trusted on a picture whose H×W×3 thumbnail is ``small``."""
    change = float(np.abs(apply_transform(small, transform) - small).mean())
    return replace(transform, amount=float(np.clip((change - DOUBT) / (TRUST - DOUBT), 0, 1)))


def tinted(small: Array) -> tuple[float, float]:
    r"""How surely an H×W×3 thumbnail shows a tinted black-and-white print, in [0,1]; and the tint's strength.

    In such a print colour follows from brightness. The two colour differences are fitted by a parabola in
    luma; the answer falls from 1 to 0 as the share of colour that is left over rises from ``PRINT`` to
    ``PHOTOGRAPH``. The strength is the root mean square of the colour differences.
    """
    pixels = small.reshape(-1, 3).astype(np.float64)
    luma = pixels @ LUMA
    colour = pixels[:, [0, 2]] - luma[:, None]
    design = np.stack([np.ones_like(luma), luma, luma**2], axis=1)
    left = colour - design @ np.linalg.lstsq(design, colour, rcond=None)[0]
    strength = float(np.sqrt((colour**2).sum(axis=1).mean()))
    share = float(np.sqrt((left**2).sum(axis=1).mean())) / max(strength, 1e-6)
    return float(np.clip((PHOTOGRAPH - share) / (PHOTOGRAPH - PRINT), 0, 1)), strength


def colour(transform: ToneTransform, small: Array, tone: Tone) -> ToneTransform:
    """The transform with the colour that ``tone`` asks for, on a picture whose thumbnail is ``small``.

    A tinted print keeps the hue of its tint, no stronger than it was (``revive``), or loses it (``neutral``).
    Colours grow at most ``RICHEST`` times as much as contrast does.
    """
    if tone == "keep":
        return ToneTransform.identity()
    sure, strength = tinted(small)
    own = 0.0
    if tone == "revive":
        left = tinted(apply_transform(small, transform))[1] / max(strength, 1e-6)
        own = sure * float(np.clip(left, LEAST, 1.0))
    full = replace(transform, saturation=1 - sure, own=own)
    share = _moderate(small, apply_transform(small, full))
    return replace(full, saturation=share * full.saturation, own=share * full.own)


def _moderate(before: Array, after: Array) -> float:
    """What is to be left of the colours of ``after`` for them not to outgrow its contrast."""
    (dull, flat), (rich, steep) = (_strengths(picture) for picture in (before, after))
    contrast = max(1.0, steep / max(flat, 1e-6))
    return min(1.0, RICHEST * contrast * dull / max(rich, 1e-6)) if dull > 1e-3 else 1.0


def _strengths(picture: Array) -> tuple[float, float]:
    """The root mean square of the distance of colours from their grey, and the deviation of these greys."""
    grey = picture @ LUMA
    colours = picture - grey[..., None]
    return float(np.sqrt((colours**2).sum(axis=2).mean())), float(grey.std())
