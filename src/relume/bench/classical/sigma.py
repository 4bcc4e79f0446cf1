r"""How noisy is a picture? The classical denoisers have to be told."""

__all__ = ["estimated", "lacking_sigma"]

from relume.bench.classical.row import Picture
from relume.bench.metric import EVAL, lacking


def estimated(picture: Picture) -> float:
    """Standard deviation of white noise in an H×W×3 picture, mean over channels, in units of [0,1].

    From the median absolute wavelet coefficient of the finest diagonal band, by scikit-image.

    Source: Donoho, Johnstone, *Ideal Spatial Adaptation by Wavelet Shrinkage*, 1994.
    """
    from skimage.restoration import estimate_sigma

    return float(estimate_sigma(picture, channel_axis=2, average_sigmas=True))


def lacking_sigma() -> str | None:
    """Why the noise cannot be estimated here; ``None`` where it can."""
    return lacking("skimage.restoration", EVAL) or lacking("pywt", EVAL)
