"""Mosaics of few tiles against their truth, the common light by one estimator and another.

    python benchmarks/xray_small_mosaics.py --lines small.jsonl --name HERE

Sessions of the test split as they are drawn, tiles of 512²: every kind of sample, absorption and Zernike
contrast, overlaps of 2 to 24 %, gains that depend on the sample. What few tiles have in common is to a good
part sample. The last row is each tile over its own true light. About two minutes a session on one core.
"""

__all__ = ["main"]

from typing import Any

from quality import filed
from relume.background import Artefacts
from relume.degrade.illumination import TEST, Mosaic
from relume.mosaic import Prior, Settings, solve
from relume.mosaic.looks import Looks
from relume.tasks.mosaic_field import CommonField, common_field
from relume.tasks.xray_eval import judge_mosaic
from xray_acceptance import summed
from xray_mosaics import Row, answers, asked, exact, kept, spread

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
    args = asked(__doc__, "one session, 2×2 tiles of 128²")
    sides, size = ((2,), 128) if args.quick else (SIDES, 512)
    fields = {name: common_field(name, glare=Artefacts().glare) for name in FIELDS}
    bundle = fields["series"].bundle
    assert bundle is not None
    there: dict[tuple[int, str, int], Row] = {
        (x["side"], x["field"], x["seed"]): x["figures"]
        for x in answers(args.lines)
        if x["model"] == bundle.hash
    }
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
                    figures = there[side, name, seed]
                    kept(args.lines, model=bundle.hash, side=side, field=name, seed=seed, figures=figures)
                row = there[side, name, seed]
                rows[f"{side}x{side}_{name}"].append(row)
                figures = {key: round(value, 4) for key, value in row.items()}
                print(seed, f"{side}×{side}", mosaic.sample.kind, name, figures, flush=True)
    if args.name:
        facts: dict[str, Any] = {"model": {"name": bundle.name, "hash": bundle.hash}}
        filed("xray-small-mosaics", facts | {"figures": summed(rows), "sessions": list(seeds)}, args)


if __name__ == "__main__":
    main()
