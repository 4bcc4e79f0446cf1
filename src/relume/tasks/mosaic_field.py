r"""Estimators of the light that the tiles of a mosaic have in common, the learned one among them."""

__all__ = ["AUTO", "FIELDS", "FEW", "CommonField", "common_field", "learned_field", "series_field"]

from pathlib import Path
from typing import NamedTuple

import numpy as np

from relume.background import with_glare
from relume.bundle import Bundle
from relume.degrade.illumination.fixed import DARKEST, fine_pattern
from relume.errors import UsageError
from relume.mosaic import FIELDS as CLASSICAL
from relume.mosaic.fields import Common
from relume.mosaic.looks import Field, Level

from .background import NET, SERIES, BackgroundNet, find_net, seen
from .series import LEAST, agreed, series

AUTO = "auto"
FIELDS = (SERIES, *CLASSICAL, NET)
"""Names of ``relume xray mosaic --field``, beside ``auto``."""

FEW = 8
"""Tiles up to which ``auto`` is ``series``; of more, ``gradients``: from 9 on their seams are better,
and they cost nothing."""

_MOST = 64  # tiles that a net is asked about for a series: more add little to their mean


class CommonField(NamedTuple):
    """An estimator by its name, and the bundle that it runs, if any."""

    name: str
    estimator: Common
    bundle: Bundle | None


def common_field(
    name: str,
    model: str | Path = "xray",
    engine: str = "auto",
    *,
    tiles: int = 0,
    empty: bool = True,
    glare: float = 0.0,
) -> CommonField:
    """The estimator of that name.

    Args:
        name: one of :data:`FIELDS`, or ``auto``: by the number of tiles.
        model: the name or path of a bundle, for those that run one.
        engine: what runs it.
        tiles: how many there are.
        empty: as :class:`~relume.tasks.background.BackgroundNet` has it.
        glare: what was taken off the tiles.

    Raises:
        UsageError: there is none.
        BundleNotFound: its model is not there.
    """
    if name == AUTO:
        name = SERIES if tiles <= FEW else "gradients"
    if name not in FIELDS:
        raise UsageError(f"no field is called {name!r}; there are: {', '.join((AUTO, *FIELDS))}")
    if name in CLASSICAL:
        return CommonField(name, CLASSICAL[name], None)
    net = find_net(model, engine, empty=empty)
    return CommonField(name, (learned_field if name == NET else series_field)(net, glare=glare), net.bundle)


def series_field(net: BackgroundNet, *, glare: float = 0.0) -> Common:
    """An estimator that takes tiles for images of one session: :func:`relume.tasks.series.series`. Of one or
    two tiles it is the net's answers alone. ``glare`` is what was taken off the tiles."""

    def common(level: Level, count: int, shape: tuple[int, int]) -> Field:
        looks = []
        for number in range(0, count, -(-count // _MOST)):
            look = np.asarray(level(number), np.float64)
            looks.append(seen(net, np.exp(look - np.median(look)), glare))
        if count < LEAST:
            return np.asarray(agreed(looks), np.float64)
        return series(looks).field

    return common


def learned_field(net: BackgroundNet, *, glare: float = 0.0) -> Common:
    r"""An estimator with what is slow from a net, tile by tile, and what is fine from the tiles together.

    .. math:: F = P + \frac{\sum_i \sigma_i^{-2} (\ln \hat B_i - P)}{\sum_i \sigma_i^{-2}}

    P is the fine pattern (:func:`~relume.degrade.illumination.fixed.fine_pattern`) of the field that
    ``gradients`` finds, with its dark corners, :math:`\hat B_i` the net's background of tile i with P as its
    fixed map, and :math:`\sigma_i` its error. ``glare`` is what was taken off the tiles.
    """

    def common(level: Level, count: int, shape: tuple[int, int]) -> Field:
        rough = CLASSICAL["gradients"](level, count, shape)
        rough = rough - np.median(rough)
        corners = np.minimum(rough - DARKEST, 0)  # the pattern leaves them out; the net is not to see them
        fixed = (fine_pattern(rough) + corners).astype(np.float32)
        total, weights = np.zeros(shape), np.zeros(shape)
        for number in range(count):
            look = np.asarray(level(number), np.float64)
            light = np.exp(look - np.median(look))
            found = net(with_glare(light, glare), fixed=fixed, glare=glare)  # it takes it off itself
            assert found.sigma is not None
            slow = np.log(found.field) - fixed
            weight = found.sigma**-2.0
            total += weight * (slow - np.mean(slow))
            weights += weight
        return np.asarray(total / weights + fixed)

    return common
