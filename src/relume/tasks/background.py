r"""The background of an X-ray image, by any method: learned, with an error bar, or classical."""

__all__ = [
    "METHODS",
    "NET",
    "SERIES",
    "Background",
    "BackgroundNet",
    "Find",
    "Method",
    "estimate_background",
    "find_method",
    "find_net",
    "place_among",
    "seen",
]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from relume import bundle as bundles
from relume import engines
from relume.background import (
    ESTIMATORS,
    NO_ARTEFACTS,
    Artefacts,
    Estimator,
    evened,
    filled,
    noise,
    with_glare,
    without_glare,
)
from relume.background.estimator import Needs, normalised
from relume.bundle import Bundle
from relume.degrade.illumination.fixed import fixed_map
from relume.degrade.illumination.grid import answered, asked, working
from relume.errors import BundleNotFound, UsageError

from .series import LEAST, Seen, series

NET, SERIES = "pix2pix", "series"
METHODS = (NET, SERIES, *ESTIMATORS)
"""Names that :func:`find_method` and :func:`estimate_background` know."""

_FIXED = "fixed_map"
_FLOOR = 0.02  # of an image's median: what is darker says nothing about the light
_ABOVE = 1.005  # times that: a tile that was raised to it before is not above
_STILL = (
    "the images of the series look like exposures of one place, and what they all show is divided out; "
    "--method pix2pix takes each alone"
)
_BELIEVED = 1.25  # standard errors of a series by which empty parts of one image may move its light
Image = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Background:
    """A background and what is known of its error.

    ``field`` is B (H,W) of median 1, ``sigma`` (H,W) the standard error of ln B, which is the relative error
    of B; ``None`` where the method gives none. ``model`` is the hash of the bundle that was used, ``doubt``
    what speaks against the answer, in words.
    """

    field: npt.NDArray[np.float64]
    sigma: npt.NDArray[np.float64] | None
    method: str
    model: str | None = None
    doubt: str | None = None


class BackgroundNet:
    """A background bundle on an engine, for one image after another.

    Args:
        model: name or path of a bundle for the task ``xray``.
        engine, device, precision, threads: as :func:`relume.engines.load` has them.
        empty: whether what is left slowly uneven where the image is empty for sure is taken off
            (:func:`relume.background.evened`).

    Raises:
        BundleNotFound: there is no such bundle.
        UsageError: it is for another task.
        EngineUnavailable: what was asked for cannot run here.
    """

    def __init__(
        self,
        model: str | Path = "xray",
        *,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        empty: bool = True,
    ) -> None:
        self.empty = empty
        self.bundle = bundles.find(model)
        card = self.bundle.card
        if card["task"] != "xray":
            raise UsageError(f'model "{self.bundle.name}" is for {card["task"]}, not for xray')
        self.side, self.multiple, self.error = card["side"], card["multiple_of"], card["error"]
        self.views = card.get("views", 1)
        self.unveiled = card.get("unveiled", False)  # whether it learned from images less their glare
        self.engine = engines.load(
            self.bundle,
            "background",
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            build=_build,
        )
        fixed = self.bundle.tensors().get(_FIXED)
        self.fixed = None if fixed is None else fixed.astype(np.float32)

    def __call__(self, image: Image, *, fixed: Image | None = None, glare: float = 0.0) -> Background:
        r"""The background of counts less the dark level (H,W).

        .. math:: \hat B \propto e^{F + u(f(s(I e^{-F})))}

        F is the fixed map (:func:`~relume.degrade.illumination.fixed.fixed_map`), s shrinks, u enlarges and f
        is the net. I is the image less its ``glare``, but for a net whose card does not say that it learned
        from such images. What is then slowly uneven where the image is empty is taken off, if ``empty``.
        Without ``fixed`` F is the bundle's own map if that has the image's size, else 0. The exposure does
        not matter: a factor on the image changes nothing.

        Raises:
            UsageError: the image is no (H,W) or dark, or the map is of another size.
        """
        if fixed is not None and fixed.shape != image.shape:
            raise UsageError(f"the fixed map is of size {fixed.shape}, the image of {image.shape}")
        if fixed is None and self.fixed is not None and self.fixed.shape == image.shape:
            fixed = self.fixed
        if image.ndim != 2:
            raise UsageError(f"an image is (H, W), not {image.shape}")
        light = np.asarray(image, np.float64)
        known = fixed is not None
        pattern = np.zeros(image.shape) if fixed is None else np.asarray(fixed, np.float64)
        grid = working((image.shape[0], image.shape[1]), self.side, self.multiple)
        bare = without_glare(light, glare)
        seen = bare if self.unveiled else light
        planes = self.engine(asked(seen * np.exp(-pattern), grid, known=known, views=self.views))
        low, spread = answered(planes, grid, (image.shape[0], image.shape[1]))
        field = low + pattern
        error = self.error["known" if known else "unknown"]
        sigma = np.sqrt(error["scale"] ** 2 * np.exp(spread) + error["fine"] ** 2)
        found = normalised(np.exp(field))
        if self.empty:
            found = evened(bare, found)
        return Background(found, sigma, NET, self.bundle.hash)


class Find(Protocol):
    """From an image (H,W) to its background."""

    def __call__(self, image: Image, place: float | None = None) -> Background:
        """``place`` is where among the references it was taken, 0 with the first: light may drift."""
        ...


class Method(NamedTuple):
    """A way to the backgrounds of a series of images.

    ``takes`` says what references are; without them it does only where ``needs`` is ``"nothing"``. ``model``
    is the bundle of a learned method, ``artefacts`` what is taken off an image before it is divided.
    """

    name: str
    needs: Needs
    takes: Needs
    start: Callable[[Sequence[Image], Artefacts, Sequence[float]], Find]
    model: Bundle | None = None
    artefacts: Artefacts = NO_ARTEFACTS

    def ready(self, references: Sequence[Image], places: Sequence[float] | None = None) -> Find:
        """Does once what need not be done again for every image, and gives the function from an image (H,W)
        to its :class:`Background`.

        Images are counts less the dark level, without outliers but with their glare; of references it is
        taken off. ``places`` of these, where some that lay between them are left out, rise.
        """
        return self.start(references, self.artefacts, range(len(references)) if places is None else places)


def find_method(
    name: str,
    *,
    net: BackgroundNet | None = None,
    model: str | Path = "xray",
    engine: str = "auto",
    empty: bool = True,
    artefacts: Artefacts | None = None,
) -> Method:
    """The method of that name.

    Args:
        name: one of :data:`METHODS`.
        net: for ``pix2pix`` and ``series``, one that is loaded already.
        model: for these without ``net``, the name or path of its bundle.
        engine: what runs it, as :func:`relume.engines.load` has it.
        empty: for ``pix2pix`` without ``net``, as :class:`BackgroundNet` has it.
        artefacts: what a camera adds and is taken off. Without: with the learned methods the glare that is
            expected, and outliers; with the classical methods nothing.

    Raises:
        UsageError: there is no such method, or the bundle is for something else.
        BundleNotFound: the model is not there.
        EngineUnavailable: no engine can run it.
    """
    if name not in METHODS:
        raise UsageError(f"no background method is called {name!r}; there are: {', '.join(METHODS)}")
    if name not in (NET, SERIES):
        return _classical(ESTIMATORS[name], NO_ARTEFACTS if artefacts is None else artefacts)
    found = find_net(model, engine, empty=empty) if net is None else net
    off = Artefacts() if artefacts is None else artefacts
    return _learned(found, off) if name == NET else _together(found, off)


def find_net(model: str | Path = "xray", engine: str = "auto", *, empty: bool = True) -> BackgroundNet:
    """The net of a bundle, on the engine that suits it or that is named.

    Raises:
        BundleNotFound: it is not there; the message names what does without.
        UsageError: the bundle is for something else.
        EngineUnavailable: no engine can run it.
    """
    try:
        return BackgroundNet(model, engine=engine, empty=empty)
    except BundleNotFound as error:
        raise BundleNotFound(
            f"{NET} and {SERIES} need the model {model}, which is not installed (relume models lists what "
            "is); without one: --method polynomial, or flat with a --reference; --field gradients"
        ) from error


def _classical(estimator: Estimator, artefacts: Artefacts) -> Method:
    def start(references: Sequence[Image], off: Artefacts, places: Sequence[float]) -> Find:
        kept: list[Background] = []

        def find(image: Image, place: float | None = None) -> Background:
            if not kept or not estimator.shared:
                # A shared answer follows from the references alone: an image without light is as good.
                seen = np.ones(image.shape) if estimator.shared else off.unveiled(image)
                kept[:] = [Background(estimator(seen, references), None, estimator.name)]
            return kept[0]

        return find

    return Method(estimator.name, estimator.needs, estimator.needs, start, artefacts=artefacts)


def _learned(net: BackgroundNet, artefacts: Artefacts) -> Method:
    def start(references: Sequence[Image], off: Artefacts, places: Sequence[float]) -> Find:
        fixed = fixed_map(references) if len(references) else None
        return lambda image, place=None: net(image, fixed=fixed, glare=off.share(image))

    return Method(NET, "nothing", "flats", start, net.bundle, artefacts)


def _together(net: BackgroundNet, artefacts: Artefacts) -> Method:
    def start(references: Sequence[Image], off: Artefacts, places: Sequence[float]) -> Find:
        lit, when = [], []
        for one, place in zip(references, places, strict=True):
            light = filled(off.mended(one).counts)
            if np.median(light) > 0:  # one that is dark over half its size shows the net nothing
                lit.append(seen(net, light, off.glare))
                when.append(place)
        if len(when) < LEAST <= len(references):
            raise UsageError(
                f"{len(references) - len(when)} of {len(references)} images of the series are dark over half "
                f"their size, and {LEAST} others are needed; is the dark level right?"
            )
        common = series(lit, when)

        def find(image: Image, place: float | None = None) -> Background:
            if image.shape != common.field.shape:
                raise UsageError(f"the series is of size {common.field.shape}, the image of {image.shape}")
            field, sigma = common.at(place)
            light = normalised(np.exp(field))
            even = evened(off.unveiled(image), light) if net.empty else light
            # What looks empty in one image is not believed against what all of them tell.
            believed = np.std(np.log(even / light)) <= _BELIEVED * np.median(sigma)
            doubt = _STILL if common.still else None
            return Background(even if believed else light, sigma, SERIES, net.bundle.hash, doubt)

        return find

    return Method(SERIES, "tiles", "tiles", start, net.bundle, artefacts)


def seen(net: BackgroundNet, light: Image, glare: float) -> Seen:
    """What a series takes of an image: counts (H,W) without outliers and ``glare``, finite everywhere."""
    answer = net(with_glare(light, glare), glare=glare)  # it takes it off itself
    assert answer.sigma is not None
    known = net.fixed is not None and net.fixed.shape == light.shape
    fine = net.error["known" if known else "unknown"]["fine"]  # what the grid cannot show a series holds
    floor = _FLOOR * float(np.median(light))
    counts = np.maximum(light, floor)
    spread = np.where(counts > _ABOVE * floor, np.minimum(noise(light) / counts, 1), 1)
    slow = np.sqrt(np.maximum(answer.sigma**2 - fine**2, 0))
    return Seen(
        *(np.asarray(each, np.float32) for each in (np.log(counts), np.log(answer.field), slow, spread))
    )


def estimate_background(
    image: Image,
    method: str = NET,
    references: Sequence[Image] = (),
    *,
    dark: Image | float = 0.0,
    net: BackgroundNet | None = None,
    artefacts: Artefacts | None = None,
) -> Background:
    """The background of one image (H,W) in counts.

    Args:
        image: counts as the camera gave them.
        method: one of :data:`METHODS`.
        references: flats or other tiles in counts, as the method needs them
            (:class:`relume.background.Estimator`). ``pix2pix`` needs none; of flats it takes the fixed map of
            the instrument. ``series`` needs three images of the session or more, in the order in which they
            were taken, this one among them or not.
        dark: the dark level in counts, taken off the image and the references.
        net: for ``pix2pix`` and ``series``, so that a model is loaded once for many images; the model
            ``xray`` without. Of a series :func:`~relume.tasks.correct.correct` asks it once an image.
        artefacts: what the camera adds, as :func:`find_method` has it.

    Raises:
        UsageError: there is no such method, or the image or the references are not as they have to be.
        BundleNotFound: the model of a learned method is not there.
    """
    sizes = {np.shape(one) for one in (image, *references, *([dark] if np.ndim(dark) else []))}
    if np.ndim(image) != 2 or len(sizes) > 1:
        raise UsageError(f"image, references and dark level are (H, W) of one size, not {sorted(sizes)}")
    found = find_method(method, net=net, artefacts=artefacts)
    off = found.artefacts
    lights = [off.unveiled(np.asarray(reference, np.float64) - dark) for reference in references]
    counts = off.mended(np.asarray(image, np.float64) - dark).counts
    return found.ready(lights)(counts, place_among(image, references) if found.takes == "tiles" else None)


def place_among(image: npt.ArrayLike, references: Sequence[npt.ArrayLike]) -> int | None:
    """Which of the references an image is, pixel by pixel."""
    whole = np.asarray(image)
    for place, one in enumerate(references):
        if np.shape(one) == whole.shape and np.array_equal(np.asarray(one), whole, equal_nan=True):
            return place
    return None


def _build(kind: str, config: dict[str, Any]) -> Any:
    from relume.nets import build

    return build(kind, config)
