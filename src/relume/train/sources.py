r"""Where batches come from, and what a run is looked at by: one source a kind of data.

A source is made once a run; :meth:`Source.batches` gives a data set whose item ``step`` is that step's batch,
:meth:`Source.look` judges the averaged net on what is held out.
"""

__all__ = ["SOURCES", "Report", "Source"]

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image as PilImage
from safetensors.torch import save_file
from torch import Tensor

from relume.degrade.illumination import VALIDATION
from relume.errors import TrainingError
from relume.nets import build
from relume.train.config import TrainConfig
from relume.train.micrographs import Lights, Micrographs
from relume.train.objectives import objective
from relume.train.pairs import Batches
from relume.train.photos import Photos, find_photos, split_photos
from relume.train.references import INSTRUMENT, read_references
from relume.train.validate import validate

Report = Callable[[str], None]
_LOOKS = 48


class Source(Protocol):
    """One run's data."""

    def batches(self, process: int) -> Any:
        """A map-style data set: step → batch, for one of several processes."""

    def look(self, average: Mapping[str, Tensor], grid: Path) -> dict[str, float]:
        """Figures on what is held out, and a picture of it in the file ``grid``."""


class _Photographs:
    """Photographs of a folder, damaged on the fly; genuine old ones beside them, if there are any."""

    def __init__(
        self, config: TrainConfig, data: Path | None, old: Path | None, out: Path, report: Report
    ) -> None:
        if data is None:
            raise TrainingError("there is nothing to learn from: name a folder of photographs (--data)")
        self.config = config
        training, held_out = split_photos(find_photos(data, exclude=config.exclude))
        self.training, self.held = (self._opened(files, report) for files in (training, held_out))
        self.old = self._opened(find_photos(old), report) if old is not None else None
        if not len(self.training):
            raise TrainingError(f"no photograph in {data} can be read: name another folder")
        report(f"{len(self.training)} photographs to learn from, {len(self.held)} held out")

    def _opened(self, files: list[Path], report: Report) -> Photos:
        photos = Photos(files, side=max(192, self.config.size))
        if photos.unreadable:
            report(f"left out {len(photos.unreadable)} unreadable files, as {photos.unreadable[0]}")
        return photos

    def batches(self, process: int) -> Batches:
        c = self.config
        return Batches(
            self.training,
            pair=c.pair,
            size=c.size,
            batch=c.batch,
            seed=c.seed,
            process=process,
            old=self.old,
        )

    def look(self, average: Mapping[str, Tensor], grid: Path) -> dict[str, float]:
        return validate(self.config, dict(average), self.held, grid) if len(self.held) else {}


class _Micrographs:
    """Simulated X-ray images."""

    training: Lights = ()
    held: Lights = ()
    known = (0.4, 0.0)  # share of images over a known fixed map: in training, when looked at

    def __init__(
        self, config: TrainConfig, data: Path | None, old: Path | None, out: Path, report: Report
    ) -> None:
        self.config = config
        report("simulated sessions to learn from, others held out")

    def batches(self, process: int) -> Micrographs:
        c, (known, _) = self.config, self.known
        return Micrographs(
            size=c.size, batch=c.batch, seed=c.seed, process=process, lights=self.training, known=known
        )

    def look(self, average: Mapping[str, Tensor], grid: Path) -> dict[str, float]:
        c = self.config
        batch = Micrographs(
            size=c.size,
            batch=_LOOKS,
            seed=0,
            kept=_LOOKS,
            lights=self.held,
            known=self.known[1],
            seeds=VALIDATION,
            varied=False,
            reflections=0.0,
        )[0]
        net = build(c.net, c.config)
        net.load_state_dict({name: value.cpu() for name, value in average.items()})
        net.eval()
        with torch.inference_mode():
            found = objective(c.objective, c.settings).answer(net, batch["x"])
        _picture(batch, found, grid)
        weight = batch["weight"] / batch["weight"].mean((1, 2, 3), keepdim=True)
        error = found - batch["target"]
        error = error - (weight * error).mean((1, 2, 3), keepdim=True)
        return {
            "held_out_psnr_raw": _psnr(batch["seen"], batch),
            "held_out_psnr": _psnr(batch["seen"] / found.exp(), batch),
            "held_out_rms": float((weight * error.square()).mean((1, 2, 3)).sqrt().mean()),
        }


class _References(_Micrographs):
    """Simulated samples before measured light; every fifth reference is held out."""

    known = (0.8, 1.0)

    def __init__(
        self, config: TrainConfig, data: Path | None, old: Path | None, out: Path, report: Report
    ) -> None:
        if data is None:
            raise TrainingError(
                "there is nothing to learn from: name a file or folder of references (--data)"
            )
        self.config = config
        lights, fixed = read_references(data, config.size, report=report)
        self.held = lights[4::5] or lights[-1:]
        self.training = [light for i, light in enumerate(lights) if i % 5 != 4] if lights[4:] else lights[:-1]
        out.mkdir(parents=True, exist_ok=True)
        partial = out / f"{INSTRUMENT}.{os.getpid()}.partial"  # several processes may write the same
        save_file({"fixed_map": torch.from_numpy(fixed)}, partial)
        partial.replace(out / INSTRUMENT)
        report(f"{len(self.training)} to learn from, {len(self.held)} held out")


def _psnr(found: Tensor, batch: Mapping[str, Tensor]) -> float:
    """Mean PSNR in dB, peak 1.2, of transmissions whose scale is free, where the light is not dark."""
    inside = (batch["weight"] > 0.4).double()
    x, y = found.double() * inside, batch["clean"].double() * inside
    x = x * (x * y).sum((1, 2, 3), keepdim=True) / (x * x).sum((1, 2, 3), keepdim=True)
    mse = (x - y).square().sum((1, 2, 3)) / inside.sum((1, 2, 3))
    return float((-10 * torch.log10(mse / 1.2**2)).mean())


def _picture(batch: Mapping[str, Tensor], found: Tensor, grid: Path) -> None:
    """Rows of eight: what is seen, its background found and true, and what is left."""
    seen = batch["seen"] / batch["seen"].median()
    rows = [seen / 2, found.exp() / 2, batch["target"].exp() / 2, batch["seen"] / found.exp() / 1.4]
    strips = [torch.cat(list(row[:8, 0]), dim=1) for row in rows]
    levels = (torch.cat(strips).clamp(0, 1) * 255).round().byte().numpy()
    grid.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(np.asarray(levels)).save(grid)


SOURCES: Mapping[str, Callable[[TrainConfig, Path | None, Path | None, Path, Report], Source]] = {
    "photos": _Photographs,
    "micrographs": _Micrographs,
    "references": _References,
}
