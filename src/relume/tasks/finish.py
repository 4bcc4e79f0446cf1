r"""Before and after the nets: channels, grey pictures, and what is to be kept."""

__all__ = [
    "THRESHOLD",
    "Spread",
    "finish",
    "grown",
    "is_grey",
    "mask_from",
    "preserve",
    "three_channels",
    "weight_of",
]

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageFilter

from relume.image import Image

Array = NDArray[np.float32]

# A pixel whose damage probability is above this counts as damaged: to miss a scratch is worse than to mend
# what is whole.
THRESHOLD = 0.2


class Spread:
    """Mean and deviation of pictures that come one by one, by Welford's recurrence: stable in float32."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Array = np.zeros((), np.float32)
        self._squares: Array = np.zeros((), np.float32)

    def add(self, picture: Array) -> None:
        """Take in one more H×W×3 picture."""
        self.count += 1
        change = picture - self.mean
        self.mean = np.asarray(self.mean + change / np.float32(self.count), dtype=np.float32)
        self._squares = np.asarray(self._squares + change * (picture - self.mean), dtype=np.float32)

    def deviation(self) -> Array:
        """The sample standard deviation, over channels the root of the mean variance: H×W float32."""
        variance = self._squares.mean(axis=2) / np.float32(max(1, self.count - 1))
        return np.asarray(np.sqrt(np.maximum(variance, 0)), dtype=np.float32)


def mask_from(picture: Image) -> Array:
    """H×W in [0,1] from a picture of the damage: its mean over the channels, and 0 where it is transparent.

    A mask that was painted on a layer of its own is white all over, but for its alpha.
    """
    drawn = picture.pixels.mean(axis=2)
    return np.asarray(drawn if picture.alpha is None else drawn * picture.alpha, dtype=np.float32)


def three_channels(picture: Array) -> Array:
    """H×W×1 or H×W×3 → H×W×3."""
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def is_grey(picture: Array) -> bool:
    """Whether an RGB picture holds no colour (to within JPEG's rounding)."""
    # Colour, where there is any, is in a few pixels already: the whole is asked only where they have none.
    return all(
        bool(np.abs(part - part.mean(axis=2, keepdims=True)).max() < 2.5 / 255)
        for part in (picture[::16, ::16], picture)
    )


def grown(levels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The maximum over a square of an odd ``side`` around each pixel; H×W, outside there is nothing.

    Row by row and then column by column: 2 × side comparisons of a pixel, where a rank filter sorts side².
    """
    for axis in (0, 1):
        along = levels.swapaxes(0, axis)
        padded = np.pad(along, ((side // 2, side // 2), (0, 0)))
        for k in range(side):
            along = np.maximum(along, padded[k : k + len(along)])
        levels = along.swapaxes(0, axis)
    return levels


def weight_of(mask: Array) -> Array:
    """How much of the clean picture :func:`preserve` takes at each pixel, H×W in [0,1].

    1 in the damage, a soft border, and exactly 0 beyond 6 pixels from it.
    """
    damaged = grown(((mask > THRESHOLD) * 255).astype(np.uint8), 9)
    soft = PilImage.fromarray(np.ascontiguousarray(damaged)).filter(ImageFilter.BoxBlur(2))
    return np.asarray(soft, dtype=np.float32) / np.float32(255)


def preserve(toned: Array, clean: Array, mask: Array) -> Array:
    """The clean picture in and near the damage, the toned original elsewhere, a soft border between.

    Beyond 6 pixels from the damage the result is the toned original, exactly.
    """
    return np.asarray(toned + weight_of(mask)[..., None] * (clean - toned), dtype=np.float32)


def finish(image: Image, clean: Array) -> Image:
    """Back into the picture's own colours; a one-channel picture stays one."""
    own = clean.mean(axis=2, keepdims=True, dtype=np.float32) if image.gray else clean
    return image.with_srgb(own)
