r"""Learning: pairs made on the fly, losses, one loop, a frozen recipe per net.

>>> [name for name in sorted(TRAINABLE) if not name.startswith("latent")]  # doctest: +NORMALIZE_WHITESPACE
['ddpm', 'generator', 'photo', 'photo-shading', 'photo-tone', 'photo-uneven', 'xray', 'xray-coarse',
 'xray-references']
"""

__all__ = ["TRAINABLE", "Run", "TrainConfig", "train"]

from relume.train.config import TRAINABLE, TrainConfig
from relume.train.loop import Run, train
