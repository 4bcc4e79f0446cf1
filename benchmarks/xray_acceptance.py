r"""What the model xray promises, measured on the test split of the simulator.

    python benchmarks/xray_acceptance.py --sessions 36 --lines answers.jsonl
    python benchmarks/xray_acceptance.py --quick

Every session gives one line of JSON per question; a run with --lines goes on where it stopped. The table has
means with 95 % bootstrap intervals over sessions; --name writes it as a file of results, from which
``pages.py`` makes the table of docs/xray.md and, with --xray-card, what the model's card says of its quality.
Figures that begin with ``bare`` are of images
whose glare and outliers were left in, ``cleared`` ones of classical methods with what ours takes off taken
off, too. About a minute a session on one free core.
"""

__all__ = ["main"]

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from quality import filed
from relume import __version__
from relume.background import ESTIMATORS, NO_ARTEFACTS, Artefacts, corrected, without_glare
from relume.bench.intervals import paired_bootstrap
from relume.bench.transmission import density_slope, hallucination, report, smoothed
from relume.bench.uncertainty import coverage
from relume.degrade.illumination import TEST, Shot, Simulator
from relume.degrade.illumination.fixed import fixed_map
from relume.degrade.illumination.formation import optics
from relume.degrade.illumination.grid import shrunk
from relume.degrade.illumination.shots import window
from relume.degrade.illumination.targets import LIMIT
from relume.degrade.phantoms import HELD_OUT, KINDS, wedge
from relume.tasks.xray import Background, BackgroundNet, estimate_background

HERE = Path(__file__).resolve().parent
Row = dict[str, float]
CLASSICAL = ("none", "gaussian", "polynomial")
FIGURES = ("psnr", "ssim", "density_error", "flatness", "loss")
USUAL = Artefacts()  # what is taken off unless a user says otherwise
TOGETHER = (4, 8, 20)  # images of one session; the last is all that a session has
CALIBRATION = 8  # flats of other days, each with another lamp, that an instrument's map is made of
FEW = (0, 1, 2)  # the same with fewer


def measured(shot: Shot, background: np.ndarray, off: Artefacts = NO_ARTEFACTS) -> Row:
    """The figures of one image less what the camera adds over a background, where the vignette is above
    0.97."""
    found = report(corrected(off.cleared(light(shot)), background), shot.clean, shot.vignette > 0.97)
    return {figure: getattr(found, figure) for figure in FIGURES}


def spread(shot: Shot, found, level: float = 0.9) -> float:
    """Coverage of the interval of ln B, its level free."""
    valid = shot.vignette > 0.97
    error = np.log(found.field) - np.log(shot.background)
    return coverage(error - np.median(error[valid]), np.zeros_like(error), found.sigma, valid, level=level)


def light(shot: Shot) -> np.ndarray:
    return shot.raw - shot.dark


def ours(net: BackgroundNet, shot: Shot, flats: Sequence[np.ndarray] = ()) -> Background:
    """As a user gets it, who gives flats with their dark level taken off."""
    lit = [flat + shot.dark for flat in flats]
    return estimate_background(shot.raw, references=lit, dark=shot.dark, net=net)


def truly(shot: Shot, background: np.ndarray) -> Row:
    """Over a background of the image less outliers and the true glare: what photon noise leaves."""
    through = without_glare(USUAL.mended(light(shot)).counts, shot.session.detector.glare)
    found = report(corrected(through, background), shot.clean, shot.vignette > 0.97)
    return {figure: getattr(found, figure) for figure in FIGURES}


def on_grid(background: np.ndarray, side: int) -> np.ndarray:
    """What of a background a square grid can show."""
    field = np.log(np.maximum(background, np.exp(-LIMIT)))
    return np.exp(shrunk(shrunk(field, (side, side)), background.shape))


def met(seed: int, flux: float | None, **how: Any) -> Simulator:
    """A session, in the light that it draws or in that of ``flux`` quanta a pixel."""
    simulator = Simulator(seed, **how)
    if flux is not None:
        simulator.session = replace(simulator.session, flux=flux)
    return simulator


def unseen(
    net: BackgroundNet, seed: int, kinds: Sequence[str] = tuple(KINDS), flux: float | None = None
) -> Row:
    """An instrument and a session that nobody has seen."""
    simulator = met(seed, flux, kinds=kinds)
    shot = simulator.shot(seed % 20)
    found = ours(net, shot)
    row = measured(shot, found.field, USUAL) | {"coverage": spread(shot, found)}
    others = {
        "bare": measured(shot, net(light(shot)).field),
        "true": measured(shot, shot.background, USUAL),
        "grid": measured(shot, on_grid(shot.background, net.side), USUAL),
        "exact": truly(shot, shot.background),
    }
    for name in CLASSICAL:
        others[name] = measured(shot, ESTIMATORS[name](light(shot)))
        others[f"cleared_{name}"] = measured(shot, ESTIMATORS[name](USUAL.cleared(light(shot))), USUAL)
    row |= {f"{name}_{k}": v for name, figures in others.items() for k, v in figures.items()}
    # each as it is or less what the camera adds, whichever suits the image
    rivals = {name: max(row[f"{name}_psnr"], row[f"cleared_{name}_psnr"]) for name in CLASSICAL[1:]}
    over = {f"over_{name}": row["psnr"] - psnr for name, psnr in rivals.items()}
    return row | over | {"over_raw": row["psnr"] - row["none_psnr"], "over_each": min(over.values())}


def known(net: BackgroundNet, seed: int, flux: float | None = None) -> Row:
    """An instrument whose map was made on other days; new lamp, drift and sample."""
    instrument = seed - TEST.start  # its first session is one of the training split
    flats = []
    for day in range(CALIBRATION):
        other = met(TEST.stop + CALIBRATION * seed + day, flux, instrument=instrument)
        flats.append(other.flat(0) - other.session.detector.dark)
    simulator = met(seed, flux, instrument=instrument)
    shot = simulator.shot(seed % 20)
    found = ours(net, shot, flats)
    stale = simulator.flat(seed % 20, shape_drift=0.015) - shot.dark
    row = measured(shot, found.field, USUAL) | {"coverage": spread(shot, found)}
    few = {f"of_{count}": measured(shot, ours(net, shot, flats[:count]).field, USUAL) for count in FEW}
    others = few | {
        "bare": measured(shot, net(light(shot), fixed=fixed_map(flats)).field),
        "stale": measured(shot, ESTIMATORS["flat"](light(shot), [stale])),
        "cleared_stale": measured(shot, ESTIMATORS["flat"](light(shot), [USUAL.cleared(stale)]), USUAL),
        "true": measured(shot, shot.background, USUAL),
        "exact": truly(shot, shot.background),
    }
    return row | {f"{name}_{k}": v for name, figures in others.items() for k, v in figures.items()}


def series(net: BackgroundNet, seed: int) -> Row:
    """An unseen instrument, the image corrected together with others of its session."""
    simulator, index = Simulator(seed), seed % 20
    shots = [simulator.shot(i) for i in range(TOGETHER[-1])]
    shot = shots[index]
    row = {}
    for count in TOGETHER:
        first = min(max(0, index - count // 2), len(shots) - count)
        raws = [each.raw for each in shots[first : first + count]]
        found = estimate_background(shot.raw, "series", raws, dark=shot.dark, net=net)
        figures = measured(shot, found.field, USUAL) | {"coverage": spread(shot, found)}
        row |= {f"of_{count}_{name}": value for name, value in figures.items()}
    tiles = [USUAL.cleared(light(each)) for each in shots]
    others = {
        "alone": measured(shot, ours(net, shot).field, USUAL),
        "median": measured(shot, ESTIMATORS["tile-median"](tiles[index], tiles), USUAL),
        "true": measured(shot, shot.background, USUAL),
    }
    return row | {f"{name}_{k}": v for name, figures in others.items() for k, v in figures.items()}


def empty(net: BackgroundNet, seed: int) -> Row:
    """Nothing in the light: how far from 1 the slow part of T is."""
    shot = Simulator(seed, kinds=("empty",)).shot(seed % 20)
    valid = shot.vignette > 0.97
    t = smoothed(corrected(USUAL.cleared(light(shot)), ours(net, shot).field), 16, valid)[valid]
    return {"rms": float(t.std() / t.mean())}


def other_sample(net: BackgroundNet, seed: int) -> Row:
    """One light behind two samples: how far the two backgrounds differ."""
    simulator, index = Simulator(seed), seed % 20
    one, two = (simulator.shot(index, scene=simulator.scene(i)) for i in (index, (index + 7) % 20))
    return {"rms": hallucination(ours(net, one).field, ours(net, two).field, one.vignette > 0.97)}


def steps(net: BackgroundNet, seed: int) -> Row:
    """A wedge in absorption: the slope of optical density."""
    simulator = Simulator(seed)
    how = optics(np.random.default_rng(seed), zernike=False)
    shot = simulator.shot(seed % 20, scene=window(wedge((512.0, 512.0)), how, (0.0, 0.0), 512))
    valid = shot.vignette > 0.97
    found, seen = ours(net, shot).field, light(shot)
    ways = {
        "slope": (USUAL.cleared(seen), found),
        "bare_slope": (seen, net(seen).field),
        "true_slope": (USUAL.cleared(seen), shot.background),
        "true_bare_slope": (seen, shot.background),
        "gaussian_slope": (seen, ESTIMATORS["gaussian"](seen)),
    }
    return {name: density_slope(corrected(a, b), shot.clean, valid) for name, (a, b) in ways.items()}


MEASURED = {"strong": 12_000.0, "weak": 2_700.0}  # quanta a pixel in two series of the first beamline
LIGHT: dict[str, Callable[[BackgroundNet, int], Row]] = {
    f"{name}-{light}": partial(ask, flux=flux)
    for light, flux in MEASURED.items()
    for name, ask in (("unseen", unseen), ("known", known))
}
QUESTIONS: dict[str, Callable[[BackgroundNet, int], Row]] = {
    "unseen": unseen,
    "unseen-sample": lambda net, seed: unseen(net, seed, HELD_OUT),
    "full-field": lambda net, seed: unseen(net, seed, ("full-field",)),
    "known": known,
    "series": series,
    "empty": empty,
    "other-sample": other_sample,
    "steps": steps,
    **LIGHT,
}


def answers(path: Path | None, model: str) -> dict[tuple[str, int], Row]:
    """What is there of an earlier run with this model."""
    if path is None or not path.is_file():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return {(x["question"], x["seed"]): x["figures"] for x in lines if x["model"] == model}


def jsonable(row: Row) -> dict[str, float | None]:
    """A row without what JSON has no number for: what could not be measured is null."""
    return {figure: value if np.isfinite(value) else None for figure, value in row.items()}


def summed(rows: dict[str, list[Row]]) -> dict[str, dict[str, Row]]:
    """Mean, 95 % interval and lowest value by question and figure, over the sessions where it is defined."""
    found: dict[str, dict[str, Row]] = {}
    for question, answered in rows.items():
        found[question] = {}
        for figure in answered[0]:
            values = [row[figure] for row in answered if np.isfinite(row[figure])]
            if values:
                i = paired_bootstrap(values, [0.0] * len(values))
                found[question][figure] = {
                    "mean": round(i.mean, 4),
                    "low": round(i.low, 4),
                    "high": round(i.high, 4),
                    "least": round(min(values), 4),
                    "sessions": i.pictures,
                }
    return found


def shown(found: dict[str, dict[str, Row]]) -> str:
    """A Markdown table: question, figure, mean and interval."""
    lines = ["| question | figure | mean | 95 % interval | sessions |", "|---|---|---|---|---|"]
    for question, figures in found.items():
        for figure, row in figures.items():
            interval = f"{row['low']:.4g} to {row['high']:.4g}"
            lines.append(f"| {question} | {figure} | {row['mean']:.4g} | {interval} | {row['sessions']} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="xray", help="name or folder of a model")
    parser.add_argument("--sessions", type=int, default=36)
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    parser.add_argument("--lines", type=Path, help="keep each answer as a line of JSON, to go on from")
    parser.add_argument("--only", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="one session")
    parser.add_argument("--name", help="name of the machine: write a file of results")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args()
    net = BackgroundNet(args.model)
    there = answers(args.lines, net.bundle.hash)
    rows: dict[str, list[Row]] = {question: [] for question in args.only}
    for seed in TEST[args.first :][: 1 if args.quick else args.sessions]:
        for question in args.only:
            row = there.get((question, seed))
            if row is None:
                row = QUESTIONS[question](net, seed)
                if args.lines is not None:
                    line = {"model": net.bundle.hash, "question": question, "seed": seed, "figures": row}
                    with args.lines.open("a") as file:
                        file.write(json.dumps(line) + "\n")
            rows[question].append(row)
    found = summed(rows)
    print(shown(found))
    if args.name:
        facts: dict[str, Any] = {
            "model": {"name": net.bundle.name, "hash": net.bundle.hash},
            "sessions": {"first": args.first, "count": args.sessions},
            "figures": found,
            "answers": {question: [jsonable(row) for row in kept] for question, kept in rows.items()},
        }
        filed("xray-acceptance", facts, args)


if __name__ == "__main__":
    main()
