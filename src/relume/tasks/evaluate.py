r"""Evaluate: how close restored pictures come to the truth, beside what costs nothing.

Every method is judged beside two controls: ``identity`` (the damaged picture as it is) and ``median 3×3``. A
model that does not beat both has learned nothing worth running.
"""

__all__ = [
    "CAP_DB",
    "CONTROLS",
    "METRICS",
    "Method",
    "Pair",
    "Score",
    "damaged_by",
    "means",
    "score",
    "shrunk",
]

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageFilter

from relume.bench.quality import psnr, ssim, tone_aligned
from relume.degrade import recipe
from relume.errors import UsageError
from relume.image import Image
from relume.tasks.compare import resized
from relume.tasks.finish import three_channels

Array = NDArray[np.float32]
Method = Callable[[Image], Image]

# A picture that comes back exactly has an infinite PSNR, and one of them would be the whole mean.
CAP_DB = 60.0
METRICS = ("psnr", "ssim", "tone_aligned_psnr", "seconds")


@dataclass(frozen=True)
class Pair:
    """A clean picture and its damaged twin, of one size."""

    name: str
    clean: Image
    damaged: Image

    def __post_init__(self) -> None:
        sizes = [(image.width, image.height) for image in (self.clean, self.damaged)]
        if sizes[0] != sizes[1]:
            raise UsageError(
                f"{self.name}: the clean picture is {sizes[0][0]}×{sizes[0][1]} and the damaged one "
                f"{sizes[1][0]}×{sizes[1][1]}: they must have one size"
            )


@dataclass(frozen=True)
class Score:
    """One method on one picture: dB, 0…1, dB after the best gain and offset per channel, and seconds."""

    picture: str
    method: str
    psnr: float
    ssim: float
    tone_aligned_psnr: float
    seconds: float


def damaged_by(name: str, clean: Image, *, recipe_name: str, seed: int, severity: float = 1.0) -> Pair:
    """The pair that a recipe makes, rounded to 8 bits as a file would be.

    The damage depends on the seed and the picture's ``name`` alone, not on what else is evaluated.

    Raises
    ------
    UsageError
        If there is no such recipe, or the severity is out of range.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    picture = recipe(recipe_name)(clean.srgb(), rng, severity=severity).picture
    rounded = np.round(picture * np.float32(255)) / np.float32(255)
    return Pair(name, Image(clean.srgb()), Image(rounded.astype(np.float32)))


def shrunk(image: Image, side: int) -> Image:
    """The picture in sRGB with its longer side reduced to ``side``; smaller ones keep their size."""
    scale = side / max(image.width, image.height)
    if scale >= 1:
        return image
    size = max(1, round(image.height * scale)), max(1, round(image.width * scale))
    return Image(resized(image.srgb(), *size))


def score(pair: Pair, methods: Mapping[str, Method]) -> list[Score]:
    """Every method on one pair, measured in sRGB on three channels.

    Raises
    ------
    UsageError
        If the pictures are smaller than the window of SSIM.
    """
    truth = three_channels(pair.clean.srgb())
    scores = []
    for name, method in methods.items():
        began = time.perf_counter()
        answer = method(pair.damaged)
        seconds = time.perf_counter() - began
        picture = three_channels(answer.srgb())
        scores.append(
            Score(
                picture=pair.name,
                method=name,
                psnr=min(CAP_DB, psnr(picture, truth)),
                ssim=ssim(picture, truth),
                tone_aligned_psnr=min(CAP_DB, psnr(tone_aligned(picture, truth), truth)),
                seconds=seconds,
            )
        )
    return scores


def means(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Method → metric → mean over the pictures, in the order in which the methods came."""
    methods = dict.fromkeys(each.method for each in scores)
    return {
        method: {
            metric: float(np.mean([getattr(each, metric) for each in scores if each.method == method]))
            for metric in METRICS
        }
        for method in methods
    }


def _identity(image: Image) -> Image:
    return image


def _median(image: Image) -> Image:
    """The median of each pixel's 3×3 neighbours, per channel."""
    planes = [
        PilImage.fromarray(np.ascontiguousarray(image.pixels[..., c])).filter(ImageFilter.MedianFilter(3))
        for c in range(image.pixels.shape[2])
    ]
    return image.replace(pixels=np.stack([np.asarray(plane) for plane in planes], axis=-1))


CONTROLS: Mapping[str, Method] = {"identity": _identity, "median 3×3": _median}
