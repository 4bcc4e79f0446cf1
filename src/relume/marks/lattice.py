r"""Lattice: a keyed periodic pattern in the picture itself, found again at any offset and scale.

The pattern repeats every 64 units in both directions, so its spectrum is a lattice of points. Cropping turns
the phases of these points, resizing moves the points apart: both can be searched for, and what the search may
find by chance is counted in the p-value.
"""

__all__ = ["Lattice", "LatticeDetection"]

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.errors import UsageError
from relume.marks.activity import luma, masked
from relume.marks.mark import Detection, Floats, seed_of
from relume.marks.sphere import cap

Complex = NDArray[np.complex128]
Question = Literal["as it was", "cropped", "resized"]

PERIOD = 64
# Cycles per unit. Below, pictures are strong and eyes sharp; above, JPEG and resizing leave little.
BAND = (0.06, 0.22)
# A unit is a pixel, but larger where the picture is: such pictures are shown smaller.
UNIT_SIDE, UNIT_MOST = 1536, 4.0
PITCHES = (0.5, 4.0)  # pixels per unit, among which is searched
SIDE = 2048  # of the part in the middle that is looked at
_CHUNK = 64  # pitches at a time


@dataclass(frozen=True)
class LatticeDetection(Detection):
    """``question`` is the one whose answer was the least likely; ``pitch`` the pixels per unit found then."""

    question: Question
    pitch: float


class _Points(NamedTuple):
    """The lattice in the upper half-plane: cycles per period, down and across."""

    down: NDArray[np.intp]
    across: NDArray[np.intp]


class Lattice:
    r"""The mark of one key in the luma of a picture H×W×C in [0,1].

    .. math:: x' = x + α(x)\, w, \qquad
        w(r, c) = \mathrm{Re} \sum_{k \in \text{band}} a_k e^{2πi (k_1 r + k_2 c) / (64 u)} / \sqrt{n}

    The :math:`a_k` are complex normal by the key, so w has variance 1; α grows with what goes on around a
    pixel (:mod:`relume.marks.activity`); u is the unit, 1 pixel for sides up to 1536.

    The detector divides the picture by its activity, transforms it, and compares the phases at the points of
    the lattice (weak ones count less) with the key by a cosine in R = 2n dimensions. It asks three questions:

    - as it was: at the pitch and the offset that a picture of this size was given;
    - cropped: at that pitch, over all 64² offsets;
    - resized: over pitches from ½ to 4 pixels per unit, and all offsets.

    A key is a random direction of R dimensions, so for any picture and any one pitch and offset the cosine
    has the law of a coordinate on the sphere. The p-value is three times the least of (share × number of
    trials) over the questions: by the union bound, at most a share p of all keys finds p or less in a picture
    that was made without them.

    Arguments:
        key: any text.
        strength: 1 is meant to be invisible; the amplitude is proportional.

    Raises:
        UsageError: the strength is not positive.

    Source: spread spectrum as in "Secure Spread Spectrum Watermarking for Multimedia", Cox, Kilian, Leighton,
    Shamoon, 1997; periodic tiling against geometry as in "Spread Spectrum Watermarking: Malicious Attacks
    and Counterattacks", Hartung, Su, Girod, 1999. The law under random keys and the search are ours.
    """

    medium: ClassVar[Literal["noise", "picture"]] = "picture"

    def __init__(self, key: str, *, strength: float = 1.0) -> None:
        if not strength > 0.0:
            raise UsageError(f"a mark of strength {strength:g} is none: use more than 0")
        self.strength = strength
        count = len(_points().down)
        pair = np.random.default_rng(seed_of(key)).standard_normal((2, count))
        self._direction: Complex = pair[0] + 1j * pair[1]

    def embed(self, picture: NDArray[Any]) -> NDArray[Any]:
        """The picture with the mark in it, clipped to [0,1]; a copy, of the same dtype.

        Raises:
            UsageError: it is not H×W×C, or a side is shorter than 64 pixels.
        """
        height, width = _size(picture)
        unit = _unit(height, width)
        _, amplitude = masked(luma(picture), unit)
        pattern = self._pattern(height, width, unit)
        marked = picture + (self.strength * amplitude * pattern)[..., None].astype(np.float32)
        return np.asarray(np.clip(marked, 0, 1), picture.dtype)

    def detect(self, picture: NDArray[Any]) -> LatticeDetection:
        """How much the picture looks as if the key were in it.

        Raises:
            UsageError: it is not H×W×C, or a side is shorter than 64 pixels.
        """
        height, width = _size(picture)
        unit = _unit(height, width)
        top, left = (max(0, (side - SIDE) // 2) for side in (height, width))
        part = luma(picture[top : top + SIDE, left : left + SIDE])
        seen = _Seen(part)
        middle = (top + part.shape[0] // 2, left + part.shape[1] // 2)
        pitches = _pitches(max(part.shape))
        alone, trials = 2 * len(self._direction), PERIOD**2
        exact = self._cosine(seen.at(unit), middle, unit)
        shifted, _ = self._best(seen, np.array([unit]))
        searched, pitch = self._best(seen, pitches)
        answers: list[tuple[float, float, Question, float]] = [
            (cap(exact, alone), exact, "as it was", unit),
            (trials * cap(shifted, alone), shifted, "cropped", unit),
            (trials * len(pitches) * cap(searched, alone), searched, "resized", pitch),
        ]
        least, similarity, question, found = min(answers, key=lambda answer: answer[0])
        return LatticeDetection(similarity, min(1.0, len(answers) * least), question, found)

    def _pattern(self, height: int, width: int, unit: float) -> Floats:
        """w, by separation: the sum over the lattice is a product of three matrices."""
        points = _points()
        most = int(points.across.max())
        grid = np.zeros((2 * most + 1, most + 1), np.complex128)
        grid[points.down + most, points.across] = self._direction / math.sqrt(len(self._direction))
        rows = np.exp(
            2j * math.pi / (PERIOD * unit) * np.outer(np.arange(height), np.arange(-most, most + 1))
        )
        columns = np.exp(2j * math.pi / (PERIOD * unit) * np.outer(np.arange(most + 1), np.arange(width)))
        left = rows @ grid
        # Re(AB) without the imaginary half, which would be as large as the picture
        return np.asarray(left.real @ columns.real - left.imag @ columns.imag)

    def _cosine(self, seen: Complex, middle: tuple[int, int], pitch: float) -> float:
        """At the offset that the picture was marked with: the phases were taken from its middle."""
        points = _points()
        turn = 2 * math.pi / (PERIOD * pitch) * (points.down * middle[0] + points.across * middle[1])
        product = np.conj(self._direction) * seen[0] * np.exp(-1j * turn)
        return _within(float(product.sum().real) / self._norm)

    def _best(self, seen: "_Seen", pitches: Floats) -> tuple[float, float]:
        """The largest cosine over all pitches and offsets, and its pitch."""
        points = _points()
        best, where = -1.0, float(pitches[0])
        for start in range(0, len(pitches), _CHUNK):
            chunk = pitches[start : start + _CHUNK]
            product = np.conj(self._direction) * seen.at(chunk)
            # All offsets at once; the transform counts what lies off the axis twice.
            half = np.zeros((len(chunk), PERIOD, PERIOD // 2 + 1), np.complex128)
            half[:, points.down % PERIOD, points.across] = np.where(points.across > 0, 0.5, 1.0) * product
            peaks = np.fft.irfft2(half, (PERIOD, PERIOD)).reshape(len(chunk), -1).max(axis=1) * PERIOD**2
            top = int(peaks.argmax())
            if peaks[top] / self._norm > best:
                best, where = float(peaks[top]) / self._norm, float(chunk[top])
        return _within(best), where

    @property
    def _norm(self) -> float:
        return float(np.linalg.norm(self._direction))


class _Seen:
    """What of a picture the detector looks at: its spectrum about its middle, at any pitch."""

    def __init__(self, plane: Floats) -> None:
        height, width = plane.shape
        flat, _ = masked(plane, 1.0)
        # Twice as fine as the picture tells, so that values in between can be interpolated
        self._sides = tuple(2 ** math.ceil(math.log2(2 * side)) for side in (height, width))
        padded = np.zeros(self._sides)
        padded[:height, :width] = flat
        padded = np.roll(padded, (-(height // 2), -(width // 2)), axis=(0, 1))
        self._spectrum: Complex = np.fft.rfft2(padded)

    def at(self, pitches: Floats | float) -> Complex:
        """Q×n unit vectors, one for each pitch: the spectrum at the lattice's points, large values damped."""
        points, pitch = _points(), np.atleast_1d(np.asarray(pitches, np.float64))[:, None]
        down, across = (k / (PERIOD * pitch) * n for k, n in zip(points, self._sides, strict=True))
        row, column = np.floor(down).astype(np.intp), np.floor(across).astype(np.intp)
        below, right = down - row, across - column
        value = np.zeros(row.shape, np.complex128)
        for i, vertical in enumerate((1 - below, below)):
            for j, horizontal in enumerate((1 - right, right)):
                value += vertical * horizontal * self._spectrum[(row + i) % self._sides[0], column + j]
        size = np.abs(value)
        value = value / (size + np.median(size, axis=1, keepdims=True) + 1e-300)
        return np.asarray(value / (np.linalg.norm(value, axis=1, keepdims=True) + 1e-300))


@lru_cache(maxsize=1)
def _points() -> _Points:
    most = int(PERIOD * BAND[1])
    down, across = np.meshgrid(np.arange(-most, most + 1), np.arange(most + 1), indexing="ij")
    cycles = np.hypot(down, across) / PERIOD
    inside = (cycles >= BAND[0]) & (cycles <= BAND[1]) & ((across > 0) | (down > 0))
    return _Points(down[inside], across[inside])


def _pitches(side: int) -> Floats:
    """Evenly spaced in the logarithm, so near that a picture's edges slip by less than half a period."""
    count = math.ceil(math.log(PITCHES[1] / PITCHES[0]) * side / 1.5)
    return np.geomspace(*PITCHES, count)


def _unit(height: int, width: int) -> float:
    return min(UNIT_MOST, max(1.0, max(height, width) / UNIT_SIDE))


def _size(picture: NDArray[Any]) -> tuple[int, int]:
    if picture.ndim != 3 or min(picture.shape[:2]) < PERIOD:
        raise UsageError(f"a mark needs a picture H×W×C of {PERIOD} pixels a side, not {picture.shape}")
    return picture.shape[0], picture.shape[1]


def _within(cosine: float) -> float:
    return min(1.0, max(-1.0, cosine))
