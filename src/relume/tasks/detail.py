r"""Detail put back: what the expected picture has lost, band by band, without inventing any.

A net that answers with the expected picture is too smooth: of the plausible pictures it gives the mean, and
fine detail averages out. The bands of its answer are amplified until they hold the energy that pictures so
damaged had before, as far as a few local figures tell. A flat sky has nothing to amplify and stays flat.
"""

__all__ = ["BANDS", "Detail", "amplify", "energies", "features", "starlet"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: How many bands: wavelengths of about 2 to 4, 4 to 8 and 8 to 16 pixels.
BANDS = 3
# Energies below half a level of 8 bits are rounding.
_FLOOR = np.float32((0.5 / 255) ** 2)
_WINDOW = 4  # dilations of the smoothing that makes an energy local: a standard deviation of about 9 pixels
_STRONGEST = 4.0
_SHIFT = np.float32(8)  # brings logarithms of energies near 0
_NOTHING = np.log(_FLOOR) + _SHIFT
_PLENTY = np.float32(np.log(16))  # a change of two levels of 8 bits
_TAPS = (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16)


def _smooth(x: Array, dilation: int) -> Array:
    """The cubic B-spline filter with holes, over the first two axes; borders are mirrored."""
    for axis in (0, 1):
        # A mirror reaches as far as the picture does, and on a smaller one the last line is repeated.
        mode = "symmetric" if x.shape[axis] >= 2 * dilation else "edge"
        pads = [(2 * dilation, 2 * dilation) if a == axis else (0, 0) for a in range(x.ndim)]
        wide = np.pad(x, pads, mode=mode)  # type: ignore[call-overload]
        n = x.shape[axis]
        parts = [np.take(wide, range(k * dilation, k * dilation + n), axis=axis) for k in range(5)]
        x = np.asarray(sum(np.float32(t) * p for t, p in zip(_TAPS, parts, strict=True)), dtype=np.float32)
    return x


def starlet(picture: Array, bands: int = BANDS) -> tuple[list[Array], Array]:
    """The isotropic undecimated wavelet transform: H×W×… → ``bands`` details, finest first, and what is left.

    They add up to the picture.

    Source: Starck, Fadili, Murtagh, *The Undecimated Wavelet Decomposition and its Reconstruction*, 2007.
    """
    details, left = [], picture
    for band in range(bands):
        smooth = _smooth(left, 2**band)
        details.append(left - smooth)
        left = smooth
    return details, left


def energies(picture: Array) -> list[Array]:
    """Of each band of luma, H×W: the logarithm of its local energy."""
    found = []
    for band in starlet(picture.mean(axis=2, dtype=np.float32))[0]:
        energy = band * band
        for dilation in range(_WINDOW):
            energy = _smooth(energy, 2**dilation)
        found.append(np.log(energy + _FLOOR))
    return found


def features(clean: Array, seen: Array) -> Array:
    """What the gains are read from: two H×W×3 pictures → H×W×F.

    The bands of the restored picture and those of what restoring took away (noise and damage, and with them
    some detail), their squares and products.
    """
    first = [f + _SHIFT for f in (*energies(clean), *energies(seen - clean))]
    second = [a * b for i, a in enumerate(first) for b in first[i:]]
    return np.stack([np.ones_like(first[0]), *first, *second], axis=2)


@dataclass(frozen=True)
class Detail:
    """The log of the energy that each band lacks, linear in :func:`features`: ``weights`` are BANDS×F."""

    weights: NDArray[np.float32]

    @classmethod
    def from_card(cls, weights: Sequence[Sequence[float]]) -> "Detail":
        """From the lists of a model card."""
        return cls(np.asarray(weights, dtype=np.float32))

    def gains(self, clean: Array, seen: Array) -> Array:
        """By what to multiply each band: H×W×BANDS, from 1 to 4."""
        found = features(clean, seen)
        lacking = np.clip(found @ self.weights.T / 2, 0, np.log(_STRONGEST))
        # What was taken away, over the floor: where nothing was, nothing is lost.
        taken = found[..., 1 + BANDS : 1 + 2 * BANDS].max(axis=2, keepdims=True) - _NOTHING
        return np.asarray(np.exp(np.clip(taken / _PLENTY, 0, 1) * lacking), dtype=np.float32)


def amplify(
    clean: Array, seen: Array, detail: Detail, amount: float = 1.0, damage: Array | None = None
) -> Array:
    r"""The restored picture with its detail brought back to strength, H×W×3.

    .. math:: y = x + \sum_j (g_j^{a (1-p)} - 1)\, w_j(x)

    ``seen`` is the picture before it was restored, in the same tone; ``amount`` :math:`a` in [0,1] goes from
    the picture as it is to the expected energy. Where the picture was damaged (``damage`` :math:`p`, H×W in
    [0,1]) there is little but the net's own guess, and it is left alone. The gains are the same for all
    channels: no colour fringes.
    """
    if amount <= 0:
        return clean
    share = np.full(clean.shape[:2], amount, np.float32)
    if damage is not None:
        share *= 1 - _smooth(_smooth(np.clip(damage, 0, 1), 1), 2)
    gains = detail.gains(clean, seen) ** share[..., None]
    out = clean.copy()
    for j, band in enumerate(starlet(clean)[0]):
        out += (gains[..., j : j + 1] - 1) * band
    return out
