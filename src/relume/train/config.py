r"""Frozen recipes: everything that decides what a training run computes."""

__all__ = ["OPTIMIZERS", "TRAINABLE", "Optimizer", "TrainConfig"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from relume.errors import UsageError

Optimizer = Literal["adamw", "muon"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)


@dataclass(frozen=True)
class TrainConfig:
    """One net, its data, its objective and its optimiser.

    ``source`` says what batches are made of (:mod:`relume.train.sources`). ``config`` holds the settings of
    the net, ``settings`` those of the objective; what is left out of them is as the net and the objective
    have it.

    The learning rate rises over ``warmup`` steps, stays, and falls linearly to zero over the last ``decay``
    share of ``steps``: a run can be prolonged from any checkpoint before the fall. ``optimizer`` is ``adamw``
    or ``muon`` (:class:`relume.train.muon.Muon`), whose learning rates are alike.

    Raises
    ------
    UsageError
        If there is no such optimiser.
    """

    net: str
    config: Mapping[str, Any]
    objective: str
    pair: str
    size: int
    batch: int
    steps: int
    lr: float
    warmup: int = 300
    decay: float = 0.3
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    exclude: tuple[str, ...] = ()
    betas: tuple[float, float] = field(default=(0.9, 0.99))
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = "photos"
    optimizer: Optimizer = "adamw"

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(f"optimizer is {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")

    def rate(self, step: int) -> float:
        """The learning rate at ``step`` (0-based)."""
        falling = self.steps * (1 - self.decay)
        left = 1.0 if step < falling else max(0.0, (self.steps - step) / max(1.0, self.steps - falling))
        return self.lr * min(1.0, (step + 1) / max(1, self.warmup)) * left


_BACKGROUND = {
    "channels": 4,
    "widths": (32, 64, 128, 192, 256),
    "uncertain": True,
    "blocks": 2,
    "attention": 2,
}
_XRAY = TrainConfig(
    net="background",
    config={**_BACKGROUND, "finer": 24},
    objective="background",
    source="micrographs",
    pair="simulated",
    size=128,
    batch=16,
    steps=14_000,
    lr=1.5e-3,
    warmup=400,
    decay=0.5,
    ema=0.998,
    settings={"fourier": 10.0, "gan": 0.002, "join": 11_900},
)

_LIGHT = TrainConfig(
    net="shading",
    config={},
    objective="shading",
    pair="shading",
    size=64,
    batch=32,
    steps=10_000,
    lr=1.5e-3,
    decay=0.7,
    ema=0.998,
)

TRAINABLE: Mapping[str, TrainConfig] = {
    "photo": TrainConfig(
        net="restorer",
        config={"middle": 8},
        objective="restore",
        pair="photo",
        size=112,
        batch=16,
        steps=20_000,
        lr=2.5e-3,
    ),
    "photo-tone": TrainConfig(
        net="tone",
        config={"channels": (32, 64, 128), "points": True},
        objective="tone",
        pair="tone",
        size=64,
        batch=32,
        steps=20_000,
        lr=1e-3,
    ),
    "photo-uneven": replace(_LIGHT, pair="uneven", steps=2_000),  # a start for the next
    "photo-shading": _LIGHT,
    # The original system: a conditional U-Net, ε-prediction, 300 steps.
    "ddpm": TrainConfig(
        net="unet", config={}, objective="epsilon", pair="damaged", size=64, batch=16, steps=20_000, lr=2e-4
    ),
    # Its first stage: the same net without a condition.
    "generator": TrainConfig(
        net="unet",
        config={"conditional": False},
        objective="epsilon",
        pair="generation",
        size=64,
        batch=16,
        steps=20_000,
        lr=2e-4,
    ),
    # Latent translation: an autoencoder of clean pictures, one of damaged and of genuine old ones, and what
    # leads from the second's latent to the first's.
    "latent-clean": TrainConfig(
        net="autoencoder",
        config={},
        objective="autoencode",
        settings={"of": "clean", "cycle": 0.1},
        pair="photo",
        size=64,
        batch=16,
        steps=20_000,
        lr=3e-3,
        warmup=100,
    ),
    "latent-old": TrainConfig(
        net="autoencoder",
        config={"judge": (48,)},
        objective="autoencode",
        settings={"of": "damaged", "adversarial": 0.03, "prior": 1e-2},
        pair="photo",
        size=64,
        batch=16,
        steps=20_000,
        lr=1e-3,
        warmup=100,
    ),
    "latent-map": TrainConfig(
        net="translator",
        config={},
        objective="translate",
        pair="photo",
        size=64,
        batch=16,
        steps=20_000,
        lr=2e-3,
        warmup=100,
    ),
    # The background of X-ray images: pix2pix, with a Fourier loss and a judge that joins late. The first, on
    # a grid of half the size, is a start for the second.
    "xray-coarse": replace(_XRAY, config=_BACKGROUND, size=64),
    "xray": _XRAY,
    # The same for one instrument: a short run on its own references, from the net above.
    "xray-references": replace(
        _XRAY, source="references", steps=400, lr=3e-4, warmup=50, decay=0.7, ema=0.98, settings={}
    ),
}
