r"""Edit: one region of a picture is made anew, the rest stays what it was.

The region is given another content: a retouched picture, or its surroundings carried on. The restorer's chain
is inverted for that, then run again, free inside of the region and from other noise. Outside, the answers of
the known path are used, so the region is made to fit surroundings that do not move
(:func:`relume.invert.edit`).
"""

__all__ = ["Edited", "edit"]

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relume import tiles
from relume.diffusion import ResidualShift, Table, begin, residual_shift_deterministic
from relume.errors import UsageError
from relume.image import Image
from relume.invert import edit as regenerate
from relume.invert import invert_sampler
from relume.tasks.field import noise_at
from relume.tasks.fill import fill
from relume.tasks.finish import three_channels
from relume.tasks.lattice import BLOCK, lead
from relume.tasks.restore import Restorer
from relume.tasks.settings import CHAIN_STEPS

Array = NDArray[np.float32]

MARGIN = 48  # pixels around the region that the net sees
TOLERANCE = 2e-3  # of the inversion, relative: half an 8-bit level


@dataclass(frozen=True)
class Edited:
    r"""An edited picture and how well the rest was kept.

    ``image`` equals the input exactly outside of the mask. ``background`` is the largest change there, in
    [0,1], *before* that was enforced: what the inversion missed. ``residual`` is its relative residual in the
    worst tile, the region included.
    """

    image: Image
    background: float
    residual: float
    evaluations: int


@dataclass(frozen=True, kw_only=True)
class _Chain:
    """The bundle's chain and what is asked of it."""

    restorer: Restorer
    schedule: ResidualShift
    table: Table
    seed: int
    iterations: int

    def denoise(self, x: Any, t: float, condition: Any) -> Any:
        x = np.ascontiguousarray(x, np.float32)
        out = np.asarray(self.restorer.engine(x, condition, np.full(1, t, np.float32)))
        return np.ascontiguousarray(out[:, :3])


def edit(
    restorer: Restorer,
    image: Image,
    mask: Array,
    *,
    instead: Image | None = None,
    seed: int = 0,
    fidelity: float = 0.0,
    steps: int = CHAIN_STEPS,
    iterations: int = 15,
) -> Edited:
    """Makes the region anew where ``mask`` (H×W in [0,1]) is above 0; values between blend.

    Arguments:
        restorer: loaded in full precision (``precision="f32"``): a coarser one cannot be inverted as well.
        instead: what the region shall show, a picture of the same size, as it is retouched or pasted; None:
            what stands there is forgotten, and the surroundings carried on into it.
        seed, fidelity, steps: as in :class:`~relume.tasks.settings.Settings`; a fidelity below 1 lets the
            seed decide between plausible regions.
        iterations: the most evaluations for the inversion of one step.

    Raises:
        UsageError: sizes differ, the mask is empty, or the model has no chain of so many steps.
    """
    corner = lead(three_channels(image.srgb()))
    region = _checked(image, mask, instead, corner)
    facts = restorer.bundle.card.get("schedule") or {}
    kappa = float(facts.get("kappa", 0.0)) * (1 - fidelity)
    schedule = ResidualShift(tuple(facts.get("sqrt_eta", (0.99,))), kappa)
    table = residual_shift_deterministic(schedule, steps)
    chain = _Chain(
        restorer=restorer,
        schedule=schedule,
        table=table,
        seed=seed,
        iterations=iterations,
    )
    picture = three_channels(image.srgb())
    box = picture[region]
    other = fill(box, 1 - mask[region]) if instead is None else three_channels(instead.srgb())[region]
    weight = mask[region][..., None]
    given = (1 - weight) * box + weight * other
    places = np.indices(mask.shape).astype(np.float32)[..., None]
    part = np.concatenate([given, weight, *(place[region] for place in places)], axis=2)
    size, overlap = restorer.tiling(*part.shape[:2])
    misses: list[float] = []
    counts: list[int] = []

    def one(tile: Array) -> Array:
        if not tile[..., 3].any():
            return tile[..., :3]
        made, miss, count = _tile(chain, tile)
        misses.append(miss)
        counts.append(count)
        return made

    before = tuple((side.start + cut) % BLOCK for side, cut in zip(region, corner, strict=True))
    made = tiles.apply(one, part, tile=size, overlap=overlap, lead=(before[0], before[1]))
    outside = part[..., 3] == 0
    background = float(np.abs(made - box)[outside].max(initial=0.0))
    new = picture.copy()
    new[region] = np.where(outside[..., None], box, made)
    if image.gray:
        new = new.mean(axis=2, keepdims=True, dtype=np.float32)
        new[mask == 0] = image.srgb()[mask == 0]
    return Edited(image.with_srgb(new), background, max(misses), sum(counts))


def _checked(image: Image, mask: Array, instead: Image | None, corner: tiles.Lead) -> tuple[slice, slice]:
    """The box of the region with a margin; it begins with the picture or a block of a JPEG (``corner``)."""
    pictures = [image] if instead is None else [image, instead]
    sizes = {mask.shape, *((each.height, each.width) for each in pictures)}
    if len(sizes) > 1:
        told = ", ".join(f"{width}×{height}" for height, width in sorted(sizes))
        raise UsageError(f"picture, mask and condition must have one size; these have {told}")
    if not mask.any():
        raise UsageError("the mask is black: paint white what is to be made anew")
    spans = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    firsts = (int(span[0]) - MARGIN for span in spans)
    starts = (max(0, first - (first + cut) % BLOCK) for first, cut in zip(firsts, corner, strict=True))
    rows, columns = (
        slice(start, int(span[-1]) + MARGIN + 1) for start, span in zip(starts, spans, strict=True)
    )
    return rows, columns


def _tile(chain: _Chain, tile: Array) -> tuple[Array, float, int]:
    """One tile, inverted and made again: h×w×3, the residual, the evaluations."""
    planes = np.ascontiguousarray(tile.transpose(2, 0, 1))[None]
    given, mask = planes[:, :3], planes[:, 3:4]
    rows, columns = (np.rint(tile[..., c]).astype(np.int64) for c in (4, 5))
    noise = noise_at(rows, columns, seed=chain.seed, step=0)[None]
    condition = np.concatenate([given, 0 * mask], axis=1)
    found = invert_sampler(
        chain.table,
        chain.schedule,
        chain.denoise,
        given,
        condition=condition,
        y=given,
        tolerance=TOLERANCE,
        iterations=chain.iterations,
    )
    start = begin(chain.table, y=given, noise=[noise])
    made = regenerate(
        chain.table,
        chain.denoise,
        replace(found, x=mask * start + (1 - mask) * found.x),
        condition=condition,
        instead=condition,
        mask=mask,
        y=given,
    )
    count = found.iterations + 2 * len(chain.table.steps)
    return np.asarray(made[0].transpose(1, 2, 0), np.float32), found.residual, count
