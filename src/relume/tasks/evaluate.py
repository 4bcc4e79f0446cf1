r"""Evaluate: how close restored pictures come to the truth, beside what costs nothing.

Every contender gets the same damaged picture and is measured by the same ruler, beside negative controls (the
damaged picture as it is, a blur). A model that does not beat them has learned nothing worth running.
"""

__all__ = [
    "CAP_DB",
    "FIGURES",
    "Figure",
    "Pair",
    "Ruler",
    "Score",
    "damaged_by",
    "score",
    "shrunk",
]

import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.bench import METRICS, Metric, psnr, ssim
from relume.bench.detection import auc, best_f1, iou
from relume.bench.faces import faces_lacking, find_faces
from relume.bench.regions import Box, damaged, in_boxes, rms_where, undamaged
from relume.bench.seams import seam_energy
from relume.degrade import recipe
from relume.errors import UsageError
from relume.image import Image
from relume.tasks.compare import resized
from relume.tasks.contenders import Answer, Bands, Contender
from relume.tasks.finish import three_channels

Array = NDArray[np.float32]
Figures = dict[str, float | None]

# A picture that comes back exactly has an infinite PSNR, and one of them would be the whole mean.
CAP_DB = 60.0


class Figure(NamedTuple):
    """A column of the report: its unit (empty for none), which way is better, and what it says."""

    unit: str
    better: str
    meaning: str


FIGURES: dict[str, Figure] = {
    **{each.name: Figure(each.unit, each.better, each.title) for each in METRICS},
    "rms_damaged": Figure("of [0,1]", "lower", "error where something was painted over the picture"),
    "rms_undamaged": Figure("of [0,1]", "lower", "error where nothing was"),
    "mask_auc": Figure("", "higher", "area under the ROC curve of the damage that was found"),
    "mask_iou": Figure("", "higher", "intersection over union at a probability of one half"),
    "mask_f1": Figure("", "higher", "best F1 over all thresholds"),
    "seam_energy": Figure("ratio", "nearer", "steps of the error where tiles meet, over those elsewhere"),
    "face_psnr": Figure("dB", "higher", "PSNR within faces"),
    "face_ssim": Figure("", "higher", "SSIM within faces"),
    "clean_psnr": Figure("dB", "higher", "PSNR of the undamaged picture after the same treatment"),
    "evaluations": Figure("", "", "network evaluations a tile"),
    "seconds": Figure("s", "lower", "time for the damaged picture"),
}
"""Every figure of a :class:`Score`, in the order of the report."""


@dataclass(frozen=True)
class Pair:
    """A clean picture and its damaged twin, of one size; ``mask`` is the opacity of the damage, if known."""

    name: str
    clean: Image
    damaged: Image
    mask: Array | None = None

    def __post_init__(self) -> None:
        sizes = [(image.width, image.height) for image in (self.clean, self.damaged)]
        if sizes[0] != sizes[1]:
            raise UsageError(
                f"{self.name}: the clean picture is {sizes[0][0]}×{sizes[0][1]} and the damaged one "
                f"{sizes[1][0]}×{sizes[1][1]}: they must have one size"
            )
        if self.mask is not None and self.mask.shape != (self.clean.height, self.clean.width):
            raise UsageError(f"{self.name}: the mask and the pictures must have one size")


@dataclass(frozen=True)
class Ruler:
    """What can be measured here.

    Parameters
    ----------
    metrics:
        Those whose libraries are installed.
    faces:
        Whether faces can be found.
    clean:
        Whether every contender is given the clean picture too, to see what harm it does.
    lacking:
        Figure → why it is missing from the report, with the way out.
    """

    metrics: tuple[Metric, ...]
    faces: bool
    clean: bool
    lacking: dict[str, str]

    @classmethod
    def here(cls, *, clean: bool = True) -> "Ruler":
        """All that the installed libraries can measure."""
        lacking = {metric.name: reason for metric in METRICS if (reason := metric.lacking())}
        no_faces = faces_lacking()
        if no_faces:
            lacking |= {"face_psnr": no_faces, "face_ssim": no_faces}
        if not clean:
            lacking["clean_psnr"] = "the clean pictures were left out as asked"
        able = tuple(metric for metric in METRICS if metric.name not in lacking)
        return cls(able, no_faces is None, clean, lacking)


@dataclass(frozen=True)
class Score:
    """One contender on one picture; a figure that could not be measured is ``None``, never 0."""

    picture: str
    method: str
    figures: Figures

    def as_dict(self) -> dict[str, Any]:
        """Flat, for a report."""
        return {"picture": self.picture, "method": self.method, **self.figures}


def damaged_by(name: str, clean: Image, *, recipe_name: str, seed: int, severity: float = 1.0) -> Pair:
    """The pair that a recipe makes, rounded to 8 bits as a file would be, and its mask.

    The damage depends on the seed and the picture's ``name`` alone, not on what else is evaluated.

    Raises
    ------
    UsageError
        If there is no such recipe, or the severity is out of range.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    picture, mask = recipe(recipe_name)(clean.srgb(), rng, severity=severity)
    rounded = np.round(picture * np.float32(255)) / np.float32(255)
    return Pair(name, Image(clean.srgb()), Image(rounded.astype(np.float32)), mask)


def shrunk(image: Image, side: int) -> Image:
    """The picture in sRGB with its longer side reduced to ``side``; smaller ones keep their size."""
    scale = side / max(image.width, image.height)
    if scale >= 1:
        return image
    size = max(1, round(image.height * scale)), max(1, round(image.width * scale))
    return Image(resized(image.srgb(), *size))


def score(pair: Pair, contenders: Sequence[Contender], ruler: Ruler) -> list[Score]:
    """Every contender on one pair, measured in sRGB on three channels.

    Seams are looked for where the first contender that works in tiles has them, in all answers alike: the
    controls show what the figure is without tiles.

    Raises
    ------
    UsageError
        If the pictures are smaller than the window of SSIM.
    """
    truth = three_channels(pair.clean.srgb())
    boxes = find_faces(truth) if ruler.faces else []
    bands = _bands(contenders, *truth.shape[:2])
    scores = []
    for contender in contenders:
        began = time.perf_counter()
        answer = contender.run(pair.damaged)
        seconds = time.perf_counter() - began
        picture = three_channels(answer.image.srgb())
        figures: Figures = {
            each.name: _finite(each.measure(picture, truth), each.unit) for each in ruler.metrics
        }
        figures |= _in_parts(picture, truth, pair.mask, boxes)
        figures |= _found(answer, pair.mask, probability=contender.probability)
        figures["seam_energy"] = seam_energy(picture, truth, rows=bands[0], columns=bands[1])
        if ruler.clean:
            kept = three_channels(contender.run(pair.clean).image.srgb())
            figures["clean_psnr"] = _finite(psnr(kept, truth), "dB")
        figures |= {"evaluations": answer.evaluations, "seconds": seconds}
        scores.append(Score(pair.name, contender.name, {name: figures.get(name) for name in FIGURES}))
    return scores


def _bands(contenders: Sequence[Contender], height: int, width: int) -> tuple[Bands, Bands]:
    tiled = (each.seams for each in contenders if each.seams is not None)
    first = next(tiled, None)
    return first(height, width) if first is not None else ([], [])


def _in_parts(picture: Array, truth: Array, mask: Array | None, boxes: Sequence[Box]) -> Figures:
    """The errors inside and outside of the damage, and within faces."""
    figures: Figures = {
        "face_psnr": in_boxes(_capped_psnr, picture, truth, boxes),
        "face_ssim": in_boxes(ssim, picture, truth, boxes),
    }
    if mask is not None and mask.any():
        figures["rms_damaged"] = rms_where(picture, truth, damaged(mask))
        figures["rms_undamaged"] = rms_where(picture, truth, undamaged(mask))
    return figures


def _found(answer: Answer, mask: Array | None, *, probability: bool) -> Figures:
    """How well the damage was found, where it is known and there is some."""
    if answer.mask is None or mask is None or not damaged(mask).any():
        return {}
    truth = damaged(mask)
    best = best_f1(answer.mask, truth)
    return {
        "mask_auc": auc(answer.mask, truth),
        "mask_iou": iou(answer.mask, truth) if probability else None,
        "mask_f1": best.f1 if best is not None else None,
    }


def _capped_psnr(picture: Array, truth: Array) -> float:
    return min(CAP_DB, psnr(picture, truth))


def _finite(value: float, unit: str) -> float | None:
    if unit == "dB":
        return min(CAP_DB, value)
    return value if math.isfinite(value) else None
