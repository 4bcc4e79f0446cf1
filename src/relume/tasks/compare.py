r"""Compare: two pictures → one that shows both, or a page with a slider between them."""

__all__ = ["SLIDER", "flat", "for_screen", "resized", "side_by_side", "slider"]

import base64
import html
from importlib.resources import files
from string import Template

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from relume import image as images
from relume.errors import UsageError
from relume.image import Image
from relume.tasks.finish import three_channels

Array = NDArray[np.float32]

SLIDER = {
    name: files("relume.tasks").joinpath("slider", name) for name in ("before-after.css", "before-after.js")
}
"""Style and script of the slider, for any page that holds the element ``<before-after>``."""

LOSSLESS_PIXELS = 4_000_000  # larger pictures go into a page as JPEG


def side_by_side(before: Image, after: Image, *, gap: int = 16) -> Image:
    """Both pictures in one, ``gap`` white pixels between them, 8-bit sRGB PNG.

    The lower one is enlarged to the height of the other; pictures of one height keep every pixel. What is
    transparent lies over white.

    Raises
    ------
    UsageError
        If ``gap`` is negative.

    >>> side_by_side(Image(np.zeros((4, 6, 1), np.float32)), Image(np.ones((4, 6, 3), np.float32))).width
    28
    """
    if gap < 0:
        raise UsageError(f"a gap of {gap} pixels is none: give 0 or more")
    shown = [flat(before), flat(after)]
    height = max(len(picture) for picture in shown)
    shown = [resized(picture, height, round(picture.shape[1] * height / len(picture))) for picture in shown]
    space = np.ones((height, gap, 3), np.float32)
    return Image(np.concatenate([shown[0], space, shown[1]], axis=1), format="PNG", bit_depth=8)


def slider(
    before: Image, after: Image, *, title: str = "relume", labels: tuple[str, str] = ("before", "after")
) -> str:
    """A page of HTML that needs nothing else: one picture over the other, and a slider that uncovers it.

    It works by mouse, touch and keyboard (arrows, Home, End), and loads nothing from anywhere.

    Raises
    ------
    UsageError
        If the pictures differ in shape by more than a hundredth, so that one cannot lie over the other.
    """
    shapes = [picture.width / picture.height for picture in (before, after)]
    if abs(shapes[0] / shapes[1] - 1) > 0.01:
        raise UsageError(
            f"a picture of {before.width}×{before.height} and one of {after.width}×{after.height} do not lie "
            "over each other: compare them side by side, with -o FILE.png"
        )
    return _PAGE.substitute(
        title=html.escape(title),
        width=after.width,
        height=after.height,
        before=_data_uri(before),
        after=_data_uri(after),
        before_label=html.escape(labels[0]),
        after_label=html.escape(labels[1]),
        style=SLIDER["before-after.css"].read_text(encoding="utf-8"),
        script=SLIDER["before-after.js"].read_text(encoding="utf-8"),
    )


def resized(picture: Array, height: int, width: int) -> Array:
    """H×W×C in [0,1] at another size, by Lanczos with antialiasing; the same size gives the same values."""
    if picture.shape[:2] == (height, width):
        return picture
    planes = [
        PilImage.fromarray(np.ascontiguousarray(picture[..., c])).resize(
            (max(1, width), height), PilImage.Resampling.LANCZOS
        )
        for c in range(picture.shape[2])
    ]
    together = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    return np.asarray(np.clip(together, 0, 1), dtype=np.float32)


def flat(image: Image) -> Array:
    """H×W×3 in sRGB, laid over white."""
    picture = three_channels(image.srgb())
    if image.alpha is None:
        return picture
    alpha = image.alpha[..., None]
    return np.asarray(picture * alpha + (1 - alpha), dtype=np.float32)


def for_screen(image: Image) -> tuple[str, bytes]:
    """The media type and bytes of a file that every browser shows: PNG, or JPEG where that would be large."""
    kind = "PNG" if image.height * image.width <= LOSSLESS_PIXELS else "JPEG"
    data = images.encode(Image(flat(image)), format=kind, bit_depth=8, quality=92)
    return f"image/{kind.lower()}", data


def _data_uri(image: Image) -> str:
    kind, data = for_screen(image)
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>$title</title>
<style>
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #222; color: #eee;
    font: 1rem/1.4 system-ui, sans-serif; }
  before-after { --shape: $width / $height; width: min(100vw, calc(96vh * var(--shape)), ${width}px); }
$style</style>
</head>
<body>
<before-after>
  <img class="after" alt="$after_label" src="$after">
  <img class="before" alt="$before_label" src="$before">
  <div class="line"></div>
  <span class="label left" aria-hidden="true">$before_label</span>
  <span class="label right" aria-hidden="true">$after_label</span>
  <input type="range" min="0" max="100" step="0.5" value="50"
    aria-label="How much of the picture &quot;$before_label&quot; is shown, in percent">
</before-after>
<script>
$script</script>
</body>
</html>
""")
