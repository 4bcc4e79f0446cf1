r"""A checkpoint of the background net → a bundle, with the factor that makes its error bar honest.

The net's log-variance is what it thought of its training set, on its own grid. On validation sessions at full
size the standard error becomes

.. math:: \sigma^2 = k^2 e^s + f^2,

where f is what the grid cannot show, and k is chosen so that 90 % of the true pixels lie within the 90 %
interval; once for unknown instruments and once for known ones, where f is the error of the fixed map.
"""

__all__ = ["calibrated", "export_xray"]

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from relume import engines
from relume._version import __version__
from relume.background import Artefacts, evened
from relume.bundle import Bundle
from relume.degrade.illumination import VALIDATION, Simulator
from relume.degrade.illumination.fixed import fine_pattern, fixed_map
from relume.degrade.illumination.grid import answered, asked, shrunk, working
from relume.errors import TrainingError
from relume.nets import build
from relume.train.checkpoint import averaged, samples
from relume.train.export import plain, write_bundle
from relume.train.micrographs import Micrographs
from relume.train.parity import Measured, compared
from relume.train.references import INSTRUMENT

_LEVEL = 0.9
_FULL = 512
FLATS = 8
Plane = NDArray[np.float64]


def export_xray(
    checkpoint: Path,
    out: Path,
    *,
    name: str = "xray",
    training: Mapping[str, Any] | None = None,
    quality: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    sessions: int = 24,
    report: Callable[[str], None] = print,
) -> Bundle:
    """Write the bundle of a background net to the folder ``out``.

    ``training`` and ``quality`` go into the card as they are; recipe and step are added. ``sessions`` are
    simulated to calibrate the error bar. A fixed map beside the checkpoint, as a run on references leaves it,
    goes into the bundle.

    Raises
    ------
    TrainingError
        If the checkpoint is of another net, or the engines disagree.
    OutputExists
        If ``out`` is there and ``overwrite`` is not asked for.
    """
    net, facts, step = averaged(checkpoint)
    if facts["net"] != "background" or not net.config.uncertain:
        raise TrainingError("the xray bundle is made of a 'background' checkpoint that tells its error")
    card = _card(name, net, facts, training=training, quality=quality)
    card["training"]["background"] = {"recipe": facts, "step": step, "samples": samples(step, facts)}
    with torch.no_grad():
        for value in net.state_dict().values():
            value.copy_(value.half())
    card["unveiled"] = (
        True  # it learned from images less their glare, as the sources of micrographs make them
    )
    # A net that learned from one instrument's references knows its upper side from its lower one.
    card["views"] = 1 if facts["source"] == "references" else 8
    card["error"] = calibrated(net, facts["size"], sessions=sessions, views=card["views"])
    report(f"error bars: {card['error']}")
    instrument = checkpoint.parent / INSTRUMENT
    side = facts["size"]
    return write_bundle(
        out,
        card,
        {"background": net},
        {"background": (torch.randn(2, 4, side, 2 * side),)},
        measure=lambda written: _parity(written, side, report),
        tensors=load_file(instrument) if instrument.is_file() else None,
        overwrite=overwrite,
    )


def _card(
    name: str,
    net: nn.Module,
    facts: Mapping[str, Any],
    *,
    training: Mapping[str, Any] | None,
    quality: Mapping[str, Any] | None,
) -> dict[str, Any]:
    plane = ["height", "width"]
    return {
        "name": name,
        "version": __version__,
        "task": "xray",
        "title": "X-ray background",
        "description": (
            "Reads the illumination off one X-ray micrograph: the logarithm of the background and of its "
            "variance, on a small grid; what is finer comes from a map of the instrument, if one is known."
        ),
        "licence": "Apache-2.0",
        "graphs": {
            "background": {
                "file": "graph.onnx",
                "net": {"kind": facts["net"], "config": plain(net)},
                "prefix": "background.",
                "inputs": [{"name": "x", "shape": ["batch", net.config.channels, *plane]}],
                "outputs": [{"name": "field", "shape": ["batch", 2, *plane]}],
            }
        },
        "multiple_of": net.config.multiple_of,
        "side": facts["size"],
        "training": dict(training or {}),
        "quality": dict(quality or {}),
    }


def _parity(written: Bundle, side: int, report: Callable[[str], None]) -> Measured:
    """The engines on simulated images; both outputs count, in units of a natural logarithm."""
    questions = Micrographs(size=side, batch=6, seed=1, kept=6, seeds=VALIDATION)[0]["x"].numpy()

    def answers(engine: str, precision: str) -> list[NDArray[np.float32]]:
        options: dict[str, Any] = {"engine": engine, "precision": precision, "build": build, "force": True}
        graph = engines.load(written, "background", **options)
        return [graph(question[None]) for question in questions]

    return compared(answers, report=report)


class _Case(NamedTuple):
    """What the net made of one validation image: its error in ln B, and the log-variance that it told.

    ``fine`` is the mean square error of the fixed map alone, 0 where there is none.
    """

    error: Plane
    spread: Plane
    fine: float


def calibrated(net: nn.Module, side: int, *, sessions: int, views: int = 1) -> dict[str, dict[str, float]]:
    """``scale`` (k) and ``fine`` (f) for instruments that are ``known`` and ``unknown``.

    A known one has a map of :data:`FLATS` flats of other days, as its users make it: their noise is in the
    map, and f is the rms error of such maps.
    """
    found = {}
    for name, known in (("unknown", False), ("known", True)):
        cases = list(_cases(net, side, sessions, views, known=known))
        maps = float(np.sqrt(np.mean([case.fine for case in cases])))
        fine = maps if known else _unresolved(side, sessions)
        error = np.concatenate([case.error.ravel() for case in cases])
        spread = np.concatenate([case.spread.ravel() for case in cases])
        found[name] = {"scale": round(_scale(error, spread, fine), 4), "fine": round(fine, 5)}
    return found


def _scale(error: Plane, spread: Plane, fine: float) -> float:
    """k by bisection: the share of errors within the interval grows with it."""
    reach = NormalDist().inv_cdf((1 + _LEVEL) / 2)
    low, high = 1e-3, 1e3
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        inside = np.mean(np.abs(error) <= reach * np.sqrt(middle**2 * np.exp(spread) + fine**2))
        low, high = (middle, high) if inside < _LEVEL else (low, middle)
    return float(np.sqrt(low * high))


def _cases(net: nn.Module, side: int, sessions: int, views: int, *, known: bool) -> Iterator[_Case]:
    """Every fourth pixel of the validation sessions where the light is not dark."""
    usual = Artefacts()
    grid = working((_FULL, _FULL), side, net.config.multiple_of)
    for seed in VALIDATION[:sessions]:
        simulator = Simulator(seed, _FULL)
        shot = simulator.shot(seed % 20)
        truth = np.log(shot.background)
        pattern = fine_pattern(truth)
        fixed = _map_of_other_days(seed) if known else np.zeros_like(pattern)
        light = usual.cleared(shot.raw - shot.dark)
        planes = asked(light * np.exp(-fixed), grid, known=known, views=views)
        with torch.inference_mode():
            out = net.eval()(torch.from_numpy(planes)).numpy()
        field, spread = answered(out, grid, (_FULL, _FULL))
        valid = shot.vignette[::4, ::4] > 0.97
        found = evened(light, np.exp(field + fixed))
        error = (np.log(found) - truth)[::4, ::4][valid]
        off = (fixed - pattern)[::4, ::4][valid] if known else np.zeros(1)
        yield _Case(
            error - np.median(error), spread[::4, ::4][valid].astype(np.float64), float(np.mean(off**2))
        )


def _map_of_other_days(instrument: int) -> NDArray[np.float32]:
    """The fixed map of an instrument from flats of as many days, each with its own lamp and drift."""
    flats = []
    for day in range(FLATS):
        other = Simulator(VALIDATION.stop + FLATS * instrument + day, _FULL, instrument=instrument)
        flats.append(Artefacts().unveiled(other.flat(0) - other.session.detector.dark))
    return fixed_map(flats)


def _unresolved(side: int, sessions: int) -> float:
    """The rms of what of ln B the grid cannot show."""
    squares = []
    for seed in VALIDATION[:sessions]:
        simulator = Simulator(seed, _FULL)
        light = np.log(simulator.light(simulator.drift.at(0))[0])
        rest = light - shrunk(shrunk(light, (side, side)), light.shape)
        squares.append(np.mean(rest[simulator.light.vignette > 0.97] ** 2))
    return float(np.sqrt(np.mean(squares)))
