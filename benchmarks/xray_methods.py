r"""Backgrounds of X-ray images by classical methods, BaSiC and the model, side by side (docs/xray.md).

    python benchmarks/xray_methods.py --sessions 36 --lines answers.jsonl --name MACHINE

One image of each session of the test split, mixed samples, dark level known. Every method sees the image as
it is, and once more less the expected glare and outliers, which the model takes off anyway: what a method
gains by that is not its own. BaSiC is left out where BaSiCPy is not installed. Every session gives one line
of JSON; a run with --lines goes on where it stopped. About 25 s a session on one core.
"""

__all__ = ["main"]

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quality import filed
from relume import __version__
from relume.background import ESTIMATORS, Artefacts, corrected
from relume.bench.intervals import paired_bootstrap
from relume.bench.transmission import report
from relume.degrade.illumination import TEST, Shot, Simulator
from relume.errors import MissingExtra
from relume.tasks.xray import BackgroundNet, estimate_background
from relume.tasks.xray_eval import FIGURES

HERE = Path(__file__).resolve().parent
Field = np.ndarray
USUAL = Artefacts()  # what `relume xray` takes off unless a user says otherwise
WAYS = {"as it is": lambda counts: counts, "glare off": USUAL.cleared}
MODEL = "model, one image"
Figures = dict[str, float | None]
Answer = dict[str, dict[str, Any]]


class Case(NamedTuple):
    """A method, what it needs beside the image, and how it makes a background of both."""

    name: str
    needs: str
    background: Callable[[Field, Sequence[Field]], Field]
    references: Sequence[Field] = ()


def cases(simulator: Simulator, shot: Shot, index: int) -> Iterator[Case]:
    """The classical methods; images and flats have their dark level taken off."""
    dark = shot.dark
    tiles = [simulator.shot((index + 1 + k) % 20).raw - dark for k in range(16)]
    for name, title in (
        ("none", "none"),
        ("rolling-ball", "rolling ball, 160 px"),
        ("gaussian", "Gaussian, 64 px"),
        ("polynomial", "robust polynomial, degree 4"),
    ):
        yield Case(title, "nothing", ESTIMATORS[name])
    everything = [shot.raw - dark, *tiles]  # as `relume xray correct` gives them, and as the series has them
    yield Case("median of 4 others", "4 images", ESTIMATORS["tile-median"], tiles[:4])
    yield Case("median of all 17", "16 images", ESTIMATORS["tile-median"], everything)
    yield Case("BaSiC of all 17", "16 images", ESTIMATORS["basic"], everything)
    flat, moments = ESTIMATORS["flat"], [simulator.flat(moment) - dark for moment in range(10)]
    stale = simulator.flat(index, shape_drift=0.015) - dark
    yield Case("stale flat, shape 1.5 % off", "a flat", flat, [stale])
    yield Case("flat of the moment, one exposure", "a flat", flat, [simulator.flat(index) - dark])
    yield Case("eigen-flats of 10 moments", "10 flats", ESTIMATORS["eigen-flats"], moments)
    ten = simulator.flat(index, exposures=10) - dark
    yield Case("flat of the moment, ten exposures", "10 flats", flat, [ten])
    yield Case("true background", "the truth", lambda image, references: shot.background)


def judged(shot: Shot, counts: Field, background: Field) -> Figures:
    found = report(corrected(counts, background), shot.clean, shot.vignette > 0.97)
    values = {figure: float(getattr(found, figure)) for figure in FIGURES}
    return {figure: value if np.isfinite(value) else None for figure, value in values.items()}


def answer(net: BackgroundNet, seed: int, flux: float | None = None) -> Answer:
    """The figures of every method on one session, both ways."""
    simulator, index = Simulator(seed), seed % 20
    if flux:
        simulator.session = replace(simulator.session, flux=flux)
    shot = simulator.shot(index)
    found: Answer = {}
    for case in cases(simulator, shot, index):
        ways: Answer = {}
        for way, cleared in WAYS.items():
            counts = cleared(shot.raw - shot.dark)
            references = [cleared(each) for each in case.references]
            try:
                background = case.background(counts, references)
            except MissingExtra:
                break
            ways[way] = judged(shot, counts, background)
        if ways:
            found[case.name] = {"needs": case.needs, **ways}
    raws = [simulator.shot((index + k) % 20).raw for k in range(17)]
    how: dict[str, Any] = {"dark": shot.dark, "net": net}
    less = USUAL.cleared(shot.raw - shot.dark)
    for name, needs, made in (
        (MODEL, "nothing", estimate_background(shot.raw, **how)),
        ("model, series of all 17", "16 images", estimate_background(shot.raw, "series", raws, **how)),
    ):
        found[name] = {"needs": needs, "glare off": judged(shot, less, made.field)}
    return found


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Means by method and way; and by how much the model on one image is ahead of each way, paired."""
    told: dict[str, Any] = {}
    for name, first in answers[0].items():
        ways: dict[str, Any] = {}
        for way in WAYS:
            if way not in first:
                continue
            rows = [each[name][way] for each in answers]
            ahead = paired_bootstrap(
                [each[MODEL]["glare off"]["psnr"] for each in answers], [row["psnr"] for row in rows]
            )
            ways[way] = {figure: mean([row[figure] for row in rows]) for figure in FIGURES}
            ways[way]["model_ahead_db"] = [round(float(x), 2) for x in (ahead.mean, ahead.low, ahead.high)]
        told[name] = {"needs": first["needs"], **ways}
    return told


def mean(values: Sequence[float | None]) -> float | None:
    """Of the sessions where there is something to measure."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def table(methods: dict[str, Any]) -> str:
    lines = ["| method | way | " + " | ".join(FIGURES) + " |", "|---|---|" + "---|" * len(FIGURES)]
    for name, row in methods.items():
        for way in WAYS:
            if way in row:
                figures = " | ".join(cell(row[way][figure]) for figure in FIGURES)
                lines.append(f"| {name} | {way} | {figures} |")
    return "\n".join(lines)


def cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def kept(path: Path | None, model: str, flux: float | None) -> dict[int, Answer]:
    """What is there of an earlier run with this model."""
    if path is None or not path.is_file():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return {each["seed"]: each["answer"] for each in lines if (each["model"], each["flux"]) == (model, flux)}


def main() -> None:
    """Prints the mean figures of every method as a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="xray", help="name or folder of a model")
    parser.add_argument("--sessions", type=int, default=36)
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    parser.add_argument("--flux", type=float, help="quanta a pixel, instead of 300 to 15,000 as drawn")
    parser.add_argument("--lines", type=Path, help="keep each session as a line of JSON, to go on from")
    parser.add_argument("--name", help="name of the machine: write a file of results")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args()
    net = BackgroundNet(args.model)
    there, answers = kept(args.lines, net.bundle.hash, args.flux), []
    for seed in TEST[args.first :][: args.sessions]:
        found = there.get(seed)
        if found is None:
            found = answer(net, seed, args.flux)
            if args.lines is not None:
                line = {"model": net.bundle.hash, "flux": args.flux, "seed": seed, "answer": found}
                with args.lines.open("a") as file:
                    file.write(json.dumps(line) + "\n")
        answers.append(found)
    methods = summary(answers)
    print(table(methods))
    if args.name:
        facts = {
            "model": {"name": net.bundle.name, "hash": net.bundle.hash},
            "sessions": {"first": args.first, "count": args.sessions, "flux": args.flux},
            "basicpy": version("basicpy") if any(name.startswith("BaSiC") for name in methods) else None,
            "methods": methods,
            "answers": answers,
        }
        filed("xray-methods", facts, args)


if __name__ == "__main__":
    main()
