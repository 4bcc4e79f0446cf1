r"""BM3D: blocks that look alike are stacked and shrunk together in a transform."""

__all__ = ["INSTALL", "ROW", "bm3d"]

import numpy as np

from relume.bench.classical.row import Picture, Row
from relume.bench.classical.sigma import estimated, lacking_sigma
from relume.bench.metric import lacking

# Its authors' package is free for non-commercial use only, so no extra brings it: who may use it installs it.
INSTALL = "pip install bm3d (its licence allows non-commercial use only)"


def bm3d(picture: Picture) -> Picture:
    """Colour BM3D of an H×W×3 picture by its authors' package, for white noise of the estimated strength.

    Source: Dabov, Foi, Katkovnik, Egiazarian, *Image Denoising by Sparse 3-D Transform-Domain Collaborative
    Filtering*, 2007.
    """
    import bm3d as package

    done = package.bm3d_rgb(picture.astype(np.float64), max(estimated(picture), 1e-4))
    return np.asarray(np.clip(done, 0, 1), dtype=np.float32)


ROW = Row(
    "bm3d",
    "BM3D, estimated noise",
    bm3d,
    asked=True,
    lacking=lambda: lacking("bm3d", INSTALL) or lacking_sigma(),
)
