r"""A look at a net in training: figures and a grid of pictures, on held-out photographs with fixed damage."""

__all__ = ["validate"]

from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor

from relume.bench.quality import psnr, ssim
from relume.nets import build
from relume.train.config import TrainConfig
from relume.train.objectives import objective
from relume.train.pairs import Batches
from relume.train.photos import Photos

_COUNT = 16


def validate(config: TrainConfig, average: dict[str, Tensor], held: Photos, grid: Path) -> dict[str, float]:
    """Mean PSNR and SSIM of damaged and restored pictures; writes ``grid`` (damaged, restored, clean)."""
    net = build(config.net, config.config)
    net.load_state_dict({name: value.cpu() for name, value in average.items()})
    net.eval()
    data = Batches(held, pair=config.pair, size=config.size, batch=_COUNT, seed=10_000 + config.seed)
    batch = data[0]
    clean, damaged = batch["clean"], batch["damaged"]
    with torch.inference_mode():
        restored = objective(config.objective, config.settings).answer(net, damaged)
    restored = restored.clamp(0, 1)
    _grid([damaged, restored, clean], grid)
    if config.pair == "generation":  # there is no truth to compare with
        return {}
    pairs = [
        (a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy(), c.permute(1, 2, 0).numpy())
        for a, b, c in zip(damaged, restored, clean, strict=True)
    ]
    return {
        "held_out_psnr_damaged": float(np.mean([min(psnr(a, c), 60.0) for a, _, c in pairs])),
        "held_out_psnr": float(np.mean([min(psnr(b, c), 60.0) for _, b, c in pairs])),
        "held_out_ssim_damaged": float(np.mean([ssim(a, c) for a, _, c in pairs])),
        "held_out_ssim": float(np.mean([ssim(b, c) for _, b, c in pairs])),
    }


def _grid(rows: list[Tensor], path: Path) -> None:
    strips = [torch.cat(list(row), dim=2) for row in rows]
    levels = (torch.cat(strips, dim=1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(levels).save(path)
