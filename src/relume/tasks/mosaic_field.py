r"""Estimators of the light that the tiles of a mosaic have in common, the learned one among them."""

__all__ = ["FIELDS", "common_field", "learned_field"]

from pathlib import Path

import numpy as np

from relume.background import with_glare
from relume.bundle import Bundle
from relume.degrade.illumination.grid import DARKEST, fine_pattern
from relume.errors import UsageError
from relume.mosaic import FIELDS as CLASSICAL
from relume.mosaic.fields import Common
from relume.mosaic.looks import Field, Level

from .background import NET, BackgroundNet, find_net

FIELDS = (*CLASSICAL, NET)
"""Names of ``relume xray mosaic --field``."""


def common_field(
    name: str, model: str | Path = "xray", engine: str = "auto", *, empty: bool = True, glare: float = 0.0
) -> tuple[Common, Bundle | None]:
    """The estimator of that name, and the bundle that it runs, if any, on that engine; ``empty`` as
    :class:`~relume.tasks.background.BackgroundNet` has it. ``glare`` is what was taken off the tiles.

    Raises:
        UsageError: there is none.
        BundleNotFound: its model is not there.
    """
    if name not in FIELDS:
        raise UsageError(f"no field is called {name!r}; there are: {', '.join(FIELDS)}")
    if name != NET:
        return CLASSICAL[name], None
    net = find_net(model, engine, empty=empty)
    return learned_field(net, glare=glare), net.bundle


def learned_field(net: BackgroundNet, *, glare: float = 0.0) -> Common:
    r"""An estimator with what is slow from a net, tile by tile, and what is fine from the tiles together.

    .. math:: F = P + \frac{\sum_i \sigma_i^{-2} (\ln \hat B_i - P)}{\sum_i \sigma_i^{-2}}

    P is the fine pattern (:func:`~relume.degrade.illumination.grid.fine_pattern`) of the field that
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
