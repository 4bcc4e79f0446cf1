r"""The light of one instrument on one day.

.. math:: B_i(r) = V(r)\, e^{F(r + p_i) + b_i(r) + d_i(r)}, \qquad \operatorname{median}(B_i) = 1

:math:`F` is fixed to the instrument (:mod:`.patterns`), :math:`b` is the lobe of the condenser with tilt,
ring and low Zernike orders, :math:`V` the vignette of the zone plate and :math:`d_i` the drift of exposure i.
Ranges follow empty fields measured at two transmission X-ray microscopes.

"""

__all__ = ["Detector", "Illumination", "Session", "session"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Array, axes, median, onto, shifted, space
from .drift import Drift, polynomial
from .patterns import PATTERNS
from .streams import log_uniform, stream


@dataclass(frozen=True)
class Detector:
    """Counts = ``dark`` + ``gain`` × quanta, with read noise ``read`` in counts.

    ``glare`` is the share of the mean that is spread over the frame, ``hot`` the share of bright pixels.
    ``known`` says whether a user would have measured the dark level.
    """

    dark: float
    gain: float
    read: float
    glare: float
    hot: float
    known: bool


@dataclass(frozen=True)
class Session:
    """Everything that is drawn once: the numbers behind a fixed map, a lamp and a detector."""

    n: int
    patterns: dict[str, Any]
    lamp: dict[str, Any]
    detector: Detector
    flux: float


def session(seed: int, n: int = 512, *, instrument: int | None = None) -> Session:
    """Draws a session.

    Args:
        seed: of the session.
        n: pixels along a side of a tile.
        instrument: the seed of the session whose fixed map is used; ``None``: its own.
    """
    fixed = stream(seed if instrument is None else instrument, "instrument")
    patterns = {name: pattern.sample(n, fixed) for name, pattern in PATTERNS.items()}
    rng = stream(seed, "session")
    detector = Detector(
        dark=rng.uniform(0, 2000),
        gain=rng.uniform(1.2, 2.2),
        read=rng.uniform(8, 25),
        glare=rng.uniform(0.03, 0.08),
        hot=log_uniform(rng, 2e-5, 2e-4),
        known=bool(rng.random() < 0.5),
    )
    return Session(n, patterns, _lamp(rng), detector, flux=log_uniform(rng, 300, 15_000))


def _lamp(rng: np.random.Generator) -> dict[str, Any]:
    strong = 2.0 if rng.random() < 0.1 else 1.0
    return {
        "lobe": strong * rng.uniform(0.2, 0.65),
        "centre": rng.normal(0, 0.25, 2),
        "width": rng.uniform(0.45, 1.1, 2),
        "tilt": strong * rng.uniform(0.02, 0.20),
        "towards": rng.uniform(0, 2 * np.pi),
        "ring": rng.uniform(-0.05, 0.10),
        "ring_centre": rng.normal(0, 0.15, 2),
        "ring_radius": rng.uniform(0.6, 1.1),
        "ring_width": rng.uniform(0.06, 0.20),
        "ring_azimuth": rng.uniform(0, 2 * np.pi),
        "zernike": rng.standard_normal(8) * 0.04 / (1 + np.arange(8) / 2),
        "vignette_centre": rng.normal(0, 0.05, 2),
        "vignette_radius": rng.uniform(1.27, 1.42),
        "vignette_edge": rng.uniform(2, 5),
    }


class Illumination:
    """A session painted on arrays of one kind: ``light(drift)`` gives backgrounds.

    Args:
        session: what was drawn.
        like: an array whose kind, type and device the fields have. numpy float64 is the reference.
    """

    def __init__(self, session: Session, like: Array | None = None) -> None:
        self.session = session
        self.like = np.zeros(1) if like is None else like
        n = session.n
        maps = [PATTERNS[name].paint(draw, n, self.like) for name, draw in session.patterns.items()]
        self.fixed: Array = sum(maps[1:], maps[0])
        self.vignette = _vignette(session.lamp, n, self.like)
        self._slow = _slow(session.lamp, n, self.like)

    def __call__(self, drift: Drift) -> Array:
        """Backgrounds (N,n,n) of median 1. The gain of the drift is no part of them."""
        n, lamp, xp = self.session.n, self.session.lamp, space(self.like)
        y, x = axes(n, self.like)
        centre = onto(drift.wander + lamp["centre"], self.like)[:, :, None, None]
        width = onto(lamp["width"], self.like)
        lobe = lamp["lobe"] * xp.exp(
            -(((x - centre[:, 1]) / width[1]) ** 2) - ((y - centre[:, 0]) / width[0]) ** 2
        )
        fixed = shifted(self.fixed, onto(drift.shift * n / 512, self.like))
        light = self.vignette * xp.exp(fixed + self._slow + lobe + polynomial(drift.modes, n, self.like))
        return light / median(light)


def _vignette(lamp: dict[str, Any], n: int, like: Array) -> Array:
    xp, (y, x) = space(like), axes(n, like)
    radius = xp.sqrt((x - lamp["vignette_centre"][1]) ** 2 + (y - lamp["vignette_centre"][0]) ** 2)
    edge = lamp["vignette_edge"] * 2 / 512
    return 0.05 + 0.95 / (1 + xp.exp(((radius - lamp["vignette_radius"]) / edge).clip(-40, 40)))


def _slow(lamp: dict[str, Any], n: int, like: Array) -> Array:
    """Tilt, ring and Zernike polynomials: what of the light does not move."""
    xp, (y, x) = space(like), axes(n, like)
    tilt = lamp["tilt"] * (x * float(np.cos(lamp["towards"])) + y * float(np.sin(lamp["towards"])))
    v, u = y - lamp["ring_centre"][0], x - lamp["ring_centre"][1]
    r = xp.sqrt(u**2 + v**2) + 1e-9
    # cos(az − az0) without the angle itself, which has no value in the centre
    facing = (u * float(np.cos(lamp["ring_azimuth"])) + v * float(np.sin(lamp["ring_azimuth"]))) / r
    ring = lamp["ring"] * xp.exp(-(((r - lamp["ring_radius"]) / lamp["ring_width"]) ** 2)) * (1 + facing) / 2
    return tilt + ring + _zernike(lamp["zernike"], y, x)


def _zernike(weights: npt.NDArray[np.float64], y: Array, x: Array) -> Array:
    """Defocus, astigmatism, coma, trefoil and spherical on the disc around the tile, each of variance 1."""
    y, x = y / 2**0.5, x / 2**0.5
    p = x**2 + y**2
    terms = (
        3**0.5 * (2 * p - 1),
        6**0.5 * (x**2 - y**2),
        6**0.5 * 2 * x * y,
        8**0.5 * (3 * p - 2) * x,
        8**0.5 * (3 * p - 2) * y,
        8**0.5 * (x**2 - 3 * y**2) * x,
        8**0.5 * (3 * x**2 - y**2) * y,
        5**0.5 * (6 * p**2 - 6 * p + 1),
    )
    field: Array = sum(float(weight) * term for weight, term in zip(weights, terms, strict=True))
    return field
