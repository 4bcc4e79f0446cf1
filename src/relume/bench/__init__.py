r"""A ruler: figures about pictures and callables, from code that knows nothing of what it measures.

Photographs: :mod:`.quality` and its neighbours. X-ray images: :mod:`.transmission`, :mod:`.stitching`,
:mod:`.uncertainty`. Time, memory and energy of any callable: :mod:`.clock`, :mod:`.memory`, :mod:`.energy`,
:mod:`.roofline`; :mod:`.report` holds them as data and :mod:`.plot` draws them.

:data:`METRICS` lists the metrics that see the truth. To add one, write a file with a function
``(picture, truth) → float`` and a line here; the contract test runs over the list.
"""

__all__ = ["METRICS", "Metric", "psnr", "ssim", "tone_aligned"]

from functools import partial

from relume.bench.colour import delta_e2000, delta_e2000_lacking
from relume.bench.gmsd import gmsd, gmsd_lacking
from relume.bench.haarpsi import haarpsi, haarpsi_lacking
from relume.bench.metric import Metric
from relume.bench.quality import psnr, ssim, tone_aligned, tone_aligned_psnr
from relume.bench.spectrum import BANDS, band_ratio, gradient_energy

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
    Metric("gmsd", "gradient magnitude similarity deviation", "", 0.0, "lower", gmsd, gmsd_lacking),
    Metric("haarpsi", "Haar wavelet perceptual similarity", "", 1.0, "higher", haarpsi, haarpsi_lacking),
    Metric(
        "delta_e2000",
        "mean colour difference",
        "ΔE",
        0.0,
        "lower",
        delta_e2000,
        delta_e2000_lacking,
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
