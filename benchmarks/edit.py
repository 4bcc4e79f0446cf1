"""How far does the background move when one region of a photograph is made anew?

The same region of held-out photographs, by exact and by naive inversion, with the known path kept outside and
without (the whole picture is generated again). Largest and root mean square change outside of the region, in
levels of 255, before relume.tasks.edit puts the old pixels back.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from quality import chosen, git, rounded
from relume import Restorer, __version__, image
from relume.bench.machine import machine
from relume.cli.streams import as_json, write_text
from relume.diffusion import ResidualShift, begin, gaussian_noise, residual_shift_deterministic, sample
from relume.invert import edit, invert_sampler, naive_inversion
from relume.tasks.edit import TOLERANCE

HERE = Path(__file__).resolve().parent
SIDE, STEPS = 128, 4


def changes(restorer: Restorer, path: Path) -> dict[str, list[float]]:
    facts = restorer.bundle.card["schedule"]
    schedule = ResidualShift(tuple(facts["sqrt_eta"]), float(facts["kappa"]))
    table = residual_shift_deterministic(schedule, STEPS)
    picture = np.ascontiguousarray(image.read(path).pixels[:SIDE, :SIDE].transpose(2, 0, 1))[None]
    condition = np.concatenate([picture, 0 * picture[:, :1]], axis=1)
    mask = np.zeros((1, 1, SIDE, SIDE), np.float32)
    mask[..., 48:80, 40:88] = 1

    def denoise(x: Any, t: float, condition: Any) -> Any:
        x = np.ascontiguousarray(x, np.float32)
        out = np.asarray(restorer.engine(x, condition, np.full(1, t, np.float32)))
        return np.ascontiguousarray(out[:, :3])

    run = partial(sample, table, denoise, condition=condition, y=picture)
    given = {"condition": condition, "y": picture, "tolerance": TOLERANCE}
    fresh = begin(table, y=picture, noise=gaussian_noise(1, picture.shape))
    made = {}
    for name, invert in (("exact", partial(invert_sampler, iterations=15)), ("naive", naive_inversion)):
        found = invert(table, schedule, denoise, picture, **given)
        start = mask * fresh + (1 - mask) * found.x
        moved = replace(found, x=start)
        kept = edit(table, denoise, moved, condition=condition, instead=condition, mask=mask, y=picture)
        made[f"{name}, known path kept"], made[f"{name}, all made again"] = kept, run(start)
    outside = np.broadcast_to(mask == 0, picture.shape)
    return {
        name: [255 * float(np.abs(off).max()), 255 * float(np.sqrt((off.astype(np.float64) ** 2).mean()))]
        for name, off in ((name, (each - picture)[outside]) for name, each in made.items())
    }


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs, held out")
    parser.add_argument("--count", type=int, default=12, help="of them, evenly spread")
    parser.add_argument("--quick", action="store_true", help="two photographs")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    restorer = Restorer(precision="f32", threads=1)
    target = args.out / f"edit--{args.name}--cpu.json"
    rows: dict[str, Any] = {}
    for path in chosen(args.photos, 2 if args.quick else args.count):
        rows[path.name] = changes(restorer, path)
        report = {
            "suite": "edit",
            "version": __version__,
            "commit": git("rev-parse", "HEAD"),
            "machine": machine(),
            "model": {"name": restorer.bundle.name, "hash": restorer.bundle.hash},
            "steps": STEPS,
            "largest_and_rms_change_in_levels": rounded(rows),
            "median": {
                name: np.round(np.median([row[name] for row in rows.values()], axis=0), 3).tolist()
                for name in rows[path.name]
            },
        }
        args.out.mkdir(parents=True, exist_ok=True)
        write_text(as_json(report), target, overwrite=True)
    print(as_json(report["median"]), target)
    return target


if __name__ == "__main__":
    main()
