r"""Classical estimates of the background of an X-ray image: I = B T, given I, find B.

An :class:`Estimator` gives B of median 1; :func:`corrected` divides it out. To add one, write its function
and list it in :data:`ESTIMATORS`.
"""

__all__ = [
    "ESTIMATORS",
    "GLARE",
    "GLARE_SD",
    "NO_ARTEFACTS",
    "Artefacts",
    "Estimator",
    "camera",
    "corrected",
    "evened",
    "filled",
    "lone",
    "mended",
    "noise",
    "optical_density",
    "with_glare",
    "without_glare",
]

from .artefacts import GLARE, GLARE_SD, Artefacts, lone, mended, with_glare, without_glare
from .artefacts import NONE as NO_ARTEFACTS
from .basic import BASIC
from .empty import evened
from .estimator import Estimator, corrected, optical_density
from .holes import filled
from .measured import EIGEN_FLATS, FLAT, NONE, STALE_FLAT, TILE_MEDIAN
from .noise import camera, noise
from .smooth import GAUSSIAN, POLYNOMIAL, ROLLING_BALL

ESTIMATORS: dict[str, Estimator] = {
    estimator.name: estimator
    for estimator in (
        NONE,
        ROLLING_BALL,
        GAUSSIAN,
        POLYNOMIAL,
        TILE_MEDIAN,
        BASIC,
        FLAT,
        STALE_FLAT,
        EIGEN_FLATS,
    )
}
