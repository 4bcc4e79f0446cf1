r"""Pairs made on the fly: (seed, step) → one batch, whoever asks and however often.

Every random number of a batch comes from a generator seeded by (seed, process, step). A run that was
interrupted therefore sees, after it resumes, exactly what it would have seen.
"""

__all__ = [
    "Batches",
    "PAIRS",
    "photo_pair",
    "tone_pair",
    "uneven_pair",
    "shading_pair",
    "damaged_pair",
    "generation_pair",
]

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from relume.degrade.batched import degrade_batch
from relume.degrade.degradation import Degradation, stack_draws
from relume.degrade.dust import Dust
from relume.degrade.fading import LUMA, Fading
from relume.degrade.jpeg import Jpeg
from relume.degrade.levels import Levels
from relume.degrade.noise import Noise, Speckle
from relume.degrade.recipes import Plan, recipe
from relume.degrade.resample import Blur, Resample
from relume.degrade.scratches import Scratches
from relume.degrade.shading import Shading
from relume.degrade.sharpen import Sharpen
from relume.degrade.stains import UnevenFading
from relume.train.photos import Photos

Batch = dict[str, Tensor]
# What a field over the picture can hope to mend; and what a colour transform can, more or less.
_UNEVEN: tuple[type[Degradation], ...] = (UnevenFading, Shading)
_TONE: tuple[type[Degradation], ...] = (Fading, Levels, *_UNEVEN)
_BLOCK = 8  # pixels of a JPEG's blocks
_ALONE: tuple[type[Degradation], ...] = (Blur, Noise, Resample, Jpeg, Jpeg, Speckle, Scratches, Dust)
Chw = NDArray[np.float32]


def _grey(picture: Chw) -> Chw:
    luma = np.tensordot(LUMA.astype(np.float32), picture, axes=1)
    return np.repeat(luma[None], 3, axis=0)


def _clean(
    photos: Photos, size: int, rng: np.random.Generator, *, whole: bool = False, zoom: float = 1.0
) -> Chw:
    """A crop, C×H×W, black-and-white with probability 0.35 (as old photographs are)."""
    picture = np.ascontiguousarray(photos.crop(size, rng, whole=whole, zoom=zoom).transpose(2, 0, 1))
    return _grey(picture) if rng.random() < 0.35 else picture


def _unit(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(0.6), np.log(2.6))))


def photo_pair(photos: Photos, size: int, rng: np.random.Generator) -> tuple[Chw, Plan]:
    """Structure without tone: any mild tone is in the clean picture already, and so has to be kept."""
    # Photographs are learned from at 192 pixels, where a dark spot is mostly a thing; on a scan it lies on
    # something smooth, and is as many times larger.
    zoom = float(rng.uniform(1.3, 3.0)) if rng.random() < 0.4 else 1.0
    unit = _unit(rng) * float(zoom ** rng.uniform(0.0, 1.0))
    picture = _clean(photos, size, rng, zoom=zoom)
    if rng.random() < 0.5:
        fading = Fading(0.7)
        picture = fading.apply(picture[None], stack_draws([fading.sample(picture.shape, rng)]))[0]
    shape, chance = (3, size, size), rng.random()
    if chance < 0.04:
        plan: Plan = []  # stars on a flag, a strap, a watch chain: small bright and dark things are to stay
    elif chance < 0.22:
        plan = _few(shape, rng, unit)
    else:
        # On large scans there is little noise, and no block of a JPEG: marks are all that is wrong with them.
        name = "surface" if chance < (0.5 if zoom == 1 else 0.65) else "structure"
        plan = recipe(name).sample(shape, rng, severity=float(rng.uniform(0.5, 1.3)), unit=unit)
    if chance > 0.04 and rng.random() < 0.07:  # hundreds of specks, as on prints that lay open for long
        dust = Dust(float(rng.uniform(1.5, 3.0)), unit=unit * float(rng.uniform(0.35, 0.9)))
        plan = [*plan, (dust, dust.sample(shape, rng))]
    return picture, plan + _scanned(shape, rng, float(zoom ** rng.uniform(0.0, 1.0)))


def _scanned(shape: tuple[int, int, int], rng: np.random.Generator, unit: float) -> Plan:
    """What a scanner makes soft, marks and picture alike, and sharpens then; ``unit`` is a length in pixels.

    Without the first every mark is sharper than what it lies on, and a net that learned to look for that
    finds next to none on a real scan. Without the second it takes grain and specks that were sharpened for
    fine detail of a good picture, and leaves all of them. An enlarged picture is soft over more pixels, and
    so are marks on a large scan.
    """
    chances: tuple[tuple[type[Degradation], float], ...] = (
        (Blur, 0.45),
        (Resample, 0.25),
        (Sharpen, 0.3),
        (Jpeg, 0.25),
    )
    plan: Plan = []
    for kind, chance in chances:
        if rng.random() < chance:
            damage = kind(float(rng.uniform(0.3, 1.2)), unit=unit)
            plan.append((damage, damage.sample(shape, rng)))
    return plan


def _stays(plan: Plan) -> Plan:
    """What is not undone: sharpening, unless it follows something soft, of which it has taken back a part.

    A net that was to undo it too softened sound photographs, as cameras sharpen as well.
    """
    soft = any(isinstance(damage, (Blur, Resample)) for damage, _ in plan)
    return [] if soft else [(damage, draw) for damage, draw in plan if isinstance(damage, Sharpen)]


def _few(shape: tuple[int, int, int], rng: np.random.Generator, unit: float) -> Plan:
    """One damage, or two: in recipes one is rarely alone, and a net takes each for a sign of the others."""
    plan: Plan = []
    for kind in rng.choice(len(_ALONE), 1 + int(rng.random() < 0.4), replace=False):
        damage = _ALONE[int(kind)](float(rng.uniform(0.3, 1.6)), unit=unit)
        plan.append((damage, damage.sample(shape, rng)))
    return plan


def tone_pair(photos: Photos, size: int, rng: np.random.Generator) -> tuple[Chw, Plan]:
    """The whole photograph as a thumbnail, faded; one in four is not, so that it is left alone.

    What else happened to the print is drawn weaker, as a thumbnail averages most of it away.
    """
    picture = _clean(photos, size, rng, whole=True)
    plan: Plan = []
    chance = rng.random()
    if chance < 0.55:
        fading = Fading(float(rng.uniform(0.4, 1.3)))
        plan.append((fading, fading.sample(picture.shape, rng)))
    if 0.45 < chance < 0.75:  # a third of them faded before
        levels = Levels(float(rng.uniform(0.3, 1.3)))
        plan.append((levels, levels.sample(picture.shape, rng)))
    severity = float(rng.uniform(0.1, 0.7))
    return picture, plan + recipe("structure").sample((3, size, size), rng, severity=severity, unit=0.4)


def shading_pair(photos: Photos, size: int, rng: np.random.Generator) -> tuple[Chw, Plan]:
    """The whole photograph as a thumbnail, half of the time unevenly faded or lit, and faded evenly too.

    Lenses are uneven before a print fades, and lamps above it afterwards.
    """
    picture = _clean(photos, size, rng, whole=True)
    shape = (3, size, size)
    tone: Plan = []
    if rng.random() < 0.5:
        kind = Fading if rng.random() < 0.7 else Levels
        fading = kind(float(rng.uniform(0.3, 1.2)))
        tone.append((fading, fading.sample(shape, rng)))
    uneven: Plan = []
    chance = rng.random()
    if chance < 0.25:
        veil = UnevenFading(float(rng.uniform(0.4, 1.5)), unit=0.4)
        uneven.append((veil, veil.sample(shape, rng)))
    if 0.15 < chance < 0.55:
        light = Shading(float(rng.uniform(0.3, 1.2)))
        uneven.append((light, light.sample(shape, rng)))
    plan = uneven + tone if rng.random() < 0.3 else tone + uneven
    severity = float(rng.uniform(0.1, 0.7))
    other = recipe("structure").sample(shape, rng, severity=severity, unit=0.4)
    return picture, plan + [(damage, draw) for damage, draw in other if not isinstance(damage, _UNEVEN)]


def uneven_pair(photos: Photos, size: int, rng: np.random.Generator) -> tuple[Chw, Plan]:
    """The whole photograph as a thumbnail, strongly uneven and nothing else: what is learned first."""
    picture = _clean(photos, size, rng, whole=True)
    uneven: Degradation
    if rng.random() < 0.5:
        uneven = UnevenFading(float(rng.uniform(0.9, 1.5)), unit=0.4)
    else:
        uneven = Shading(float(rng.uniform(0.8, 1.3)))
    return picture, [(uneven, uneven.sample(picture.shape, rng))]


def damaged_pair(photos: Photos, size: int, rng: np.random.Generator) -> tuple[Chw, Plan]:
    """Everything that `old-photo` does: what the 300-step baseline is given."""
    return _clean(photos, size, rng), recipe("old-photo").sample((3, size, size), rng, unit=_unit(rng))


def generation_pair(photos: Photos, size: int, rng: np.random.Generator) -> tuple[Chw, Plan]:
    """A clean picture alone, for nets that generate."""
    return np.ascontiguousarray(photos.crop(size, rng, whole=True).transpose(2, 0, 1)), []


PAIRS: Mapping[str, Callable[[Photos, int, np.random.Generator], tuple[Chw, Plan]]] = {
    "photo": photo_pair,
    "tone": tone_pair,
    "uneven": uneven_pair,
    "shading": shading_pair,
    "damaged": damaged_pair,
    "generation": generation_pair,
}


def _cut(planes: Tensor, corners: NDArray[np.integer], size: int) -> Tensor:
    """Squares of ``size`` pixels out of (B,C,H,W), each from its own corner; other tensors as they are."""
    if planes.ndim != 4:
        return planes
    cut = [each[:, y : y + size, x : x + size] for each, (y, x) in zip(planes, corners, strict=True)]
    return torch.stack(cut)


class Batches(Dataset[Batch]):
    """The batch of each step.

    ``clean``, ``damaged`` and ``faded`` (tone damage alone) are (B,3,H,W), ``mask`` is (B,1,H,W), ``noise``
    standard normal like ``clean``, and ``dice`` (B,8) uniform numbers for whatever the objective draws.
    Pairs of shading have ``even`` too: faded evenly.
    With ``old``, genuine old photographs, ``real`` holds half as many crops of them as they are.
    """

    def __init__(
        self,
        photos: Photos,
        *,
        pair: str,
        size: int,
        batch: int,
        seed: int,
        process: int = 0,
        old: Photos | None = None,
    ) -> None:
        self.old = old
        self.photos, self.make, self.size, self.batch = photos, PAIRS[pair], size, batch
        self.evens = pair in ("uneven", "shading")
        # Crops of scans do not begin where a block of the JPEG does: a net that saw nothing else found a
        # plate's blots where its grid and that of the file agreed, and next to none a few pixels aside.
        self.margin = _BLOCK if pair == "photo" else 0
        self.seed, self.process = seed, process

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, self.process, int(step)])
        size = self.size + self.margin
        made = [self.make(self.photos, size, rng) for _ in range(self.batch)]
        clean = torch.from_numpy(np.stack([picture for picture, _ in made]))
        plans = [plan for _, plan in made]
        damaged = degrade_batch(clean, plans)
        tones = [[(d, draw) for d, draw in plan if isinstance(d, _TONE)] for plan in plans]
        faded = degrade_batch(clean, tones)
        target = degrade_batch(clean, [_stays(plan) for plan in plans]).pictures
        noise = rng.standard_normal(tuple(clean.shape), dtype=np.float32)
        dice: Any = rng.random((self.batch, 8), dtype=np.float32)
        found = {
            "clean": target,
            "damaged": damaged.pictures,
            "faded": faded.pictures,
            "mask": damaged.masks,
            "noise": torch.from_numpy(noise),
            "dice": torch.from_numpy(dice),
        }
        if self.evens:
            evenly = [[(d, draw) for d, draw in plan if not isinstance(d, _UNEVEN)] for plan in tones]
            found["even"] = degrade_batch(clean, evenly).pictures
        if self.margin:
            aside = rng.integers(0, _BLOCK, (self.batch, 2)) * (rng.random((self.batch, 1)) < 0.75)
            found = {name: _cut(planes, aside, self.size) for name, planes in found.items()}
        if self.old is not None:  # drawn last: the other numbers are the same without
            real = [self.old.crop(self.size, rng) for _ in range(max(1, self.batch // 2))]
            found["real"] = torch.from_numpy(np.stack(real).transpose(0, 3, 1, 2).copy())
        return found
