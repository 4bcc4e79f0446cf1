r"""What a careful person does by classical means: fill the marks, take noise away, set the tone."""

__all__ = ["ROW", "combined"]

from relume.bench.classical.autocontrast import autocontrast
from relume.bench.classical.denoise import ROW as DENOISE
from relume.bench.classical.denoise import denoise
from relume.bench.classical.inpaint import TELEA, telea
from relume.bench.classical.row import Picture, Row


def combined(picture: Picture) -> Picture:
    """Telea inpainting of the marks of an H×W×3 picture, median, non-local means, then auto contrast."""
    return autocontrast(denoise(telea(picture)))


ROW = Row(
    "combined",
    "inpainting, median, non-local means, auto contrast",
    combined,
    TELEA.find,
    lacking=lambda: TELEA.lacking() or DENOISE.lacking(),
)
