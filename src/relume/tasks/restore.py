r"""Restore: a damaged photograph comes back.

The whole photograph gives one tone transform; tiles of the toned picture go through the local net, by one
evaluation or a short residual-shift chain; the rest of the picture never enters memory twice.
"""

__all__ = ["Restoration", "Restorer", "chains", "check_settings", "needed_bytes"]

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from relume import bundle as bundles
from relume import engines
from relume.bundle import Card
from relume.diffusion import (
    ResidualShift,
    Table,
    residual_shift_deterministic,
    residual_shift_posterior,
)
from relume.engines import Engine
from relume.errors import OutOfMemory, UsageError
from relume.image import Image
from relume.tasks.coarse import fill, search
from relume.tasks.finish import Spread, finish, is_grey, preserve, three_channels, weight_of
from relume.tasks.kinds import like, to_image
from relume.tasks.lattice import lead
from relume.tasks.local import Job, Local, check_side
from relume.tasks.progress import InTwo, Observe, Passes, Progress, Stopwatch
from relume.tasks.settings import Settings
from relume.tasks.shading import Shading
from relume.tasks.steps import Run
from relume.tasks.texture import given_back
from relume.tasks.tone import Tone, ToneTransform
from relume.tasks.toning import Toning

Array = NDArray[np.float32]

# What one pixel of the picture costs at the peak (bytes): the picture, its toned copy and the one that is
# filled from smaller copies, the stack that is cut into tiles and the result, all float32; and what the rest
# costs whatever the picture.
BYTES_PER_PIXEL = 115
BYTES_FIXED = 700 * 2**20
BYTES_PER_ANSWER = 4 * 4 * 2  # the first answers of a chain, where they are kept; tiles overlap
BYTES_PER_DRAW = 4 * (4 + 6)  # the places of the noise; mean and squares of several pictures
BYTES_PER_SAMPLE = 4 * 3  # each is kept
BYTES_PER_TILE_PIXEL = 480  # of a tile beyond 512×512, whose activations the fixed part holds (f32, measured)

# What counts as found where the net is told in a second pass what it found in a first. (Told of the whole
# probability instead a net before measured 0.2 dB worse on damaged photographs, and 3 dB on clean ones.)
SURE = 0.5

# Of the noise that the model learned, where fidelity asks for none: samples have to differ.
SAMPLES_NOISE = 0.5


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
    there are many pictures. ``calls`` is for pictures in several threads: of how many the engine works on an
    evaluation at once, where it can (:meth:`relume.engines.Engine.shared`).

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
        calls: int = 1,
    ) -> None:
        self.bundle = bundles.find(model)
        if self.bundle.card["task"] != "restore":
            raise UsageError(f'model "{self.bundle.name}" is for {self.bundle.card["task"]}, not for restore')

        where: Any = {"device": device, "threads": threads, "force": force, "measure": measure}
        load: Any = partial(engines.load, self.bundle, build=_build, **where)
        self.engine: Engine = load("local", engine=engine, precision=precision).shared(calls)
        # These nets are tiny and their answers touch every pixel: they always run in full precision.
        # They run on the same engine, so that one runtime is loaded and not two.
        small = partial(load, engine=self.engine.name, precision="f32")
        graphs = self.bundle.card["graphs"]
        self.toned = Toning(*(small(graph) if graph in graphs else None for graph in ("tone", "shading")))
        self._local = Local(self.engine, self.bundle.card)

    def restore(
        self,
        image: Image,
        settings: Settings = Settings(),
        *,
        mask: Array | None = None,
        progress: Progress | None = None,
        observe: Observe | None = None,
        run: Run | None = None,
    ) -> Restoration:
        """Restore one picture.

        ``mask`` (H×W in [0,1]) says where the damage is and replaces the net's own search. ``progress`` is
        called after each tile, ``observe`` after each evaluation; what they raise stops the work there.
        ``run`` says who evaluates: this thread alone, or a :class:`~relume.tasks.Scheduler`'s ``run``, which
        pictures in other threads share.

        Raises
        ------
        UsageError
            If the mask has another size, or the model has no chain of so many steps.
        OutOfMemory
            If the picture needs more than ``settings.max_memory``, or the device is too small.
        """
        if settings.mask == "twice" and mask is not None:
            settings = replace(settings, mask="auto")
        self._check(image, settings, mask)
        if settings.mask == "twice":
            return self._twice(image, replace(settings, mask="auto"), progress, observe, run)
        watch = Stopwatch()
        side, overlap = self.tiling(image.height, image.width, settings)
        self._local.prepare(side)
        picture = three_channels(image.srgb())
        toned = self.toned(picture, settings)
        grey, corner = image.gray or is_grey(picture), lead(picture)
        del picture
        watch.lap("tone")
        tables = chains(self.bundle.card, settings)
        # Where the mask has no weight, what is preserved shows nothing of the net's work: tiles without any
        # are left out. The first evaluations of a chain know the mask already, and are not made again.
        answers: dict[int, Array] = {}
        look = settings.preserve and mask is None and settings.mask == "auto" and tables[0].evaluations > 1
        tracker = Passes(len(tables), tables[0].evaluations, progress, observe, look=look)
        seen = mask
        if look:
            first = replace(tables[0], steps=tables[0].steps[:1])
            job = Job(first, side, overlap, seed=settings.seed, answers=answers, lead=corner)
            seen = np.ascontiguousarray(self._local(toned, None, job, tracker, run)[..., 3])
        spread, given = Spread(), toned
        drawn = []
        for number, table in enumerate(tables):
            shown = weight_of(seen) if settings.preserve and seen is not None else None
            told = answers if look and number == 0 else None
            job = Job(table, side, overlap, settings.seed + number, 1 - settings.fidelity, told, corner)
            result = self._local(given, mask, job, tracker, run, shown=shown)
            clean = np.ascontiguousarray(result[..., :3])
            if seen is None:
                found = np.ascontiguousarray(result[..., 3])
                seen = found if settings.mask == "auto" else np.zeros_like(found)
            del result
            if number == 0 and mask is None and settings.mask == "auto":
                given, clean, seen = self._again(toned, clean, seen, job, run)
            clean = (preserve if settings.preserve else given_back)(toned, clean, seen)
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
        """The tone transform for a whole H×W×3 picture, after its light was made even."""
        return self.toned.read(picture, Settings(tone=tone))[1]

    def local(self, picture: Array) -> tuple[Array, Array]:
        """What the local net makes of an H×W×3 picture, and the toned picture that it was shown."""
        toned = self.toned(picture)
        return self._ask(toned, None, run=None)[0], toned

    def detect(
        self,
        image: Image,
        *,
        tile: int | None = None,
        progress: Progress | None = None,
        observe: Observe | None = None,
        run: Run | None = None,
    ) -> Array:
        """The probability of damage, H×W float32 in [0,1]; the rest is as in :meth:`restore`."""
        picture = three_channels(image.srgb())
        toned = self.toned(picture)
        job = Job(None, *self.tiling(image.height, image.width, Settings(tile=tile)), lead=lead(picture))
        found = self._local(toned, None, job, Passes(progress=progress, observe=observe), run)[..., 3]
        more = search(toned, found, partial(self._ask, run=run))
        return np.ascontiguousarray(found if more is None else np.maximum(found, more.weight))

    def __call__(
        self,
        picture: Any,
        *,
        steps: int | None = None,
        seed: int = 0,
        fidelity: float = 1.0,
        mask: Array | Literal["auto", "none", "twice"] = "auto",
        preserve: bool = False,
        tone: Tone = "revive",
        shading: Shading = "even",
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
            shading=shading,
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

    def _again(
        self, toned: Array, clean: Array, seen: Array, job: Job, run: Run | None
    ) -> tuple[Array, Array, Array]:
        """What smaller copies show, too: the picture filled there, its restoration, the damage."""
        more = search(toned, seen, partial(self._ask, run=run))
        if more is None:
            return toned, clean, seen
        job = replace(job, answers=None)
        again = self._local(more.filled, None, job, Passes(), run, shown=more.shown)
        return more.filled, fill(clean, again[..., :3], more.shown), np.maximum(seen, more.weight)

    def _twice(
        self,
        image: Image,
        settings: Settings,
        progress: Progress | None,
        observe: Observe | None,
        run: Run | None,
    ) -> Restoration:
        """Where the first restoration surely found damage, a second takes its place that was told so."""
        both = InTwo(progress, observe)
        told: Any = {"progress": both.progress, "observe": both.observe, "run": run}
        first = self.restore(image, settings, **told)
        sure = (first.mask > SURE).astype(np.float32)
        if not sure.any():
            both.end()
            return first
        both.then()
        again, weight = self.restore(image, settings, mask=sure, **told), weight_of(sure)[..., None]

        def blended(one: Image, other: Image) -> Image:
            a, b = three_channels(one.srgb()), three_channels(other.srgb())
            return finish(image, a + weight * (b - a))

        spread, other = first.uncertainty, again.uncertainty
        if spread is not None and other is not None:
            spread = spread + weight[..., 0] * (other - spread)
        final = blended(first.image, again.image)
        pairs = zip(first.samples, again.samples, strict=True)
        return Restoration(
            image=final,
            samples=(final,) if len(first.samples) == 1 else tuple(blended(*pair) for pair in pairs),
            mask=first.mask,
            uncertainty=spread,
            seconds={stage: first.seconds.get(stage, 0) + spent for stage, spent in again.seconds.items()},
            evaluations=first.evaluations + again.evaluations,
        )

    def _ask(self, picture: Array, shown: Array | None, *, run: Run | None) -> tuple[Array, Array]:
        """One evaluation a tile of a picture, or of those tiles that ``shown`` touches."""
        job = Job(chains(self.bundle.card, Settings())[0], *self.tiling(*picture.shape[:2]))
        answer = self._local(picture, None, job, Passes(), run, shown=shown)
        return np.clip(answer[..., :3], 0, 1), np.ascontiguousarray(answer[..., 3])

    def _check(self, image: Image, settings: Settings, mask: Array | None) -> None:
        if mask is not None and mask.shape != (image.height, image.width):
            raise UsageError(
                f"the mask is {mask.shape[1]}×{mask.shape[0]} and the picture {image.width}×{image.height}: "
                "they must have one size"
            )
        needed = needed_bytes(image.height * image.width, settings)
        if settings.max_memory is not None and needed > settings.max_memory:
            raise OutOfMemory(
                f"this picture of {image.height * image.width / 1e6:.1f} megapixels needs about "
                f"{needed / 2**30:.1f} GiB: raise --max-memory, or make the picture smaller"
            )


def check_settings(card: Card, settings: Settings) -> None:
    """Raises :class:`UsageError` for a chain or a side of tiles that the model of this card does not have."""
    chains(card, settings)
    if settings.tile is not None:
        check_side(settings.tile, int(card.get("multiple_of", 1)))


def chains(card: Card, settings: Settings) -> list[Table]:
    """The chain of each picture that is drawn.

    Raises
    ------
    UsageError
        If the model has no chain of so many steps.
    """
    facts = card.get("schedule") or {}
    steps = settings.evaluations // settings.draws
    full = float(facts.get("kappa", 0.0))
    # Where the model knows what detail it loses, fidelity says how much of that comes back, and no noise.
    noise = 0.0 if card.get("detail") else 1 - settings.fidelity
    if settings.draws > 1:  # samples differ by their noise: without any they would all be the same
        noise = noise or SAMPLES_NOISE
    schedule = ResidualShift(tuple(facts.get("sqrt_eta", (0.99,))), full * noise)
    make = residual_shift_posterior if schedule.kappa > 0 else residual_shift_deterministic
    return [make(schedule, steps) for _ in range(settings.draws)]


def needed_bytes(pixels: int, settings: Settings) -> int:
    """The most memory that a picture of so many pixels takes, the rest of the process included."""
    each = BYTES_PER_PIXEL
    if settings.preserve and settings.evaluations > settings.draws:
        each += BYTES_PER_ANSWER
    if settings.draws > 1:
        each += BYTES_PER_DRAW
    if settings.samples > 1:
        each += BYTES_PER_SAMPLE * settings.samples
    if settings.mask == "twice":  # what both passes made, until they are blended
        each += BYTES_PER_SAMPLE * (2 * settings.samples + 1)
    tile = max(0, (settings.tile or 0) ** 2 - 512**2) * BYTES_PER_TILE_PIXEL
    return BYTES_FIXED + tile + pixels * each


def _build(kind: str, config: dict[str, Any]) -> Any:
    from relume.nets import build

    return build(kind, config)
