r"""From tiles to places, common field, gains: everything that has to be known before they are fused."""

__all__ = ["Settings", "Solution", "solve"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from relume.background import Artefacts, camera
from relume.errors import UsageError

from . import fields
from .balance import Balance, Gauge, Prior, balance, equations
from .looks import Field, Looks
from .overlap import Places, neighbours
from .places import places
from .registration import GATE, Link, details, register
from .repeats import repeats
from .tops import tops
from .work import Work

Tell = Callable[[str, int, int], None]
"""``tell(stage, done, in all)``."""
_ROUNDS = 2
_CELL = 8  # pixels over which tiles are averaged to judge the brightest part
_PERCENTILE = 95


@dataclass(frozen=True)
class Settings:
    """How a mosaic is solved.

    Args:
        common: the estimator of the common field, a name of :data:`~relume.mosaic.fields.FIELDS`.
        radius: pixels around the stage's places in which tiles are looked for; 0 believes the stage. ``None``
            is a sixteenth of a tile.
        gate: the correlation from which on a shift is believed.
        prior: what fixes the gauge.
        artefacts: what the camera adds and is taken off; the tiles of :func:`solve` come without.
    """

    common: str = "gradients"
    radius: int | None = None
    gate: float = GATE
    prior: Prior = field(default_factory=Prior)
    artefacts: Artefacts = field(default_factory=Artefacts)


class Solution(NamedTuple):
    """What is known of a mosaic.

    ``places`` (N,2), (y, x) of upper left corners; ``links`` that were measured; ``field`` F (H,W), median 0;
    ``balance`` with gains whose zero is the brightest part of the sample; ``camera``: slope and offset of the
    variance of counts.
    """

    places: Places
    links: list[Link]
    field: Field
    balance: Balance
    camera: tuple[float, float]


def solve(
    looks: Looks,
    nominal: Places,
    *,
    settings: Settings | None = None,
    given: Field | None = None,
    estimator: fields.Common | None = None,
    work: Work | None = None,
    tell: Tell | None = None,
) -> Solution:
    """Registers the tiles, estimates the common field and balances the gains, twice in turn; then takes off
    what still repeats in every tile.

    Args:
        looks: the tiles, in the order in which they were taken.
        nominal: (N,2) corners (y, x) as the stage has them, in pixels.
        settings: see :class:`Settings`.
        given: ln of a measured flat field (H,W), which is used as the common field.
        estimator: of the common field, in place of the one that ``settings`` names.
        work: where parts are kept.
        tell: told of progress.

    Raises:
        UsageError: places and tiles do not match, or no such field estimator.
    """
    settings = settings or Settings()
    if nominal.shape != (len(looks), 2):
        raise UsageError(f"{len(looks)} tiles need as many places (y, x), not {nominal.shape}")
    if given is None and estimator is None:
        if settings.common not in fields.FIELDS:
            raise UsageError(f"no field is called {settings.common!r}; there are: {', '.join(fields.FIELDS)}")
        estimator = fields.FIELDS[settings.common]
    tell = tell or (lambda stage, done, total: None)
    side = min(looks.shape)
    radius = max(4, side // 16) if settings.radius is None else settings.radius
    links = _links(looks, nominal, radius, work, tell) if radius else []
    at = places(nominal, links, gate=settings.gate)
    pairs = neighbours(at, looks.shape, least=max(2, side // 64))
    common, held = _rounds(looks, at, pairs, settings.prior, estimator, given, work, tell)
    return Solution(at, links, common, held, _camera(looks))


def _links(looks: Looks, nominal: Places, radius: int, work: Work | None, tell: Tell) -> list[Link]:
    known = {} if work is None else work.links()
    pairs = neighbours(nominal, looks.shape, least=4, grow=radius)
    if all(pair in known for pair in pairs):
        return [known[pair] for pair in pairs]
    scales = details(looks)
    found = []
    for number, (i, j) in enumerate(pairs):
        if (i, j) not in known:
            apart = nominal[j] - nominal[i]
            known[i, j] = register(scales, (float(apart[0]), float(apart[1])), radius, (i, j))
            if work is not None:
                work.add(known[i, j])
        found.append(known[i, j])
        tell("registration", number + 1, len(pairs))
    return found


def _rounds(
    looks: Looks,
    at: Places,
    pairs: Sequence[tuple[int, int]],
    prior: Prior,
    estimator: fields.Common | None,
    given: Field | None,
    work: Work | None,
    tell: Tell,
) -> tuple[Field, Balance]:
    kept = None if work is None else work.load("balance")
    if kept is not None:
        return kept["field"], _unpacked(kept)
    levels = np.array([float(np.median(looks[i])) for i in range(len(looks))])
    held: Balance | None = None
    common = np.zeros(looks.shape)
    for number in range(_ROUNDS):
        tell("field", number, _ROUNDS)
        if given is not None:
            common = given
        elif estimator is not None:
            common = estimator(_Residual(looks, held), len(looks), looks.shape)
        common = common - np.median(common)
        tell("gains", number, _ROUNDS)
        known, bright = equations(looks, common, at, pairs), tops(looks, common)
        held = balance(known, levels, prior, field=given is None, tops=bright)
        common = common + held.correction(looks.shape)
    assert held is not None
    if given is None:
        common = common + repeats(_Residual(looks, held, common), len(looks), looks.shape)
        common = common - np.median(common)
    held = held.shifted(_brightest(looks, common, held))
    if work is not None:
        work.save("balance", field=common, **_packed(held))
    return common, held


class _Residual:
    """ln counts less what is the tile's own, and less a field."""

    def __init__(self, looks: Looks, held: Balance | None, common: Field | float = 0.0) -> None:
        self._looks, self._held, self._common = looks, held, common

    def __call__(self, number: int) -> Field:
        look = np.asarray(self._looks[number], np.float64) - self._common
        if self._held is None:
            return look
        return np.asarray(look - self._held.slow(number, self._looks.shape))


def _brightest(looks: Looks, common: Field, held: Balance) -> float:
    """The 95th percentile of S over the mosaic, of means over cells of 8 pixels."""
    values = []
    for i in range(len(looks)):
        t = looks[i] - held.slow(i, looks.shape) - common
        h, w = (max(1, side // _CELL) for side in t.shape)
        steps = t.shape[0] // h, t.shape[1] // w
        cells = t[: h * steps[0], : w * steps[1]].reshape(h, steps[0], w, steps[1])
        values.append(np.mean(cells, axis=(1, 3)).astype(np.float32).ravel())
    return float(np.percentile(np.concatenate(values), _PERCENTILE))


def _camera(looks: Looks) -> tuple[float, float]:
    """Of up to nine tiles."""
    chosen = range(0, len(looks), -(-len(looks) // 9))
    found = [camera(np.asarray(looks.tiles[i], np.float64) - looks.dark) for i in chosen]
    return float(np.median([f[0] for f in found])), float(np.median([f[1] for f in found]))


def _packed(held: Balance) -> dict[str, Any]:
    gauge = {
        f"gauge_{name}": np.asarray(value)
        for name, value in held.gauge._asdict().items()
        if name != "fixed_by"
    }
    fixed = held.gauge.fixed_by
    arrays = {name: getattr(held, name) for name in ("gains", "modes", "common", "deviations")}
    return {
        **arrays,
        **gauge,
        "fixed_names": np.array(list(fixed)),
        "fixed_values": np.array(list(fixed.values())),
    }


def _unpacked(kept: dict[str, Any]) -> Balance:
    gauge = Gauge(
        int(kept["gauge_open_modes"]),
        kept["gauge_eigenvalues"].tolist(),
        kept["gauge_deviations"].tolist(),
        dict(zip(kept["fixed_names"].tolist(), kept["fixed_values"].tolist(), strict=True)),
    )
    return Balance(kept["gains"], kept["modes"], kept["common"], kept["deviations"], gauge)
