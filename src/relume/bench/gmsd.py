r"""Gradient magnitude similarity deviation: does the structure stand where it stood?"""

__all__ = ["gmsd", "gmsd_lacking"]

import numpy as np

from relume.bench.metric import EVAL, Picture, lacking, luma, same_shape


def gmsd(picture: Picture, truth: Picture) -> float:
    r"""Standard deviation of the gradient magnitude similarity of two H×W×3 pictures in [0,1].

    .. math:: \mathrm{GMS} = \frac{2 g_p g_t + T}{g_p^2 + g_t^2 + T}, \qquad T = 170 \text{ at a range of 255}

    with Prewitt gradients of the luma at half resolution. 0 where the pictures are equal; more is worse, and
    0.35 is very bad. Computed by OpenCV (``quality`` of its contributed modules).

    Raises
    ------
    UsageError
        If the pictures differ in shape.

    Source: Xue, Zhang, Mou, Bovik, *Gradient Magnitude Similarity Deviation*, 2014.
    """
    same_shape(picture, truth)
    import cv2

    levels = [np.ascontiguousarray(luma(each) * np.float32(255)) for each in (truth, picture)]
    ruler = getattr(cv2, "quality")  # noqa: B009  not in every build of OpenCV
    return float(ruler.QualityGMSD_compute(*levels)[0][0])


def gmsd_lacking() -> str | None:
    """Why it cannot be computed here, with the way out; ``None`` where it can."""
    reason = lacking("cv2", EVAL)
    if reason is None:
        import cv2

        if not hasattr(cv2, "quality"):
            reason = f"this OpenCV is without its contributed modules: {EVAL}"
    return reason
