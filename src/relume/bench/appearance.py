r"""What a picture looks like, without a truth to hold against it: levels, tint, grain."""

__all__ = ["APPEARANCE", "appearance", "appearance_distance"]

from collections.abc import Mapping, Sequence

import numpy as np

from relume.bench.metric import Picture

#: The figures of :func:`appearance`, with their units.
APPEARANCE: Mapping[str, str] = {
    "black": "lightness L*, 1st percentile",
    "middle": "lightness L*, median",
    "white": "lightness L*, 99th percentile",
    "contrast": "standard deviation of L*",
    "tint": "distance of the mean (a*, b*) from grey",
    "colours": "standard deviation of a* and b*",
    "grain": "robust standard deviation of the finest diagonal detail of luma, in [0,1]",
}


def appearance(picture: Picture) -> dict[str, float]:
    r"""The figures of one H×W×3 sRGB picture in [0,1], H and W at least 2.

    The grain is :math:`\operatorname{median}|d| / 0.6745` of the diagonal Haar coefficients of luma: edges
    are few among them, so that the median sees the noise. It depends on the size at which a picture is
    looked at; compare pictures of one size.

    Source: Donoho, Johnstone, *Ideal Spatial Adaptation by Wavelet Shrinkage*, 1994 (the noise level).
    """
    from skimage.color import rgb2lab

    lab = rgb2lab(picture)
    black, middle, white = np.percentile(lab[..., 0], [1, 50, 99])
    colour = lab[..., 1:].reshape(-1, 2)
    luma = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    luma = luma[: luma.shape[0] // 2 * 2, : luma.shape[1] // 2 * 2]
    diagonal = (luma[::2, ::2] - luma[1::2, ::2] - luma[::2, 1::2] + luma[1::2, 1::2]) / 2
    return {
        "black": float(black),
        "middle": float(middle),
        "white": float(white),
        "contrast": float(lab[..., 0].std()),
        "tint": float(np.hypot(*colour.mean(0))),
        "colours": float(colour.std(0).mean()),
        "grain": float(np.median(np.abs(diagonal)) / 0.6745),
    }


def appearance_distance(
    ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    r"""How far one collection of pictures looks from another, figure by figure.

    The 1-Wasserstein distance of the two distributions in units of the standard deviation of ``theirs``: 0
    where they agree, 1 where the pictures would have to move by that much on average.
    """
    found = {}
    levels = (np.arange(200) + 0.5) / 200
    for name in APPEARANCE:
        a, b = (np.array([one[name] for one in many]) for many in (ours, theirs))
        apart = np.abs(np.quantile(a, levels) - np.quantile(b, levels)).mean()
        found[name] = float(apart / max(b.std(), 1e-9))
    return found
