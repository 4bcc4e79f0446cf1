r"""Simulated micrographs on the net's grid: (seed, step) → one batch of lights behind samples.

A light and a sample are drawn and painted apart, at twice the grid, and multiplied when a batch is made:

.. math:: I = B\,T + s\,\overline{BT}, \qquad x = \ln(I / \operatorname{median} I), \qquad y = \ln B

so that a few hundred of each give any number of pairs. What is kept is a window over an endless row of lights
and samples that moves on with every step: its content follows from the step alone, and a run that resumes
sees what it would have seen.
"""

__all__ = ["Lights", "Micrographs", "painted", "pairs"]

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from relume.background import Artefacts
from relume.degrade.illumination import TRAIN, Simulator
from relume.degrade.illumination.fixed import fine_pattern
from relume.degrade.illumination.shots import develop
from relume.degrade.illumination.targets import channels, network_input, network_target
from relume.degrade.phantoms import HELD_OUT, KINDS
from relume.train.variety import layout, magnified, stacked, stairs, thicker

_FULL = 512  # pixels of the camera that the simulator's ranges are about
_PAINTED = 2  # how much finer lights and samples are painted than they are used
_STAIRS = 0.12  # share of samples that are stairs of optical depth, as in a wedge
_LAYOUTS = 0.08  # share of samples that are lines and rectangles, as of a chip
_PARTS = 0.25  # share of samples of which a part is taken, enlarged
_STACKED, _THICKER = 0.1, 0.25  # share of images of two samples behind one another, of another density
_VEILED = 0.15  # share of images whose glare and outliers were left in
_HIDDEN = 0.25  # of the outliers, what is not found
_USES = 8  # of every light and sample
REFLECTIONS = 0.1  # share of images with a bright reflection within the microscope
_KINDS = tuple(kind for kind in KINDS if kind not in HELD_OUT)
Plane = NDArray[np.float32]
Lights = Sequence[Plane]


def _pooled(field: NDArray[np.floating], step: int) -> Plane:
    h, w = (side // step for side in field.shape)
    return np.asarray(field.reshape(h, step, w, step).mean((1, 3)), np.float32)


def _reflection(size: int, rng: np.random.Generator) -> Plane:
    """A bright spot with a ring round it, 1 at most: light that came by another way."""
    line = (2 * np.arange(size) + 1) / size - 1
    middle, flat = rng.normal(0, 0.3, 2), rng.uniform(0.7, 1.4)
    radius = np.hypot((line[:, None] - middle[0]) * flat, (line[None, :] - middle[1]) / flat)
    core, ring = rng.uniform(0.03, 0.15), rng.uniform(0.08, 0.35)
    spot = np.exp(-((radius / core) ** 2))
    spot += rng.uniform(0, 1) * np.exp(-(((radius - ring) / (0.4 * ring)) ** 2))
    return np.asarray(spot / spot.max(), np.float32)


def painted(
    index: int,
    size: int,
    *,
    seeds: Sequence[int] = TRAIN,
    kinds: Sequence[str] = _KINDS,
    varied: bool = True,
) -> tuple[Plane, Plane]:
    """Number ``index`` of the row: log B and T, each (size, size), of one session.

    ``varied`` samples are those of the simulator and others; without, of the simulator alone.
    """
    simulator = Simulator(seeds[index % len(seeds)], _PAINTED * size, kinds=kinds)
    shot = (index // len(seeds)) % len(simulator.drift.modes)
    light = np.log(simulator.light(simulator.drift.at(shot))[0])
    rng = np.random.default_rng([index, len(kinds)])
    kind = rng.random() if varied else 1.0
    if kind < _STAIRS:
        clean = stairs(_PAINTED * size, rng)
    elif kind < _STAIRS + _LAYOUTS:
        clean = layout(_PAINTED * size, rng)
    else:
        clean = np.asarray(develop(simulator.scene(shot), _PAINTED * size), np.float32)
    enlarged = varied and rng.random() < _PARTS
    return _pooled(light, _PAINTED), magnified(clean, size, rng) if enlarged else _pooled(clean, _PAINTED)


class Micrographs(Dataset[dict[str, Tensor]]):
    """The batch of each step, all (B,…,size,size) float32.

    ``x`` is what the net sees (B,4,…), ``target`` log B less what is known of it, ``weight`` how much a pixel
    counts (less where it is dark), ``seen`` the image as the camera has it over the known map, ``clean`` T.

    Args:
        size: of the grid.
        batch: images a step.
        seed: of all that is random.
        process: of several that train together.
        lights: log B of measured references; simulated sessions without.
        kept: lights and samples that wait in the window.
        fresh: of each, how many are new at every step; as many that each is used eight times in the mean
            unless told.
        reflections: share of images with a bright reflection; measured lights have their own.
        known: share of images whose fixed map is known and divided out.
        seeds: the sessions.
        kinds: the samples.
        varied: whether samples are also others than the simulator's: bands, lines and rectangles, enlarged
            parts, two behind one another, of another density.
    """

    def __init__(
        self,
        *,
        size: int,
        batch: int,
        seed: int,
        process: int = 0,
        lights: Lights = (),
        kept: int = 256,
        fresh: int | None = None,
        known: float = 0.4,
        seeds: Sequence[int] = TRAIN,
        kinds: Sequence[str] = _KINDS,
        varied: bool = True,
        reflections: float = REFLECTIONS,
    ) -> None:
        self.reflections = reflections
        self.size, self.batch, self.seed, self.process = size, batch, seed, process
        self.lights, self.kept, self.known = list(lights), kept, known
        self.fresh = max(1, batch // _USES) if fresh is None else fresh
        self.seeds, self.kinds, self.varied = seeds, tuple(kinds), varied
        self._window: dict[int, tuple[Plane, Plane]] = {}

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, self.process, int(step)])
        window = self._at(int(step))
        clean = np.stack([_turned(window[int(i)][1], rng) for i in self._chosen(rng, window)])
        if self.varied:
            clean = _varied(clean, rng)
        if self.lights:  # an instrument has an upper and a lower side
            light = np.stack([self.lights[int(i)] for i in rng.integers(0, len(self.lights), self.batch)])
        else:
            light = np.stack([_turned(window[int(i)][0], rng) for i in self._chosen(rng, window)])
        known = (rng.random(self.batch) < self.known).astype(np.float32)
        stray = np.zeros_like(light)
        if self.reflections and not self.lights:
            for i in np.flatnonzero(rng.random(self.batch) < self.reflections):
                spot = _reflection(self.size, rng)
                light[i] += rng.uniform(0, 0.5) * spot
                stray[i] += rng.uniform(0, 0.8) * spot
        return pairs(light, clean, known, rng, stray)

    def _chosen(self, rng: np.random.Generator, window: dict[int, tuple[Plane, Plane]]) -> NDArray[np.int64]:
        return rng.choice(np.fromiter(window, np.int64), self.batch, replace=len(window) < self.batch)

    def _at(self, step: int) -> dict[int, tuple[Plane, Plane]]:
        """What the window holds at ``step``."""
        start = (self.seed + self.process) * 50_021 + step * self.fresh
        wanted = range(start, start + self.kept)
        self._window = {
            i: self._window[i]
            if i in self._window
            else painted(i, self.size, seeds=self.seeds, kinds=self.kinds, varied=self.varied)
            for i in wanted
        }
        return self._window


def _turned(plane: Plane, rng: np.random.Generator) -> Plane:
    """One of the eight ways to lay a square."""
    turned = np.rot90(plane, int(rng.integers(4)))
    return turned.T if rng.random() < 0.5 else turned


def _varied(clean: Plane, rng: np.random.Generator) -> Plane:
    """Samples (B,H,W), some of another density and some behind one another."""
    found = clean.copy()
    for i in np.flatnonzero(rng.random(len(clean)) < _THICKER):
        found[i] = thicker(found[i], rng.uniform(0.4, 1.6))
    for i in np.flatnonzero(rng.random(len(clean)) < _STACKED):
        found[i] = stacked(found[i], clean[(i + 1) % len(clean)])
    return found


def pairs(
    light: Plane, clean: Plane, known: Plane, rng: np.random.Generator, stray: Plane | float = 0.0
) -> dict[str, Tensor]:
    """Images of lights log B behind samples T, (B,H,W) each; the maps of those that are ``known`` are out.

    ``stray`` is light that did not go through the sample, in units of what did, in the mean.
    """
    fixed = known[:, None, None] * fine_pattern(light)
    through = np.exp(light) * clean
    seen = _exposed(through + stray * through.mean((1, 2), keepdims=True), rng) / np.exp(fixed)
    target = network_target(np.exp(light - fixed))
    planes = {
        "x": channels(network_input(np.maximum(seen, 1e-6)), known),
        "target": target[:, None],
        "weight": np.minimum(np.exp(light), 1)[:, None],
        "seen": seen[:, None],
        "clean": clean[:, None],
    }
    return {name: torch.from_numpy(np.ascontiguousarray(p, np.float32)) for name, p in planes.items()}


def _exposed(light: Plane, rng: np.random.Generator) -> Plane:
    """Glare, now and then a dark level that was not taken off, quanta, read noise and hot pixels; then what
    is known to be the camera's is taken off again, as it is where the net is used.

    As :func:`relume.degrade.illumination.formation.expose`, for pixels that are means of a camera's.
    """
    count, pooled = len(light), (_FULL / light.shape[-1]) ** 2

    def drawn(low: float, high: float) -> Plane:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    mean = light.mean((1, 2), keepdims=True)
    veiled = drawn(0, 1) < _VEILED
    offset = drawn(0, 0.2) * (drawn(0, 1) < 0.2)
    flux = np.exp(drawn(np.log(60), np.log(15_000)))  # below 300 for cameras of fewer pixels
    seen = light + (drawn(0.03, 0.08) + offset) * mean
    noise = np.sqrt(np.maximum(seen, 0) / (flux * pooled))
    read = drawn(8, 25) / (drawn(1.2, 2.2) * flux * np.sqrt(pooled))
    seen = seen + np.hypot(noise, read) * rng.standard_normal(seen.shape, np.float32)
    often = np.exp(drawn(np.log(2e-5), np.log(2e-4))) * np.where(veiled, 1, _HIDDEN)
    hot = rng.random(seen.shape, np.float32) < often * pooled
    seen = seen + hot * rng.exponential(1 / pooled, seen.shape)
    off = Artefacts()
    cleared = [image if left else off.unveiled(image) for image, left in zip(seen, veiled.flat, strict=True)]
    return np.asarray(cleared, np.float32)
