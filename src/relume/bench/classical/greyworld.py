r"""Grey world: the mean colour of a picture is taken for grey."""

__all__ = ["ROW", "greyworld"]

import numpy as np

from relume.bench.classical.row import Picture, Row


def greyworld(picture: Picture) -> Picture:
    r"""Each channel of an H×W×3 picture scaled so that all have the mean of the three, clipped to [0,1].

    Source: Buchsbaum, *A Spatial Processor Model for Object Colour Perception*, 1980.
    """
    means = picture.mean(axis=(0, 1), dtype=np.float64)
    gains = means.mean() / np.maximum(means, 1e-6)
    return np.asarray(np.clip(picture * gains, 0, 1), dtype=np.float32)


ROW = Row("greyworld", "grey world", greyworld)
