r"""A ruler: figures about pictures and callables, from code that knows nothing of what it measures.

Photographs: :mod:`.quality`. X-ray images: :mod:`.transmission`, :mod:`.stitching`, :mod:`.uncertainty`.
"""

__all__ = ["psnr", "ssim", "tone_aligned"]

from relume.bench.quality import psnr, ssim, tone_aligned
