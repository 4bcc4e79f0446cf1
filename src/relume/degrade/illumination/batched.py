r"""The simulator on torch tensors: batches of one session for training, made on the device."""

__all__ = ["Batch", "BatchSimulator", "expose_batch"]

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .arrays import blur, onto
from .formation import SPREAD, TOP, content_gain, intensity
from .session import Detector, Illumination
from .shots import Simulator, develop


class Batch(NamedTuple):
    """Exposures (B,n,n) in float32: counts, background of median 1, transmission; and gain (B,)."""

    raw: Tensor
    background: Tensor
    clean: Tensor
    gain: Tensor


class BatchSimulator:
    """A session's light painted on a device; backgrounds and images agree with numpy's to 1e-4.

    Drawing stays with numpy, so that both see the same session; only the noise is the device's own.

    Args:
        simulator: the session.
        device: where the tensors live.
    """

    def __init__(self, simulator: Simulator, device: str | torch.device = "cpu") -> None:
        self.simulator = simulator
        self.like = torch.zeros(1, device=device)
        self.light = Illumination(simulator.session, self.like)

    def noiseless(self, indices: Sequence[int]) -> Batch:
        """Single images before the camera; ``raw`` is then the light, 1 at the median of the empty field."""
        s = self.simulator
        moments = type(s.drift)(*(part[list(indices)] for part in s.drift))
        scenes = [s.scene(index) for index in indices]
        clean = torch.stack([develop(scene, s.n, self.like) for scene in scenes])
        gain = (
            torch.stack([content_gain(t, scene.optics) for t, scene in zip(clean, scenes, strict=True)])
            * onto(moments.modes[:, :1, None], self.like).exp()
        )
        background = self.light(moments)
        light = intensity(clean, background, gain, s.session.detector.glare)
        return Batch(light, background, clean, gain[:, 0, 0])

    def shots(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Single images in counts, whole numbers from 0 to 65535."""
        batch = self.noiseless(indices)
        session = self.simulator.session
        return batch._replace(raw=expose_batch(batch.raw, session.flux, session.detector, generator))


def expose_batch(light: Tensor, flux: float, detector: Detector, generator: torch.Generator) -> Tensor:
    """:func:`.formation.expose` for a batch (B,n,n), with the same statistics and other random numbers."""

    def random(draw: str) -> Tensor:
        empty = torch.empty_like(light)
        drawn: Tensor = getattr(empty, draw)(generator=generator)
        return drawn

    quanta = torch.poisson(flux * light.clamp(min=0), generator=generator)
    counts = detector.dark + detector.gain * blur(quanta, SPREAD * light.shape[-1] / 512)
    counts = counts + detector.read * random("normal_")
    hot = random("uniform_") < detector.hot
    counts = counts + hot * random("exponential_") * (detector.gain * flux)
    return counts.round().clamp(0, TOP)
