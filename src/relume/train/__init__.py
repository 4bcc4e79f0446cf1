r"""Learning: pairs made on the fly, losses, one loop, a frozen recipe per net.

>>> sorted(TRAINABLE)
['ddpm', 'generator', 'latent-clean', 'latent-map', 'latent-old', 'photo', 'photo-tone']
"""

__all__ = ["TRAINABLE", "Run", "TrainConfig", "train"]

from relume.train.config import TRAINABLE, TrainConfig
from relume.train.loop import Run, train
