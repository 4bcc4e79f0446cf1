r"""Non-local means: a pixel is the mean of those whose surroundings look alike."""

__all__ = ["ROW", "nlmeans"]

from relume.bench.classical.row import Picture, Row, from_levels, to_levels
from relume.bench.classical.sigma import estimated, lacking_sigma
from relume.bench.metric import EVAL, lacking


def nlmeans(picture: Picture) -> Picture:
    """OpenCV's non-local means in colour, 7×7 patches within 21×21, as strong as the estimated noise.

    Source: Buades, Coll, Morel, *A Non-Local Algorithm for Image Denoising*, 2005.
    """
    import cv2

    strength = max(255 * estimated(picture), 1e-3)
    return from_levels(cv2.fastNlMeansDenoisingColored(to_levels(picture), None, strength, strength, 7, 21))


ROW = Row(
    "nlmeans",
    "non-local means, estimated noise",
    nlmeans,
    lacking=lambda: lacking("cv2", EVAL) or lacking_sigma(),
)
