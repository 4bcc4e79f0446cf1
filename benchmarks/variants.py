"""The variants of the study: each is the recipe of the photo restorer with one thing changed."""

from dataclasses import dataclass, replace
from pathlib import Path

from relume.nets import RestorerConfig
from relume.train import TRAINABLE, TrainConfig

DEFAULT = "default"


@dataclass(frozen=True)
class Variant:
    """What is trained: a recipe for any budget, and the variant that has to be finished before."""

    title: str
    recipe: TrainConfig
    teacher: str | None = None

    def config(self, runs: Path, *, samples: int, seed: int, half: bool = False) -> TrainConfig:
        """The recipe for so many samples; the last batch is whole, so at most one batch more are seen.

        With ``half`` local nets have half of their channels: for the same time three times the samples.
        """
        steps = max(1, -(-samples // self.recipe.batch))
        config = replace(self.recipe, steps=steps, warmup=min(self.recipe.warmup, steps // 10), seed=seed)
        if half:
            config = replace(config, config=_halved(config))
        if self.teacher is None:
            return config
        return replace(config, settings={**config.settings, "teacher": str(checkpoint(runs, self.teacher))})


def checkpoint(runs: Path, name: str) -> Path:
    return runs / name / "checkpoint.safetensors"


PHOTO = replace(TRAINABLE["photo"], config={}, size=64)
# The founding U-Net at half its width, so that one evaluation costs about as much as one of the restorer.
DDPM = replace(TRAINABLE["ddpm"], config={"base": 16}, pair=PHOTO.pair, size=PHOTO.size)
UNET = replace(DDPM, objective="restore", lr=1e-3)  # the founding net, asked what the restorer is asked


def _halved(recipe: TrainConfig) -> dict[str, object]:
    if recipe.net == "restorer":
        widths = recipe.config.get("widths", RestorerConfig.widths)
        return {**recipe.config, "widths": tuple(width // 2 for width in widths)}
    if recipe.net == "unet":
        return {**recipe.config, "base": recipe.config["base"] // 2}
    return dict(recipe.config)


def _asked(title: str, recipe: TrainConfig = PHOTO, **settings: float | str | bool) -> Variant:
    return Variant(title, replace(recipe, settings=settings))


def _built(title: str, **config: object) -> Variant:
    return Variant(title, replace(PHOTO, config=config))


VARIANTS: dict[str, Variant] = {
    DEFAULT: Variant("log-MSE and gradient, residual, κ = 0.25, chain 0.3, NAF", PHOTO),
    # The founding net: noise prediction, plain regression, the few-step restorer.
    "ddpm": Variant("U-Net, noise prediction, 300 steps, rate 2e-4", DDPM),
    "ddpm-fast": Variant("U-Net, noise prediction, rate 1e-3", replace(DDPM, lr=1e-3)),
    "ddpm-v": _asked("U-Net, velocity prediction", DDPM, predicts="v"),
    "unet-regression": _asked("U-Net, plain one-step regression", UNET, chain=0.0),
    "unet-few-step": Variant("U-Net, few-step restorer", UNET),
    # The process.
    "regression": _asked("plain one-step regression", chain=0.0),
    "chain-alone": _asked("every sample on the chain, its start with noise", chain=1.0),
    "kappa-0": _asked("κ = 0, a straight line", kappa=0.0),
    "kappa-1": _asked("κ = 1", kappa=1.0),
    "from-noise": _asked("the chain starts at noise round a grey", start="noise"),
    "predicts-clean": _asked("predicts the clean picture", predicts="clean"),
    "predicts-velocity": _asked("predicts the velocity", predicts="velocity"),
    "no-mask": _asked("no mask as input", mask_input=False),
    "distilled": Variant(
        "one step, taught by four of the default",
        replace(PHOTO, objective="distil", lr=PHOTO.lr / 2),
        teacher=DEFAULT,
    ),
    # The loss.
    "l1": _asked("L1 alone", l1=1.0, log_mse=0.0, gradient=0.0),
    "log-mse": _asked("log-MSE alone", gradient=0.0),
    "fourier": _asked("log-MSE, gradient and 0.05 Fourier", fourier=0.05),
    # The net, the rate and the crops.
    "conv": _built("convolution blocks instead of NAF", block="conv"),
    "half-width": _built("half the width", widths=(16, 32, 64, 128)),
    "deep": _built("eight blocks in the middle instead of four", middle=8),
    "slow": Variant("a quarter of the learning rate", replace(PHOTO, lr=PHOTO.lr / 4)),
    "fast": Variant("twice the learning rate", replace(PHOTO, lr=PHOTO.lr * 2)),
    "muon": Variant("Muon instead of AdamW", replace(PHOTO, optimizer="muon")),
    "muon-clean": Variant(
        "Muon, predicts the clean picture",
        replace(PHOTO, optimizer="muon", settings={"predicts": "clean"}),
    ),
    "crops-96": Variant("crops of 96 pixels", replace(PHOTO, size=96)),
    "crops-128": Variant("crops of 128 pixels", replace(PHOTO, size=128)),
    # Tone.
    "no-split": Variant("one net for tone and structure", replace(PHOTO, pair="damaged")),
    "tone": Variant("the tone net, before the default", TRAINABLE["photo-tone"]),
}
