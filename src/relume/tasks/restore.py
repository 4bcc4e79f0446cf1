r"""Restore: a damaged photograph comes back.

The whole photograph gives one tone transform; tiles of the toned picture go through the local net, by one
evaluation or a short residual-shift chain; the rest of the picture never enters memory twice.
"""

__all__ = ["Restoration", "Restorer"]

import os
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from relume import bundle as bundles
from relume import engines, tiles
from relume.diffusion import (
    ResidualShift,
    Table,
    begin,
    residual_shift_deterministic,
    residual_shift_posterior,
    sample,
)
from relume.engines import Engine
from relume.errors import OutOfMemory, UsageError
from relume.image import Image
from relume.tasks.field import noise_at
from relume.tasks.finish import Spread, finish, is_grey, preserve, three_channels
from relume.tasks.kinds import like, to_image
from relume.tasks.progress import Observe, Passes, Progress, Stopwatch
from relume.tasks.settings import Settings
from relume.tasks.tone import Tone, ToneTransform, apply_transform, cautious, colour, thumbnail

Array = NDArray[np.float32]

# What one pixel of the picture costs at the peak (bytes): the picture, its sRGB and toned copies, the stack
# that is cut into tiles and the result, all float32; and what the rest costs whatever the picture.
BYTES_PER_PIXEL = 100
BYTES_FIXED = 700 * 2**20


@dataclass(frozen=True)
class Restoration:
    """A restored picture and what is known about it.

    ``mask`` and ``uncertainty`` are H×W float32: the probability of damage, and the standard deviation over
    samples in units of the [0,1] range. ``seconds`` maps each stage to its time.
    """

    image: Image
    samples: tuple[Image, ...]
    mask: Array
    uncertainty: Array | None
    seconds: dict[str, float]
    evaluations: int


class Restorer:
    """A loaded restorer: make one, use it for many pictures.

    ``force`` runs at the precision asked for even where it did not pass the model's parity check. With the
    engine ``auto``, ``measure`` times the engines first (a second or two, once on a machine): say so when
    there are many pictures.

    Raises
    ------
    BundleNotFound, BundleCorrupt
        If there is no such model, or its files are not what its card says.
    EngineUnavailable
        If the engine, device or precision that was asked for cannot run here.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "photo",
        *,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        force: bool = False,
        measure: bool = False,
    ) -> None:
        self.bundle = bundles.find(model)
        if self.bundle.card["task"] != "restore":
            raise UsageError(f'model "{self.bundle.name}" is for {self.bundle.card["task"]}, not for restore')

        where: Any = {"device": device, "threads": threads, "force": force, "measure": measure}
        load: Any = partial(engines.load, self.bundle, build=_build, **where)
        self.engine: Engine = load("local", engine=engine, precision=precision)
        # The tone net is tiny and its answer touches every pixel: it always runs in full precision.
        # It runs on the same engine, so that one runtime is loaded and not two.
        tone = partial(load, "tone", engine=self.engine.name, precision="f32")
        self._tone: Engine | None = tone() if "tone" in self.bundle.card["graphs"] else None

    def restore(
        self,
        image: Image,
        settings: Settings = Settings(),
        *,
        mask: Array | None = None,
        progress: Progress | None = None,
        observe: Observe | None = None,
    ) -> Restoration:
        """Restore one picture.

        ``mask`` (H×W in [0,1]) says where the damage is and replaces the net's own search. ``progress`` is
        called after each tile, ``observe`` after each evaluation; what they raise stops the work there.

        Raises
        ------
        UsageError
            If the mask has another size, or the model has no chain of so many steps.
        OutOfMemory
            If the picture needs more than ``settings.max_memory``, or the device is too small.
        """
        self._check(image, settings, mask)
        watch = Stopwatch()
        picture = three_channels(image.srgb())
        toned = apply_transform(picture, self.transform(picture, settings.tone))
        grey = image.gray or is_grey(picture)
        del picture
        watch.lap("tone")
        tables = self._tables(settings)
        tracker = Passes(len(tables), progress, observe)
        seen = mask
        spread = Spread()
        drawn = []
        for number, table in enumerate(tables):
            result = self._run(toned, mask, table, settings, settings.seed + number, tracker)
            clean = np.ascontiguousarray(result[..., :3])
            if seen is None:
                found = np.ascontiguousarray(result[..., 3])
                seen = found if settings.mask == "auto" else np.zeros_like(found)
            del result
            if settings.preserve:
                clean = preserve(toned, clean, seen)
            if grey:
                clean = np.repeat(clean.mean(axis=2, keepdims=True, dtype=np.float32), 3, axis=2)
            np.clip(clean, 0, 1, out=clean)
            if settings.strength < 1:
                before = three_channels(image.srgb())
                clean = before + np.float32(settings.strength) * (clean - before)
            if settings.draws > 1:
                spread.add(clean)
                if settings.samples > 1:
                    drawn.append(finish(image, clean))
        watch.lap("local")
        if settings.draws > 1:
            clean = spread.mean
        final = finish(image, clean)
        watch.lap("finish")
        assert seen is not None  # there is at least one draw
        return Restoration(
            image=final,
            samples=tuple(drawn) or (final,),
            mask=np.clip(seen, 0, 1).astype(np.float32),
            uncertainty=spread.deviation() if settings.uncertainty else None,
            seconds=watch.laps,
            evaluations=sum(t.evaluations for t in tables),
        )

    def transform(self, picture: Array, tone: Tone = "revive") -> ToneTransform:
        """The tone transform for a whole H×W×3 picture."""
        if self._tone is None or tone == "keep":
            return ToneTransform.identity()
        asked = thumbnail(picture)
        small = asked[0].transpose(1, 2, 0)
        found = ToneTransform.from_parameters(np.asarray(self._tone(asked)))
        return colour(cautious(found, small), small, tone)

    def detect(
        self,
        image: Image,
        *,
        tile: int | None = None,
        progress: Progress | None = None,
        observe: Observe | None = None,
    ) -> Array:
        """The probability of damage, H×W float32 in [0,1]."""
        settings = Settings(tile=tile)
        picture = three_channels(image.srgb())
        toned = apply_transform(picture, self.transform(picture))
        found = self._run(toned, None, None, settings, 0, Passes(1, progress, observe))[..., 3]
        return np.ascontiguousarray(found)

    def __call__(
        self,
        picture: Any,
        *,
        steps: int | None = None,
        seed: int = 0,
        fidelity: float = 1.0,
        mask: Array | Literal["auto", "none"] = "auto",
        preserve: bool = False,
        tone: Tone = "revive",
        strength: float = 1.0,
        samples: int = 1,
        tile: int | None = None,
    ) -> Any:
        """Restore a picture and give back the kind it was given.

        A path gives an :class:`~relume.image.Image`; bytes give bytes in the same file format; a PIL picture,
        an array (uint8, uint16 or float in [0,1]; H×W or H×W×C) or an ``Image`` gives the same. The options
        are those of :class:`Settings`; ``mask`` may also be an H×W array.
        """
        image = to_image(picture)
        settings = Settings(
            steps=steps,
            seed=seed,
            fidelity=fidelity,
            mask=mask if isinstance(mask, str) else "auto",
            preserve=preserve,
            tone=tone,
            strength=strength,
            samples=samples,
            tile=tile,
        )
        given = None if isinstance(mask, str) else np.asarray(mask, dtype=np.float32)
        return like(self.restore(image, settings, mask=given).image, picture)

    def tiling(self, height: int, width: int, settings: Settings = Settings()) -> tuple[int, int]:
        """Side and overlap of the tiles for a picture of that size, in pixels.

        The model's own side, halved (down to a quarter) while the picture fits into the half: what a tile
        reaches beyond the picture is mirrored, costs time, and can be taken for damage.
        """
        facts, multiple = self.bundle.card.get("tile", {}), int(self.bundle.card.get("multiple_of", 1))
        own = size = int(facts.get("size", 512))
        while max(height, width) <= size // 2 and size > own // 4 and size % (2 * multiple) == 0:
            size //= 2
        size = settings.tile or size
        return size, min(int(facts.get("overlap", 64)), size // 2)

    def _check(self, image: Image, settings: Settings, mask: Array | None) -> None:
        if mask is not None and mask.shape != (image.height, image.width):
            raise UsageError(
                f"the mask is {mask.shape[1]}×{mask.shape[0]} and the picture {image.width}×{image.height}: "
                "they must have one size"
            )
        needed = BYTES_FIXED + image.height * image.width * BYTES_PER_PIXEL
        if settings.max_memory is not None and needed > settings.max_memory:
            raise OutOfMemory(
                f"this picture of {image.height * image.width / 1e6:.1f} megapixels needs about "
                f"{needed / 2**30:.1f} GiB: raise --max-memory, or make the picture smaller"
            )

    def _tables(self, settings: Settings) -> list[Table]:
        facts = self.bundle.card.get("schedule") or {}
        steps = settings.evaluations // settings.draws
        full = float(facts.get("kappa", 0.0))
        # Samples differ by their noise: fully faithful ones would all be the same.
        fidelity = 0.5 if settings.draws > 1 and settings.fidelity == 1 else settings.fidelity
        schedule = ResidualShift(tuple(facts.get("sqrt_eta", (0.99,))), full * (1 - fidelity))
        make = residual_shift_posterior if schedule.kappa > 0 else residual_shift_deterministic
        return [make(schedule, steps) for _ in range(settings.draws)]

    def _run(
        self,
        toned: Array,
        mask: Array | None,
        table: Table | None,
        settings: Settings,
        seed: int,
        passes: Passes,
    ) -> Array:
        """All tiles: H×W×3 and a mask → H×W×4, the clean picture and the probability of damage.

        Without a table the net is asked once, for the damage.
        """
        h, w = toned.shape[:2]
        size, overlap = self.tiling(h, w, settings)
        multiple = int(self.bundle.card.get("multiple_of", 1))
        if size < multiple or size % multiple:
            raise UsageError(f"a tile side of {size} does not fit this model: use a multiple of {multiple}")
        planes = [toned, np.zeros((h, w, 1), np.float32) if mask is None else mask[..., None]]
        if table is not None and _draws_noise(table):
            rows, columns = np.indices((h, w), dtype=np.float32)
            planes += [rows[..., None], columns[..., None]]
        stack = np.concatenate(planes, axis=2)
        passes.begin(tiles.grid(h, w, size, overlap))

        # Damage weighed more than it is frequent when the net learned: that is undone, or it would cry wolf.
        weight = self.bundle.card.get("damage_weight", 1.0)
        prior = np.float32(np.log(weight))

        def restore_tile(tile: Array) -> Array:
            condition = np.ascontiguousarray(tile[..., :4].transpose(2, 0, 1))[None]
            picture = np.ascontiguousarray(condition[:, :3])
            if table is None:
                out = np.asarray(self.engine(picture, condition, np.ones(1, np.float32)))
                clean, logit = out[:, :3], out[:, 3:]
                passes.evaluated(1, 1, clean)
            else:
                clean, logit = self._chain(table, picture, condition, tile, seed, passes)
            probability = 1 / (1 + np.exp(-np.clip(logit - prior, -30, 30)))
            both: Array = np.concatenate([clean, probability], axis=1)[0].transpose(1, 2, 0)
            return both

        return tiles.apply(restore_tile, stack, tile=size, overlap=overlap, progress=passes.tile_done)

    def _chain(
        self, table: Table, picture: Array, condition: Array, tile: Array, seed: int, passes: Passes
    ) -> tuple[Array, Array]:
        logits: list[Array] = []

        def denoise(x: Array, t: float, condition: Array) -> Array:
            out = np.asarray(self.engine(x, condition, np.full(1, t, np.float32)))
            logits.append(out[:, 3:])
            return np.ascontiguousarray(out[:, :3])

        noise = None
        if _draws_noise(table):
            rows, columns = (np.rint(tile[..., c]).astype(np.int64) for c in (4, 5))
            noise = lambda step: noise_at(rows, columns, seed=seed, step=step)[None]  # noqa: E731
        start = begin(table, y=picture, noise=noise)
        clean = sample(
            table,
            denoise,
            start,
            condition=condition,
            y=picture,
            noise=noise,
            callback=lambda k, x, x0: passes.evaluated(k, len(table.steps), x0),
        )
        return np.asarray(clean, dtype=np.float32), logits[0]


def _draws_noise(table: Table) -> bool:
    """Whether the chain needs noise: a chain of one step has it in its start alone."""
    return table.stochastic or table.start.noise != 0.0


def _build(kind: str, config: dict[str, Any]) -> Any:
    from relume.nets import build

    return build(kind, config)
