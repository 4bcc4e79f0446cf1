"""Mosaics of few tiles against their truth, the common light by one estimator and another.

    python benchmarks/xray_small_mosaics.py --lines small.jsonl --name HERE

Sessions of the test split as they are drawn, tiles of 512²: every kind of sample, absorption and Zernike
contrast, overlaps of 2 to 24 %, gains that depend on the sample. What few tiles have in common is to a good
part sample. The last row is each tile over its own true light. About two minutes a session on one core.
"""

__all__ = ["main"]

import argparse
import json
from pathlib import Path

from quality import filed
from relume import __version__
from relume.background import Artefacts
from relume.degrade.illumination import TEST, Mosaic
from relume.mosaic import Prior, Settings, solve
from relume.mosaic.looks import Looks
from relume.tasks.mosaic_field import CommonField, common_field
from relume.tasks.xray_eval import judge_mosaic
from xray_acceptance import summed
from xray_mosaics import Row, exact, spread

HERE = Path(__file__).resolve().parent
SIDES = (2, 3, 4, 6)
FIELDS = ("gradients", "location", "series", "pix2pix")


def judged(mosaic: Mosaic, field: CommonField | None) -> Row:
    """The figures of a mosaic with that field, or with the true light."""
    shots = list(mosaic)
    raws, dark = [shot.raw for shot in shots], mosaic.simulator.session.detector.dark
    if field is None:
        return exact(mosaic, shots, Looks(raws, dark))
    looks = Looks(raws, dark, artefacts=Artefacts())
    settings = Settings(prior=Prior(gain=spread(mosaic)))
    found = solve(looks, mosaic.nominal, settings=settings, estimator=field.estimator)
    return judge_mosaic(mosaic, shots, looks, found)


def main() -> None:
    """Prints the means, and writes them if the machine is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    parser.add_argument("--lines", type=Path, help="keep each answer as a line of JSON, to go on from")
    parser.add_argument("--quick", action="store_true", help="one session, 2×2 tiles of 128²")
    parser.add_argument("--name", help="name of the machine: write a file of results")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args()
    sides, size = ((2,), 128) if args.quick else (SIDES, 512)
    there: dict[tuple[int, str, int], Row] = {}
    if args.lines is not None and args.lines.is_file():
        kept = [json.loads(line) for line in args.lines.read_text().splitlines() if line.endswith("}")]
        there = {(x["side"], x["field"], x["seed"]): x["figures"] for x in kept}
    fields = {name: common_field(name, glare=Artefacts().glare) for name in FIELDS}
    rows: dict[str, list[Row]] = {
        f"{side}x{side}_{name}": [] for side in sides for name in (*FIELDS, "exact")
    }
    seeds = TEST[args.first :][: 1 if args.quick else args.sessions]
    for seed in seeds:
        for side in sides:
            mosaic = Mosaic(seed, side, size)
            for name in (*FIELDS, "exact"):
                if (side, name, seed) not in there:
                    there[side, name, seed] = judged(mosaic, fields.get(name))
                    if args.lines is not None:
                        line = {"side": side, "field": name, "seed": seed, "figures": there[side, name, seed]}
                        with args.lines.open("a") as file:
                            file.write(json.dumps(line) + "\n")
                row = there[side, name, seed]
                rows[f"{side}x{side}_{name}"].append(row)
                figures = {key: round(value, 4) for key, value in row.items()}
                print(seed, f"{side}×{side}", mosaic.sample.kind, name, figures, flush=True)
    for row in rows.values():  # of 2×2 and 3×3 there is no pitch
        names = set.intersection(*(set(each) for each in row))
        row[:] = [{name: each[name] for name in each if name in names} for each in row]
    if args.name:
        model = fields["series"].bundle
        facts = {"model": None if model is None else {"name": model.name, "hash": model.hash}}
        filed("xray-small-mosaics", facts | {"figures": summed(rows), "sessions": list(seeds)}, args)


if __name__ == "__main__":
    main()
