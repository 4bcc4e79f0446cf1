r"""Backgrounds side by side on simulated sessions, and a mosaic against its truth."""

__all__ = [
    "FIGURES",
    "Situation",
    "against_reference",
    "compare",
    "evaluate_mosaic",
    "judge_mosaic",
    "situations",
]

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from relume.background import NO_ARTEFACTS
from relume.bench.stitching import low_frequency_bias, pitch_peak, seams
from relume.bench.transmission import fidelity, hallucination, report, scaled, smoothed
from relume.bench.uncertainty import coverage
from relume.degrade.illumination import Mosaic, Shot, Simulator
from relume.degrade.illumination.formation import optics
from relume.degrade.illumination.shots import window
from relume.degrade.phantoms import wedge
from relume.mosaic import Settings, Solution, solve
from relume.mosaic.balance import Balance, Gauge
from relume.mosaic.fuse import Canvas, bands, canvas, laid
from relume.mosaic.looks import Looks
from relume.scan import Scan

from .background import SERIES, Method
from .correct import correct
from .mosaic_field import common_field
from .xray import flat_fielded

_VALID = 0.97  # of the vignette
FIGURES = ("psnr", "ssim", "density_error", "density_slope", "flatness", "detail", "loss")
"""Figures of :class:`~relume.bench.transmission.Report` in the table."""


class Situation(NamedTuple):
    """One session with four samples in the same light, and what a method may use."""

    shots: dict[str, Shot]
    flats: list[npt.NDArray[np.float64]]
    stale: list[npt.NDArray[np.float64]]
    tiles: list[npt.NDArray[np.uint16]]


def situations(seeds: Sequence[int], n: int, *, tiles: int = 16) -> Iterator[Situation]:
    """One a session: a mixed sample, one without an empty pixel, none at all, and a wedge in absorption."""
    for seed in seeds:
        mixed, index = Simulator(seed, n), seed % 20
        shots = {"mixed": mixed.shot(index)}
        for kind in ("full-field", "empty"):
            shots[kind] = mixed.shot(index, scene=Simulator(seed, n, kinds=(kind,)).scene(index))
        how = optics(np.random.default_rng(seed), zernike=False)
        shots["wedge"] = mixed.shot(index, scene=window(wedge((n, n)), how, (0.0, 0.0), n))
        others = [mixed.shot((index + 1 + k) % 20).raw for k in range(tiles)]
        yield Situation(
            shots, [mixed.flat(index, exposures=10)], [mixed.flat(index, shape_drift=0.015)], others
        )


def compare(methods: Sequence[Method], found: Situation) -> dict[str, dict[str, float]]:
    """Method → its figures in one situation.

    Those of :data:`FIGURES` are of the mixed sample. ``full-field`` is the PSNR without an empty pixel,
    ``empty`` the rms of slow errors where nothing stands in the light, ``slope`` that of optical density on
    the wedge, ``hallucination`` how much the background changes with the sample, ``coverage`` of 90 %
    intervals.
    """
    figures = {}
    for method in methods:
        flats = found.stale if method.name == "stale-flat" else found.flats
        choices: dict[str, Sequence[Any]] = {"flats": flats, "tiles": found.tiles, "nothing": ()}
        references = choices[method.needs]
        dark = found.shots["mixed"].dark
        raws = [shot.raw for shot in found.shots.values()]
        how: dict[str, Any] = {"method": method, "dark": dark, "uncertainty": True}
        if method.name == SERIES:  # of the image: it is one of them, the first
            each = [[raw, *references] for raw in raws]
            done = [next(correct([way[0]], references=way, **how)) for way in each]
        else:
            done = list(correct(raws, references=references, **how))
        figures[method.name] = _figures(dict(zip(found.shots, done, strict=True)), found.shots)
    return figures


def _figures(done: dict[str, Any], shots: dict[str, Shot]) -> dict[str, float]:
    valid = shots["mixed"].vignette > _VALID
    t, truth = done["mixed"].transmission, shots["mixed"].clean
    whole = report(t, truth, valid)
    factor = float(np.median(scaled(t, truth, valid)[valid] / t[valid]))
    empty = smoothed(done["empty"].transmission, 16, valid)[valid]
    return {
        **{name: float(getattr(whole, name)) for name in FIGURES},
        "full-field": report(done["full-field"].transmission, shots["full-field"].clean, valid).psnr,
        "empty": float(np.std(empty / empty.mean())),
        "slope": report(done["wedge"].transmission, shots["wedge"].clean, valid).density_slope,
        "hallucination": hallucination(done["mixed"].background, done["full-field"].background, valid),
        "coverage": coverage(factor * t, truth, factor * done["mixed"].sigma, valid),
        "background_error": hallucination(done["mixed"].background, shots["mixed"].background, valid),
    }


def against_reference(
    scan: Scan, methods: Sequence[Method], *, binned: int = 4
) -> dict[str, dict[str, float]]:
    """Method → its figures on a measured scan, with the scan over its own flat field taken for the truth.

    Glare and outliers are left in on both sides: in the truth they are, of image and flat. Means of
    ``binned``² pixels are compared: a measured field has noise of its own.
    """
    truth = _binned(next(iter(flat_fielded(scan))), binned)
    dark = 0.0 if scan.darks is None else scan.darks.mean()
    flats = [] if scan.flats is None else list(scan.flats)
    light = _binned(np.mean(flats, axis=0) - dark, binned)
    valid = np.isfinite(truth) & (light > 0.3 * np.median(light))
    truth = np.where(valid, truth, 1.0)
    figures = {}
    for method in methods:
        choices: dict[str, Sequence[Any]] = {"flats": flats, "tiles": scan.frames, "nothing": ()}
        references = choices[method.needs]
        alike = method._replace(artefacts=NO_ARTEFACTS)
        (done,) = correct([scan.frames[0]], method=alike, dark=dark, references=references)
        whole = report(np.where(valid, _binned(done.transmission, binned), 1.0), truth, valid)
        figures[method.name] = {name: float(getattr(whole, name)) for name in FIGURES}
    return figures


def _binned(picture: npt.NDArray[np.floating], step: int) -> npt.NDArray[np.floating]:
    step = min(step, *picture.shape)
    h, w = (side // step for side in picture.shape)
    return np.asarray(picture[: h * step, : w * step].reshape(h, step, w, step).mean((1, 3)))


def evaluate_mosaic(
    mosaic: Mosaic, settings: Settings, *, model: str = "xray", engine: str = "auto"
) -> dict[str, float]:
    """The figures of one mosaic: seams, quality, slow bias, the grid of tiles, gains, places, field.

    Seams are those of the tiles as they are fused: moved to whole pixels, without what is left out.
    """
    shots = list(mosaic)
    dark = mosaic.simulator.session.detector.dark
    looks = Looks([shot.raw for shot in shots], dark, artefacts=settings.artefacts)
    chosen = common_field(
        settings.common,
        model,
        engine,
        tiles=len(shots),
        empty=settings.prior.empty,
        glare=settings.artefacts.glare,
    )
    found = solve(looks, mosaic.nominal, settings=settings, estimator=chosen.estimator)
    return judge_mosaic(mosaic, shots, looks, found)


def judge_mosaic(mosaic: Mosaic, shots: Sequence[Shot], looks: Looks, found: Solution) -> dict[str, float]:
    """The figures of a solution, by whomever, for the tiles ``shots`` of a simulated mosaic."""
    apart = (mosaic.positions - found.places).mean(0)
    real = mosaic.positions - apart
    on = canvas(np.concatenate([found.places, real]), looks.shape)
    made, truth = _fused(looks, found, on), _truth([shot.clean for shot in shots], real, on)
    valid = np.isfinite(made) & np.isfinite(truth)
    t, y = np.where(valid, made, 1.0), np.where(valid, truth, 1.0)
    agreement = seams([laid(looks, found, i) for i in range(len(looks))], np.floor(found.places))
    gains = found.balance.gains - np.log([shot.gain for shot in shots])
    light = np.mean([np.log(shot.background) for shot in shots], axis=0)
    psnr, density = fidelity(t, y, valid)
    figures = {
        "psnr": psnr,
        "density_error": density,
        "seam": float(np.sqrt(np.mean([s.rms**2 for s in agreement]))),
        "seam_median": float(np.median([abs(s.median) for s in agreement])),
        "bias": low_frequency_bias(t, y, valid, sigma=150 * mosaic.n / 512),
        "gains": float(np.std(gains)),
        "places": float(np.sqrt(np.mean(np.sum((found.places - real) ** 2, axis=1)))),
        "field": float(np.std((found.field - light)[shots[0].vignette > _VALID])),
        "open_modes": float(found.balance.gauge.open_modes),
    }
    if mosaic.k >= 4:
        figures |= {"pitch": pitch_peak(t, mosaic.step), "pitch_truth": pitch_peak(y, mosaic.step)}
    return figures


def _fused(looks: Looks, found: Solution, on: Canvas) -> npt.NDArray[np.float32]:
    return np.concatenate([band.transmission for band in bands(looks, found, on)])


def _truth(cleans: list[Any], places: npt.NDArray[np.float64], on: Canvas) -> npt.NDArray[np.float32]:
    """The true tiles laid by the same fusion, so that nothing but the solution differs."""
    n = len(cleans)
    level = 1e4
    gauge = Gauge(0, [], [], {})
    held = Balance(np.full(n, np.log(level)), np.zeros((n, 5)), np.zeros(14), np.zeros(n), gauge)
    looks = Looks([level * clean for clean in cleans])
    return _fused(looks, Solution(places, [], np.zeros(looks.shape), held, (1.0, 0.0)), on)
