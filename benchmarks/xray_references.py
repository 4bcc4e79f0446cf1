"""Does a laboratory gain by its own references?

    python benchmarks/xray_references.py --instruments 3 --references 50 --name MACHINE

For simulated instruments that the model has never seen: so many empty fields of other days, and then images
of days of their own, with another lamp, drift and sample each. On the same images: the model alone, with the
instrument's map of 8 and of all references, the model after ``relume train xray --data REFERENCES``, and a
reference of the same session whose shape has drifted by 1.5 %. About 8 minutes an instrument on one core.
"""

__all__ = ["main"]

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from quality import filed
from relume import __version__
from relume.background import ESTIMATORS
from relume.degrade.illumination import TEST, Shot, Simulator
from relume.degrade.illumination.fixed import fixed_map
from relume.tasks.xray import BackgroundNet
from relume.train import TRAINABLE, Run, train
from relume.train.export_xray import export_xray
from xray_acceptance import USUAL, Row, jsonable, light, measured, spread, summed

HERE = Path(__file__).resolve().parent
FEW = 8  # references that most users have
DAYS = 10_000_000  # sessions from here on belong to no split


def empty_fields(instrument: int, count: int) -> list[np.ndarray]:
    """Flats less the dark level (H,W), each of another day."""
    found = []
    for day in range(count):
        simulator = Simulator(DAYS + 1_000 * instrument + day, instrument=instrument)
        found.append(simulator.flat(0) - simulator.session.detector.dark)
    return found


def images(instrument: int, count: int) -> Iterator[tuple[Shot, np.ndarray]]:
    """Shots of other days, each with a reference of that day that has drifted."""
    for day in range(count):
        simulator = Simulator(DAYS + 1_000 * instrument + 500 + day, instrument=instrument)
        shot = simulator.shot(day % 20)
        yield shot, simulator.flat(day % 20, shape_drift=0.015) - shot.dark


def tuned(flats: Sequence[np.ndarray], model: str, steps: int, folder: Path) -> tuple[BackgroundNet, float]:
    """The model after a run on these references, and the minutes that it took."""
    references = folder / "references.tif"
    tifffile.imwrite(references, np.stack(flats).astype(np.float32), photometric="minisblack")
    recipe = TRAINABLE["xray-references"]
    began = time.perf_counter()
    run = Run(out=folder / "run", data=references, init=Path(model), device="cpu")
    made = train(replace(recipe, steps=steps), run, report=lambda _: None)
    export_xray(made, folder / "mine", name="mine", sessions=4, report=lambda _: None)
    return BackgroundNet(folder / "mine"), (time.perf_counter() - began) / 60


def answered(net: BackgroundNet, shot: Shot, **how: Any) -> Row:
    found = net(USUAL.mended(light(shot)).counts, glare=USUAL.glare, **how)
    return measured(shot, found.field, USUAL) | {"coverage": spread(shot, found)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="xray", help="name or folder of a model")
    parser.add_argument("--instruments", type=int, default=3)
    parser.add_argument("--references", type=int, default=50, help="empty fields of each instrument")
    parser.add_argument("--images", type=int, default=8, help="days of each instrument that are corrected")
    parser.add_argument("--steps", type=int, default=TRAINABLE["xray-references"].steps)
    parser.add_argument("--name", help="name of the machine: write a file of results")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    net = BackgroundNet(args.model)
    rows: dict[str, list[Row]] = {}
    minutes = []
    for instrument in TEST[: args.instruments]:
        flats = empty_fields(instrument, args.references)
        few, many = (fixed_map([USUAL.cleared(flat) for flat in part]) for part in (flats[:FEW], flats))
        with tempfile.TemporaryDirectory() as folder:
            mine, took = tuned(flats, str(net.bundle.path), args.steps, Path(folder))
        minutes.append(took)
        for shot, stale in images(instrument, args.images):
            stale_field = ESTIMATORS["flat"](light(shot), [USUAL.cleared(stale)])
            for name, row in (
                ("alone", answered(net, shot)),
                ("map-of-few", answered(net, shot, fixed=few)),
                ("map-of-all", answered(net, shot, fixed=many)),
                ("tuned", answered(mine, shot)),
                ("stale", measured(shot, stale_field, USUAL)),
                ("true", measured(shot, shot.background, USUAL)),
            ):
                rows.setdefault(name, []).append(row)
        print(f"instrument {instrument}: {took:.1f} minutes", flush=True)
    base = [row["psnr"] for row in rows["map-of-all"]]
    for name in ("tuned", "stale"):
        for row, other in zip(rows[name], base, strict=True):
            row["over_map"] = row["psnr"] - other
    found = summed(rows)
    for name, figures in found.items():
        told = (
            f"{figure} {row['mean']:.4g} ({row['low']:.4g} to {row['high']:.4g})"
            for figure, row in figures.items()
        )
        print(f"{name:12}", ", ".join(told))
    if args.name:
        facts = {
            "model": {"name": net.bundle.name, "hash": net.bundle.hash},
            "instruments": list(TEST[: args.instruments]),
            "references": args.references,
            "few": FEW,
            "steps": args.steps,
            "minutes": [round(each, 2) for each in minutes],
            "figures": found,
            "answers": {name: [jsonable(row) for row in kept] for name, kept in rows.items()},
        }
        filed("xray-references", facts, args)


if __name__ == "__main__":
    main()
