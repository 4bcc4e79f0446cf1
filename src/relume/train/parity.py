r"""The parity check: every engine, at every precision it has, against torch at f32 on the same pictures."""

__all__ = ["Measured", "cases", "compared", "parity", "pictures", "verdict"]

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relume import engines
from relume.bundle import Bundle
from relume.degrade.recipes import recipe
from relume.engines.gate import LEAST_DB, figure
from relume.errors import EngineUnavailable
from relume.nets import build
from relume.train.photos import Photos, find_photos

Array = NDArray[np.float32]
Measured = dict[str, dict[str, float]]

ENGINES = ("openvino", "onnx", "pytorch")
_SIDE = 256


def parity(
    bundle: Bundle,
    pictures: Array,
    *,
    precisions: Sequence[str] = tuple(LEAST_DB),
    report: Callable[[str], None] = print,
) -> Measured:
    r"""Least PSNR of each installed engine against torch at f32: precision → engine → dB.

    .. math:: \min_i\; -10 \log_{10} \operatorname{mean} (\hat{x}_i - x_i)^2

    All graphs are compared; the chain is entered at t = 1 and t = 0.5. A result that is not finite gives
    NaN, which passes nowhere.

    Parameters
    ----------
    pictures:
        Damaged pictures, N×3×H×W in [0,1].
    """
    thumbnails = [(picture[None, :, ::4, ::4],) for picture in pictures]
    inputs = cases(pictures)

    def answers(engine: str, precision: str) -> list[Array]:
        options: dict[str, Any] = {"engine": engine, "build": build, "force": True}
        local = engines.load(bundle, "local", precision=precision, **options)
        small = [graph for graph in bundle.card["graphs"] if graph != "local"]
        answered = [_picture(local(*case)) for case in inputs]
        for graph in small:
            net = engines.load(bundle, graph, precision="f32", **options)
            answered += [net(*thumbnail) for thumbnail in thumbnails]
        return answered

    return compared(answers, precisions=precisions, report=report)


def compared(
    answers: Callable[[str, str], list[Array]],
    *,
    precisions: Sequence[str] = tuple(LEAST_DB),
    report: Callable[[str], None] = print,
) -> Measured:
    """Least PSNR of ``answers(engine, precision)`` against those of torch at f32, over a range of 1."""
    expected = answers("pytorch", "f32")
    measured: Measured = {}
    for precision in precisions:
        for engine in ENGINES:
            if (engine, precision) == ("pytorch", "f32"):
                continue
            try:
                given = answers(engine, precision)
            except EngineUnavailable as error:
                report(f"parity {engine} {precision}: not compared ({error})")
                continue
            measured.setdefault(precision, {})[engine] = least = _least_psnr(given, expected)
            report(f"parity {engine} {precision}: {least:.1f} dB against torch f32")
    return measured


def verdict(measured: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The card's ``precisions`` and ``parity``.

    A precision is listed where an engine passed at it, and f32 only where all did. A figure that is not
    finite is written as ``null``.
    """
    precisions = []
    for precision, least in LEAST_DB.items():
        good = [value >= least for value in measured.get(precision, {}).values()]
        if good and (all(good) if precision == "f32" else any(good)):
            precisions.append(precision)
    return {
        "precisions": precisions,
        "parity": {
            figure(precision, engine): round(value, 1) if np.isfinite(value) else None
            for precision, values in measured.items()
            for engine, value in values.items()
        },
    }


def _picture(result: Array) -> Array:
    """The restored picture; an infinity becomes NaN, so that clipping does not hide it."""
    raw = result[:, :3]
    return np.where(np.isfinite(raw), np.clip(raw, 0, 1), np.float32(np.nan))


def _least_psnr(given: Sequence[Array], expected: Sequence[Array]) -> float:
    """NaN where anything is not finite; at most 150 dB, which is the noise of float32."""
    errors = [float(np.mean((a - b) ** 2)) for a, b in zip(given, expected, strict=True)]
    return -10 * float(np.log10(np.max([*errors, 1e-15])))  # np.max keeps a NaN, max() may lose it


def cases(pictures: Array) -> list[tuple[Array, ...]]:
    """Inputs of the local net for each picture, at t = 1 and t = 0.5."""
    mask = np.zeros_like(pictures[:1, :1])
    return [
        (picture[None], np.concatenate([picture[None], mask], axis=1), np.full(1, t, np.float32))
        for picture in pictures
        for t in (1.0, 0.5)
    ]


def pictures(folder: Path | None, *, count: int = 6, seed: int = 0) -> Array:
    """Damaged pictures, N×3×S×S: real photographs, or patterns where there is no folder of them."""
    rng = np.random.default_rng(seed)
    if folder is None:
        grid = np.indices((_SIDE, _SIDE)) / _SIDE
        waves = [
            np.sin(2 * np.pi * (k + 1) * (grid[0] * np.cos(k) + grid[1] * np.sin(k))) for k in range(count)
        ]
        clean = [np.stack([0.5 + 0.4 * w, 0.5 - 0.3 * w, 0.5 + 0.2 * w**2], axis=-1) for w in waves]
    else:
        files = find_photos(folder)
        photos = Photos([files[i] for i in np.linspace(0, len(files) - 1, count).astype(int)], side=_SIDE)
        clean = [photos.crop(_SIDE, rng).astype(np.float64) for _ in range(count)]
    damaged = [recipe("old-photo")(picture.astype(np.float32), rng).picture for picture in clean]
    return np.stack(damaged).transpose(0, 3, 1, 2).copy()
