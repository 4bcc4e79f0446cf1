r"""Simulated exposures with their truth: single images of a session, its flats, its darks."""

__all__ = ["SHOTS", "TRAIN", "VALIDATION", "TEST", "Scene", "Shot", "Simulator"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relume.degrade.phantoms import KINDS, Phantom, draw_kind, phantom

from .arrays import Array, onto
from .drift import drift, stale
from .formation import Optics, content_gain, expose, intensity, optics, transmission
from .session import Illumination, Session, session
from .streams import stream

SHOTS = 20  # single images of one session
# Seeds of sessions. Splits are by session, so that no instrument is on both sides.
TRAIN, VALIDATION, TEST = range(100_000), range(100_000, 100_200), range(200_000, 200_500)
_MARGIN = 2.5  # σ of the low-pass around a tile, so that its periodic border stays outside
Field = npt.NDArray[np.float64]


class Scene(NamedTuple):
    """What stands before the light: A and φ (n+2m, n+2m) with a margin of m pixels, and the optics."""

    absorption: npt.NDArray[np.float32]
    phase: npt.NDArray[np.float32]
    margin: int
    optics: Optics
    kind: str


@dataclass(frozen=True)
class Shot:
    """One exposure and its truth, all (n,n).

    ``raw`` are counts (uint16); ``background`` has median 1; ``clean`` is the transmission T; ``vignette`` is
    V, below 0.97 where the corners are dark; ``gain`` is what multiplies all of it (drift and content);
    ``dark`` is the detector's offset in counts.
    """

    raw: npt.NDArray[np.uint16]
    background: Field
    clean: Field
    vignette: Field
    gain: float
    dark: float
    scene: Scene
    session: Session


class Simulator:
    """A session's instrument, and what can be photographed with it.

    Everything follows from the seed: the same seed and index give the same exposure, and another sample or
    another noise leaves the rest as it is.

    Args:
        seed: of the session.
        n: pixels along a side.
        instrument: the seed whose fixed map is used, to meet a known instrument on another day.
        moments: how many exposures the drift covers.
        kinds: the samples that may occur.
        zernike: phase contrast or absorption; ``None``: half of each.
    """

    def __init__(
        self,
        seed: int,
        n: int = 512,
        *,
        instrument: int | None = None,
        moments: int = SHOTS,
        kinds: Sequence[str] = tuple(KINDS),
        zernike: bool | None = None,
    ) -> None:
        self.seed, self.n, self.kinds, self.zernike = seed, n, tuple(kinds), zernike
        self.session = session(seed, n, instrument=instrument)
        self.drift = drift(moments, stream(seed, "drift"))

    @cached_property
    def light(self) -> Illumination:
        """The session's illumination, painted once."""
        return Illumination(self.session)

    def scene(self, index: int) -> Scene:
        """The sample of single image ``index``, on a canvas of one tile."""
        rng = stream(self.seed, "sample", index)
        how = optics(rng, zernike=self.zernike)
        sample = phantom(draw_kind(rng, self.kinds), (self.n, self.n), self.n / 2, rng)
        return window(sample, how, (0.0, 0.0), self.n)

    def shot(self, index: int, *, scene: Scene | None = None) -> Shot:
        """Single image ``index``; with ``scene``, of another sample in the same light and noise."""
        return self.exposed(self.scene(index) if scene is None else scene, index)

    def exposed(self, scene: Scene, index: int) -> Shot:
        """One exposure at moment ``index``."""
        moment = self.drift.at(index)
        background = self.light(moment)[0]
        clean = develop(scene, self.n)
        gain = float(np.exp(moment.modes[0, 0]) * content_gain(clean, scene.optics).item())
        detector = self.session.detector
        light = intensity(clean, background, gain, detector.glare)
        raw = expose(light, self.session.flux, detector, stream(self.seed, "noise", index))
        return Shot(raw, background, clean, self.light.vignette, gain, detector.dark, scene, self.session)

    def flat(
        self, index: int, *, exposures: int = 1, shape_drift: float = 0.0, draw: int = 0
    ) -> npt.NDArray[np.float64]:
        """The mean of some exposures of the empty field (n,n), in counts with the offset in them.

        Args:
            index: the moment at which they are taken.
            exposures: how many.
            shape_drift: the rms of log intensity by which the light has another shape: a flat of another day.
            draw: another number gives other noise and another shape.
        """
        rng = stream(self.seed, "flat", 1000 * draw + index)
        moment = self.drift.at(index)
        if shape_drift:
            moment = stale(moment, shape_drift, rng)
        light = intensity(np.ones((self.n, self.n)), self.light(moment)[0], 1.0, self.session.detector.glare)
        shots = (expose(light, self.session.flux, self.session.detector, rng) for _ in range(exposures))
        return np.mean([shot.astype(np.float64) for shot in shots], axis=0)  # type: ignore[no-any-return]


def window(sample: Phantom, how: Optics, corner: tuple[float, float], n: int) -> Scene:
    """A tile of n×n pixels whose upper left corner lies at ``corner`` (y, x) on the sample's canvas."""
    margin = int(np.ceil(_MARGIN * how.sigma * n / 512)) if how.zernike else 4
    steps = np.arange(-margin, n + margin) + 0.5
    t = sample.thickness(*((edge + steps).astype(np.float32) for edge in corner))
    return Scene(sample.absorption * t, -sample.phase * t, margin, how, sample.kind)


def develop(scene: Scene, n: int, like: Array | None = None) -> Array:
    """The transmission (n,n) of a scene, as the kind of array that ``like`` is."""
    like = np.zeros(1) if like is None else like
    t = transmission(onto(scene.absorption, like), onto(scene.phase, like), scene.optics, n)
    return t[scene.margin : scene.margin + n, scene.margin : scene.margin + n]
