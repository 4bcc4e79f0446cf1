r"""Tree rings: a keyed pattern in the low frequencies of the noise.

The mark is put into the noise before a picture is made of it, and looked for in the noise that inversion
recovers. Rings around the origin of the Fourier plane are constant and real, so they survive the real part of
the inverse transform, and mirroring and turning of the picture as well.
"""

__all__ = ["RingDetection", "TreeRing"]

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from relume.errors import UsageError
from relume.marks.mark import Detection, Floats, seed_of
from relume.marks.sphere import cap


@dataclass(frozen=True)
class RingDetection(Detection):
    """``distance`` is the mean absolute difference to the key on the disc, in units of the noise's own
    coefficients: 0 for an untouched mark, about 1.3 without one."""

    distance: float


@dataclass(frozen=True, kw_only=True)
class _Disc:
    """Which coefficients of an H×W plane belong to which ring, as flat indices, and how many a ring has."""

    places: NDArray[np.intp]
    ring: NDArray[np.intp]
    counts: Floats


class TreeRing:
    r"""The mark of one key.

    Inside of ``radius`` (in cycles across the picture) the Fourier plane of one channel is divided into
    ``rings`` annuli of equal area. Ring i, of :math:`n_i` coefficients, carries the constant

    .. math:: k_i = g_i \sqrt{\frac{HW}{n_i} \frac{\sum_j n_j}{R}}, \qquad g_i \sim N(0, 1) \text{ by the
    key,}

    which has the energy that the noise had there. Of a noise with coefficients :math:`y` the detector sees
    :math:`s_i = \sum_{ring\ i} \mathrm{Re}\,y / \sqrt{n_i}` and takes the cosine between s and g. Its law
    without a mark is that of a coordinate of a uniform point on the sphere in R dimensions, exactly, for two
    reasons:

    - for white noise of any variance the :math:`s_i` are independent, of one variance, and normal;
    - the key's g has no direction, so even for a picture whose noise is nothing like white, the p-value is
      that of a key drawn at random.

    Arguments:
        key: any text.
        radius: in (1, half of the shorter side).
        rings: R, 3 or more. More rings tell more keys apart, fewer bear more damage.
        channel: the plane of a (…, C, H, W) noise that is marked.

    Raises:
        UsageError: an argument is out of range.

    Source: "Tree-Ring Watermarks: Fingerprints for Diffusion Images that are Invisible and Robust", Wen,
    Kirchenbauer, Geiping, Goldstein, 2023. The equal areas and the exact null distribution are ours.
    """

    medium: ClassVar[Literal["noise", "picture"]] = "noise"

    def __init__(self, key: str, *, radius: float = 10.0, rings: int = 16, channel: int = 0) -> None:
        if not radius > 1.0 or rings < 3:
            raise UsageError(f"radius={radius:g} with rings={rings} is no mark: use above 1, and 3 or more")
        self.radius, self.rings, self.channel = float(radius), rings, channel
        self._direction = np.random.default_rng(seed_of(key)).standard_normal(rings)

    def embed(self, noise: NDArray[Any]) -> NDArray[Any]:
        """The noise (…, C, H, W) with the disc of the marked channel overwritten; a copy, of the same dtype.

        Raises:
            UsageError: the picture is too small for the radius, or has no such channel.
        """
        disc = self._disc(noise)
        spectrum = np.fft.fft2(noise[..., self.channel, :, :].astype(np.float64))
        flat = spectrum.reshape(*spectrum.shape[:-2], -1)
        flat[..., disc.places] = self._pattern(disc, spectrum.shape[-2:])[disc.ring]
        marked = noise.copy()
        marked[..., self.channel, :, :] = np.fft.ifft2(flat.reshape(spectrum.shape)).real
        return marked

    def detect(self, noise: NDArray[Any]) -> RingDetection:
        """How much the marked channel of a (C, H, W) noise, as inversion recovers it, looks like the key.

        Raises:
            UsageError: the noise is not (C, H, W), is too small for the radius, or has no such channel.
        """
        if noise.ndim != 3:
            raise UsageError(f"a mark is looked for in one noise of shape (C, H, W), not {noise.shape}")
        disc = self._disc(noise)
        plane = noise[self.channel].astype(np.float64)
        seen = np.fft.fft2(plane).ravel()[disc.places]
        sums = np.bincount(disc.ring, seen.real, self.rings) / np.sqrt(disc.counts)
        size = float(np.linalg.norm(sums) * np.linalg.norm(self._direction))
        similarity = float(sums @ self._direction) / size if size > 0.0 else 0.0
        similarity = min(1.0, max(-1.0, similarity))
        distance = np.abs(seen - self._pattern(disc, plane.shape)[disc.ring]).mean() / math.sqrt(plane.size)
        return RingDetection(similarity, cap(similarity, self.rings), float(distance))

    def _pattern(self, disc: _Disc, shape: tuple[int, ...]) -> Floats:
        energy = math.prod(shape) * disc.counts.sum() / self.rings
        pattern: Floats = self._direction * np.sqrt(energy / disc.counts)
        return pattern

    def _disc(self, noise: NDArray[Any]) -> _Disc:
        if noise.ndim < 3 or not -noise.shape[-3] <= self.channel < noise.shape[-3]:
            raise UsageError(f"a noise of shape {noise.shape} has no channel {self.channel} in (…, C, H, W)")
        height, width = noise.shape[-2:]
        if not self.radius < min(height, width) / 2:
            raise UsageError(f"a mark of radius {self.radius:g} needs a picture larger than {height}×{width}")
        disc = _disc(height, width, self.radius, self.rings)
        if not disc.counts.all():
            raise UsageError(f"{self.rings} rings are too many for radius {self.radius:g}: use fewer")
        return disc


@lru_cache(maxsize=16)
def _disc(height: int, width: int, radius: float, rings: int) -> _Disc:
    down, across = np.fft.fftfreq(height, 1 / height), np.fft.fftfreq(width, 1 / width)
    share = (down[:, None] ** 2 + across[None, :] ** 2).ravel() / radius**2
    places = np.flatnonzero(share < 1.0)
    ring = (share[places] * rings).astype(np.intp)
    return _Disc(places=places, ring=ring, counts=np.bincount(ring, minlength=rings).astype(np.float64))
