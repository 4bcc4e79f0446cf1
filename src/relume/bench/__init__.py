r"""A ruler: figures about pictures and callables, from code that knows nothing of what it measures.

:data:`METRICS` lists the metrics that see the truth. To add one, write a file with a function
``(picture, truth) → float`` and a line here; the contract test runs over the list.
"""

__all__ = ["METRICS", "Metric", "psnr", "ssim", "tone_aligned"]

from functools import partial

from relume.bench.colour import delta_e2000
from relume.bench.gmsd import gmsd
from relume.bench.haarpsi import haarpsi, library
from relume.bench.metric import Metric, Picture, lacking
from relume.bench.quality import psnr, ssim, tone_aligned
from relume.bench.spectrum import BANDS, band_ratio, gradient_energy

EVAL = 'pip install "relume[eval]"'
PERCEPTUAL = 'pip install "relume[perceptual]"'


def tone_aligned_psnr(picture: Picture, truth: Picture) -> float:
    """PSNR in dB after the best gain and offset per channel: what is left is structure."""
    return psnr(tone_aligned(picture, truth), truth)


def _no_gmsd() -> str | None:
    reason = lacking("cv2", EVAL)
    if reason is None:
        import cv2

        if not hasattr(cv2, "quality"):
            reason = f"this OpenCV is without its contributed modules: {EVAL}"
    return reason


def _no_haarpsi() -> str | None:
    try:
        library()
    except Exception as error:  # torch may be missing, or broken
        return f"piq cannot be loaded ({type(error).__name__}): {PERCEPTUAL}"
    return None


METRICS: tuple[Metric, ...] = (
    Metric("psnr", "peak signal-to-noise ratio", "dB", float("inf"), "higher", psnr),
    Metric("ssim", "structural similarity", "", 1.0, "higher", ssim),
    Metric(
        "tone_aligned_psnr",
        "PSNR after the best gain and offset per channel",
        "dB",
        float("inf"),
        "higher",
        tone_aligned_psnr,
    ),
    Metric("gmsd", "gradient magnitude similarity deviation", "", 0.0, "lower", gmsd, _no_gmsd),
    Metric("haarpsi", "Haar wavelet perceptual similarity", "", 1.0, "higher", haarpsi, _no_haarpsi),
    Metric(
        "delta_e2000",
        "mean colour difference",
        "ΔE",
        0.0,
        "lower",
        delta_e2000,
        lambda: lacking("skimage.color", EVAL),
    ),
    Metric(
        "gradient_energy",
        "mean squared gradient over that of the truth",
        "ratio",
        1.0,
        "nearer",
        gradient_energy,
    ),
    *(
        Metric(
            f"spectrum_{short}_{long}px",
            f"energy at wavelengths of {short} to {long} pixels over that of the truth",
            "ratio",
            1.0,
            "nearer",
            partial(band_ratio, band=(short, long)),
        )
        for short, long in BANDS
    ),
)
