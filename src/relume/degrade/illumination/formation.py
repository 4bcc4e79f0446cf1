r"""From a sample to counts: optics, content gain, glare, photon noise, camera.

.. math::
    u &= e^{-A/2 + i\varphi}, \qquad \varphi = -\phi\,t \\
    T &= |u|^2 \quad\text{(absorption)}, \qquad
    T = \frac{|u + (a e^{i\psi} - 1)(K_s * u)|^2}{a^2} \quad\text{(Zernike)} \\
    T &\leftarrow G * (1 + m\,(T - 1)), \qquad I = g\,B\,T + s\,\overline{gBT}

A transmission may exceed 1: Zernike fringes do. Nothing is clipped before the camera saturates.

Sources: Zernike, *Phase contrast, a new method for the microscopic observation of transparent objects*, 1942;
Goodman, *Introduction to Fourier Optics*, 1968.
"""

__all__ = ["Optics", "optics", "transmission", "content_gain", "expose", "intensity"]

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .arrays import Array, blur, space
from .session import Detector

RESOLUTION = 0.87  # σ in pixels at 512 a tile: 60 nm full width at 29.3 nm a pixel
SPREAD = 0.45  # σ of the scintillator's spread of one quantum's light
TOP = 65535


class Optics(NamedTuple):
    """How one exposure was made.

    ``zernike`` tells phase contrast from absorption; ``psi`` is the ring's phase (±π/2), ``a`` its amplitude,
    ``sigma`` the width of the low-pass that meets it (pixels at 512 a tile), ``coherence`` is m. ``kappa``
    and ``jitter`` make the gain that depends on how full the tile is.
    """

    zernike: bool
    psi: float
    a: float
    sigma: float
    coherence: float
    kappa: float
    jitter: float


def optics(rng: np.random.Generator, *, zernike: bool | None = None) -> Optics:
    """Draws one; half of them Zernike unless it is said."""
    phase = bool(rng.random() < 0.5) if zernike is None else zernike
    psi, a = float(rng.choice([-1, 1])) * np.pi / 2, rng.uniform(0.4, 1.0)
    sigma, coherence = rng.uniform(18, 60), rng.uniform(0.3, 0.8)
    kappa, jitter = rng.uniform(0, 1), float(np.exp(rng.normal(0, 0.02)))
    return Optics(phase, psi, a, sigma, coherence, 0.4 + 0.5 * kappa if phase else 0.15 * kappa, jitter)


def transmission(absorption: Array, phase: Array, how: Optics, n: int) -> Array:
    """Optical depth A and phase φ (..., H, W) → transmission T, for a tile of n pixels.

    The borders are taken as periodic; hand in a margin of 2.5 σ of the low-pass and cut it off afterwards.
    """
    xp, unit = space(absorption), n / 512
    if not how.zernike:
        t = xp.exp(-absorption)
    else:
        size = xp.exp(-absorption / 2)
        re, im = size * xp.cos(phase), size * xp.sin(phase)
        low_re, low_im = blur(re, how.sigma * unit), blur(im, how.sigma * unit)
        c, s = how.a * float(np.cos(how.psi)) - 1, how.a * float(np.sin(how.psi))
        t = ((re + c * low_re - s * low_im) ** 2 + (im + c * low_im + s * low_re) ** 2) / how.a**2
        t = 1 + how.coherence * (t - 1)
    return blur(t, RESOLUTION * unit)


def content_gain(t: Array, how: Optics) -> Array:
    """The factor (..., 1, 1) by which a tile is brighter for what it holds: mean(T)^κ times a jitter."""
    mean = t.mean(-1).mean(-1)[..., None, None]
    return mean**how.kappa * how.jitter


def intensity(t: Array, background: Array, gain: Array | float, glare: float) -> Array:
    """g B T (..., n, n) and the glare that it spreads over the frame; 1 is the median of the empty field."""
    light = gain * background * t
    return light + glare * light.mean(-1).mean(-1)[..., None, None]


def expose(
    light: npt.NDArray[np.floating], flux: float, detector: Detector, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    """One exposure (n,n) in counts: Poisson quanta, spread, gain, offset, read noise, hot pixels, 16 bits.

    ``flux`` is the number of quanta a pixel where the light is 1.
    """
    n = light.shape[-1]
    quanta = blur(rng.poisson(flux * np.maximum(light, 0)).astype(np.float64), SPREAD * n / 512)
    counts = detector.dark + detector.gain * quanta + rng.normal(0, detector.read, light.shape)
    hot = rng.random(light.shape) < detector.hot
    counts[hot] += rng.exponential(detector.gain * flux, int(hot.sum()))
    return np.asarray(np.clip(np.rint(counts), 0, TOP), np.uint16)
