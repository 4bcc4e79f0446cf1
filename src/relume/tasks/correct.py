r"""X-ray images over a background that is estimated: arrays in, arrays out.

.. math:: T = \frac{I - D - G}{L\,B}, \qquad \operatorname{median}(B) = 1

G is the glare (:mod:`relume.background.artefacts`), where it is taken off. :math:`B` comes from a method,
:math:`L` is what an empty field gives in counts: from the reference where that is of the same moment,
otherwise from the brightest part of the image itself, which is a guess. Nothing is clipped.
"""

__all__ = [
    "PERCENTILE",
    "SPREAD",
    "Corrected",
    "Ready",
    "apart",
    "brightest",
    "correct",
    "gauge",
    "prepared",
    "thickness",
]

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relume.background import corrected, filled, lone, noise, optical_density, without_glare
from relume.bench.transmission import smoothed
from relume.errors import UsageError

from .background import Find, Method, place_among

Frame = npt.NDArray[np.float32]
Image = npt.NDArray[np.floating] | npt.NDArray[np.integer]

PERCENTILE = 95
"""Of the light over the background, blurred by 4 pixels: what is taken for empty where no reference tells."""

_TILES, _FEWEST = 64, 12  # frames of a series: more than a common background needs, and fewer than that
_PIXELS = 2**26  # of them together, or memory is spent

SPREAD = {
    "none": 0.190,
    "rolling-ball": 0.130,
    "gaussian": 0.080,
    "polynomial": 0.080,
    "tile-median": 0.030,
    "basic": 0.050,
    "flat": 0.004,
    "stale-flat": 0.016,
    "eigen-flats": 0.006,
}
"""Method → how far ln B is off at a pixel: one standard deviation, on simulated sessions. A learned method
tells its own.

``relume xray eval`` measures the coverage of the intervals that follow."""


class Corrected(NamedTuple):
    """One image: ``transmission`` T and ``background`` B (H,W), ``level`` L in counts, ``sigma`` of T or
    None; how many ``outliers`` were replaced, and the share of the mean that was taken off as ``glare``;
    ``doubt`` says what speaks against the background."""

    transmission: Frame
    background: Frame
    level: float
    sigma: Frame | None
    outliers: int = 0
    glare: float = 0.0
    doubt: str | None = None


class Ready(NamedTuple):
    """The way from an image to its background, the outliers of the references (flattened), which dividing
    takes off, and the counts of an empty field where a reference tells them."""

    find: Find
    bright: npt.NDArray[np.intp] | None
    known: float | None


def gauge(name: str) -> str:
    """What fixes the factor that a method leaves free, in words."""
    if name == "flat":
        return "1 is what the reference gives"
    return f"1 is the {PERCENTILE}th percentile of each frame, blurred by 4 pixels"


def correct(
    images: Iterable[Image],
    *,
    method: Method,
    dark: Image | float = 0.0,
    references: Sequence[Image] = (),
    scale: float = 1.0,
    places: Sequence[float] | None = None,
    ready: Ready | None = None,
    uncertainty: bool = False,
    blank: Callable[[int, UsageError], None] | None = None,
) -> Iterator[Corrected]:
    r"""Divides the background out of images, one at a time.

    Args:
        images: counts (H,W), all of one size.
        method: see :func:`relume.tasks.background.find_method`; its ``artefacts`` are taken off images,
            and the glare off references.
        dark: what the detector gives without light, a number or (H,W).
        references: with the dark level in them: flat frames, or the tiles of the series, as ``method.takes``
            says. Of more than 64 tiles (16 of 2048² pixels) every second, third, … is taken; those without
            light are left out.
        scale: exposure of the images over that of the flats.
        places: where among the tiles each image was taken, 0 with the first, 0.5 between that and the second:
            light drifts. Not needed for an image that is one of them.
        ready: what :func:`prepared` made of the references, where they serve many calls.
        uncertainty: whether ``sigma`` is made: photon noise of the image, measured in it, the error of
            the background and that of the glare, taken as independent. A learned method tells that of the
            background at every pixel; of the others it is what the method shows on simulated images
            (:data:`SPREAD`).
        blank: called with the number of an image without light, from 0 on, and the error; the image comes
            back as nan, and the others go on. Without it the error is raised.

    Raises:
        UsageError: references are missing or of another size, or an image is dark; the image is named by its
            number from 1 on.
    """
    off = method.artefacts
    find, bright, known = prepared(method, references, dark, scale) if ready is None else ready
    for number, image in enumerate(images):
        counts = np.asarray(image, np.float64) - dark
        try:
            if known is None and not _lit(counts):
                raise UsageError("there is no light in it; is the dark level right?")
            counts, outliers, about = off.mended(counts, bright=bright)
            share = off.share(counts)
            place = None if places is None else places[number]
            if places is None and method.takes == "tiles":
                place = place_among(image, references)
            found = find(counts, place)
            through = without_glare(counts, share)
            over = corrected(through, found.field)
            level = brightest(over) if known is None else known
        except UsageError as error:
            named = UsageError(f"frame {number + 1}: {error}")
            if blank is None or _lit(counts):
                raise named from error
            blank(number, named)
            nothing = np.full(counts.shape, np.nan, np.float32)
            yield Corrected(nothing, nothing, float("nan"), nothing if uncertainty else None)
            continue
        t = (over / np.float32(level)).astype(np.float32)
        sigma = None
        if uncertainty:
            drift = SPREAD[method.name] if found.sigma is None else found.sigma
            field = np.maximum(found.field, 1e-9 / level)
            of_pixels = noise(counts).astype(np.float64)
            of_pixels.flat[outliers] = np.hypot(of_pixels.flat[outliers], about)
            variance = (of_pixels / (level * field)) ** 2 + (drift * t) ** 2
            if off.deviation:
                variance += _of_glare(off.deviation, through / level, t, field, known is not None) ** 2
            sigma = np.sqrt(variance).astype(np.float32)
        yield Corrected(t, found.field.astype(np.float32), level, sigma, len(outliers), share, found.doubt)


def prepared(
    method: Method, references: Sequence[Image], dark: Image | float = 0.0, scale: float = 1.0
) -> Ready:
    """What need not be done again for every image; the arguments are those of :func:`correct`.

    Raises:
        UsageError: references are missing or of another size.
    """
    off = method.artefacts
    tiles = method.takes == "tiles" and len(references) > 0
    every = apart(len(references), np.shape(references[0])) if tiles else 1
    chosen = references[::every]
    for one in chosen:
        if np.ndim(dark) and np.shape(one) != np.shape(dark):
            raise UsageError(f"a reference is of size {np.shape(one)}, the dark level of {np.shape(dark)}")
    light, among = [], []
    for number, one in enumerate(chosen):
        counted = np.asarray(one, np.float64) - dark
        if _lit(counted):
            light.append(off.unveiled(counted))
            among.append(number * every)
    if len(references) and not light:
        raise UsageError("no reference holds light; is the dark level right?")
    # A pixel that shines in the reference too is divided by it; one with a larger gain only seems to.
    shared = off.outliers and method.takes == "flats" and light
    bright = lone(np.mean(light, axis=0)) if shared else None
    known = scale * _middle(light) if method.name == "flat" and light else None
    return Ready(method.ready(light, among), bright, known)


def _of_glare(
    deviation: float,
    light: npt.NDArray[np.float64],
    t: Frame,
    field: npt.NDArray[np.floating],
    known: bool,
) -> npt.NDArray[np.float64]:
    """What T is off if the glare is off by ``deviation``: the veil lightens what is dark. 1 stays 1, where it
    is the brightest part; where it is ``known`` from a reference, that has a veil of its own."""
    veil = float(np.mean(light, where=np.isfinite(light)))
    whole = float(np.mean(field, where=np.isfinite(field))) / field if known else 1.0
    return np.asarray(deviation * (veil / field - t * whole), np.float64)


def apart(frames: int, size: tuple[int, ...]) -> int:
    """Every how manieth of so many frames (H,W) is taken for a common background: 64 or fewer, and of frames
    above 1024² pixels so many that they have no more together, 12 at the least."""
    most = min(_TILES, max(_FEWEST, _PIXELS // max(1, int(np.prod(size)))))
    return max(1, -(-frames // most))


_CLEAR = 3  # what is this many times the noise of a pixel is light


def _lit(counts: npt.NDArray[np.float64]) -> bool:
    """Whether the brightest part of what was measured stands out from the noise about the dark level."""
    finite = counts[np.isfinite(counts)]
    if not finite.size:
        return False
    steps = np.abs(np.diff(counts, axis=-1)) if counts.shape[-1] > 1 else np.zeros(1)
    steps = steps[np.isfinite(steps)]
    spread = 1.4826 * float(np.median(steps)) / np.sqrt(2) if steps.size else 0.0
    return bool(np.percentile(finite, PERCENTILE) > _CLEAR * spread)


def _middle(flats: Sequence[npt.NDArray[np.float64]]) -> float:
    """The median of the mean flat where any of them measured."""
    measured = np.any([np.isfinite(one) for one in flats], axis=0)
    return float(np.median(np.mean([filled(one) for one in flats], axis=0)[measured]))


def brightest(over: npt.NDArray[np.floating]) -> float:
    """What an empty field would give, judged from the light over the background: see :data:`PERCENTILE`.

    Raises:
        UsageError: there is no light.
    """
    usable = np.isfinite(over)
    found = float(np.percentile(smoothed(over, 4, usable)[usable], PERCENTILE)) if usable.any() else 0.0
    if not found > 0:
        raise UsageError("the image is dark; is the dark level right?")
    return found


def thickness(transmission: npt.NDArray[np.floating], mu: float) -> Frame:
    r"""Thickness in µm, :math:`t = -\ln T / \mu`, of an absorption image; ``mu`` in 1/cm. nan where T ≤ 0.

    Raises:
        UsageError: ``mu`` is not positive.
    """
    if not mu > 0:
        raise UsageError(f"an attenuation of {mu:g}/cm gives no thickness")
    return (optical_density(transmission) * np.float32(1e4 / mu)).astype(np.float32)
