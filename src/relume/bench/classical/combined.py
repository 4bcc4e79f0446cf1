r"""What a careful person does by hand with classical tools: fill the marks, calm the noise, set the tone."""

__all__ = ["ROW", "combined"]

from relume.bench.classical.autocontrast import autocontrast
from relume.bench.classical.inpaint import TELEA, telea
from relume.bench.classical.median import median
from relume.bench.classical.row import Picture, Row


def combined(picture: Picture) -> Picture:
    """Telea inpainting of the marks, then the 3×3 median, then auto contrast."""
    return autocontrast(median(telea(picture)))


ROW = Row("combined", "inpainting, median, auto contrast", combined, TELEA.find, lacking=TELEA.lacking)
