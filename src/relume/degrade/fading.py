r"""Fading: saturation lost, a sepia cast, contrast lowered, the paper yellowed."""

__all__ = ["Fading", "SEPIA", "LUMA"]

from collections.abc import Mapping

import numpy as np

from relume.degrade.degradation import Array, Degradation, Draw, scalar

# The common sepia matrix and the Rec. 601 luma weights; rows give the output channels.
SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
LUMA = np.array([0.299, 0.587, 0.114])


class Fading(Degradation):
    r"""Colours and contrast that time took.

    .. math:: y = \operatorname{clip}(g\,(M x - \tfrac12) + \tfrac12 + o)^{\gamma}

    :math:`M` mixes saturation loss and sepia, :math:`g` is the contrast left, :math:`o` a lift per channel
    (blacks turn grey, paper turns yellow). One-channel pictures keep to :math:`g, o, \gamma`.

    Source: the degradation pipeline of Wan et al., *Bringing Old Photos Back to Life*, 2020, in its parameter
    ranges.
    """

    name = "fading"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        s = min(self.severity, 2.0)
        keep = 1 - s * rng.uniform(0.1, 0.8) if s <= 1 else max(0.0, 1 - s * rng.uniform(0.2, 0.8))
        saturation = keep * np.eye(3) + (1 - keep) * np.outer(np.ones(3), LUMA)
        sepia = min(1.0, s * rng.uniform(0, 1)) if rng.random() < 0.6 else 0.0
        # The classical matrix brightens; scaled to leave white where the lift will put it.
        matrix = (1 - sepia) * np.eye(3) + sepia * SEPIA / SEPIA.sum(axis=1).max() * rng.uniform(0.9, 1.15)
        # Squared: the black and white points of genuine prints are mostly near those of good ones.
        gain = 1 - s * 0.5 * rng.random() ** 2
        cast = s * np.array([rng.uniform(-0.02, 0.06), 0.0, rng.uniform(-0.06, 0.02)])
        lift = s * (0.2 * rng.random() ** 2 - 0.06) + cast
        return {
            "matrix": (matrix @ saturation).astype(np.float32),
            "gain": scalar(gain),
            "lift": np.asarray(lift if shape[0] == 3 else lift[1:2], dtype=np.float32)[:, None, None],
            "gamma": scalar(float(np.exp(s * rng.normal(0, 0.18)))),
        }

    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        b, c, h, w = picture.shape
        mixed = (draw["matrix"] @ picture.reshape(b, c, h * w)).reshape(b, c, h, w) if c == 3 else picture
        return ((mixed - 0.5) * draw["gain"] + 0.5 + draw["lift"]).clip(1e-6, 1) ** draw["gamma"]
