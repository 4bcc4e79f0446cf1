"""Does a restored picture know where it is wrong?

Held-out photographs, damaged by the recipe. The evidence of relume.tasks.invented (spread over seeds,
residual of the naive inversion, damage, activity of the result) against the true error, on blocks of 8×8
pixels. The error is taken after the best gain and offset per channel: "whole"; "detail" also leaves out its
mean over 33×33 pixels, so that uneven fading does not count as invention. The prediction is judged on each
quarter of the photographs by a fit to the other three; parts of one photograph are never on both sides. The
control is the activity alone, which asks the net nothing.

The maps are kept in --cache; each run goes on where the last one stopped, and stops after --minutes.
"""

import argparse
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import spearmanr

from quality import checksum, chosen, git, rounded
from relume import Restorer, Settings, __version__, image
from relume.bench import tone_aligned
from relume.bench.machine import machine
from relume.cli.streams import as_json, write_text
from relume.files import placing
from relume.marks.activity import window_mean
from relume.tasks.evaluate import damaged_by
from relume.tasks.finish import three_channels
from relume.tasks.invented import COEFFICIENTS, Coefficients, Evidence, averaged, evidence, predicted

HERE = Path(__file__).resolve().parent
BLOCK, FOLDS = 8, 4
PARTS = ("spread", "residual", "damage", "activity")
WIDE = 33  # pixels, over which a mean error is one of tone
Maps = dict[str, Any]


def measure(path: Path, restorer: Restorer) -> Maps:
    """The evidence and the true error of one photograph, H×W each."""
    pair = damaged_by(path.name, image.read(path), recipe_name="old-photo", seed=0)
    restoration = restorer.restore(pair.damaged, Settings())
    result, truth = three_channels(restoration.image.srgb()), three_channels(pair.clean.srgb())
    found = evidence(restorer, pair.damaged, restoration)
    off = (tone_aligned(result, truth) - truth).astype(np.float64)
    fine = np.stack([off[..., c] - window_mean(off[..., c], WIDE) for c in range(3)], axis=-1)
    errors = {"whole": off, "detail": fine}
    made = {part: getattr(found, part) for part in PARTS}
    return made | {name: np.sqrt((each**2).mean(axis=2)) for name, each in errors.items()}


def collected(files: list[Path], args: argparse.Namespace) -> dict[str, Maps]:
    end, restorer = time.monotonic() + 60 * args.minutes, None
    args.cache.mkdir(parents=True, exist_ok=True)
    maps: dict[str, Maps] = {}
    for path in files:
        kept = args.cache / f"{path.name}.npz"
        if not kept.exists():
            if time.monotonic() > end:
                print("time is up; the same command goes on")
                break
            restorer = restorer or Restorer(threads=1)
            made = measure(path, restorer)
            with placing(kept) as part, part.open("wb") as file:
                np.savez_compressed(file, **{name: np.float16(plane) for name, plane in made.items()})
        with np.load(kept) as loaded:
            maps[path.name] = {name: loaded[name].astype(np.float32) for name in loaded.files}
    return maps


def blocks(plane: Any, power: float = 1.0) -> Any:
    """Means (of a power) over blocks, flat."""
    h, w = (side // BLOCK * BLOCK for side in plane.shape)
    tiles = plane[:h, :w].astype(np.float64).reshape(h // BLOCK, BLOCK, w // BLOCK, BLOCK)
    return (tiles**power).mean(axis=(1, 3)).ravel() ** (1 / power)


def fold(name: str) -> int:
    """Which quarter a photograph belongs to, with all its parts."""
    return zlib.crc32(name.rsplit("_", 1)[0].encode()) % FOLDS


def fitted(maps: list[Maps], model: str) -> Coefficients:
    """Least squares, every block with the same weight; no coefficient below 0."""
    rows = [np.stack([np.sqrt(blocks(averaged(m[part]))) for part in PARTS], 1) for m in maps]
    target = np.concatenate([blocks(m["detail"], 2) for m in maps])
    found = nnls(np.concatenate(rows), target)[0]
    return Coefficients(*(round(float(value), 4) for value in found), model)


def judged(maps: dict[str, Maps], coefficients: dict[int, Coefficients]) -> dict[str, Any]:
    """Rank correlations within photographs and over all blocks; predicted and true error by tenths."""
    errors = {each: [blocks(m[each], 2) for m in maps.values()] for each in ("detail", "whole")}
    guesses: dict[str, dict[str, Any]] = {each: {} for each in (*PARTS, "invented")}
    for name, m in maps.items():
        for each in PARTS:
            guesses[each][name] = blocks(m[each])
        seen = Evidence(*(m[part] for part in PARTS))
        guesses["invented"][name] = blocks(predicted(seen, coefficients[fold(name)]), 2)
    correlation = {}
    for each, values in guesses.items():
        for kind, truth in errors.items():
            within = [float(spearmanr(*pair)[0]) for pair in zip(values.values(), truth, strict=True)]
            pooled = float(spearmanr(np.concatenate(list(values.values())), np.concatenate(truth))[0])
            correlation[f"{each} to {kind}"] = {
                "within_median": float(np.nanmedian(within)),
                "pooled": pooled,
                "within": [None if np.isnan(value) else value for value in within],
            }
    guess, error = np.concatenate(list(guesses["invented"].values())), np.concatenate(errors["detail"])
    curve = []
    for part in np.array_split(np.argsort(guess, kind="stable"), 10):
        curve.append([float(np.sqrt(np.mean(each[part] ** 2))) for each in (guess, error)])
    return {"rank_correlation": correlation, "predicted_and_true_rms_by_tenths": curve}


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of clean photographs, held out")
    parser.add_argument("--every", type=int, default=4, help="of so many photographs one (default: 4)")
    parser.add_argument("--quick", action="store_true", help="four photographs")
    parser.add_argument("--minutes", type=float, default=3.5)
    parser.add_argument("--cache", type=Path, default=Path("invented-maps"), help="folder for the maps")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    files = chosen(args.photos, 4) if args.quick else chosen(args.photos, None)[args.every - 1 :: args.every]
    maps = collected(files, args)
    model = Restorer(threads=1).bundle
    parts = range(FOLDS)
    others = {k: fitted([m for n, m in maps.items() if fold(n) != k], model.weights_hash) for k in parts}
    found = fitted(list(maps.values()), model.weights_hash)
    report = {
        "suite": "invented",
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "machine": machine(),
        "model": {"name": model.name, "hash": model.hash},
        "photographs": {
            "names": list(maps),
            "sha256": checksum([path for path in files if path.name in maps]),
        },
        "block": BLOCK,
        "coefficients": found._asdict(),
        "coefficients_by_fold": [each._asdict() for each in others.values()],
        "shipped": COEFFICIENTS._asdict(),
        **rounded(judged(maps, others)),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"invented--{args.name}--cpu.json"
    write_text(as_json(report), target, overwrite=True)
    for key in ("coefficients", "rank_correlation", "predicted_and_true_rms_by_tenths"):
        shown: Callable[[Any], Any] = lambda v: (  # noqa: E731
            {k: x for k, x in v.items() if k != "within"} if isinstance(v, dict) else v
        )
        value = report[key]
        print(key, {k: shown(v) for k, v in value.items()} if isinstance(value, dict) else value)
    print(target)
    return target


if __name__ == "__main__":
    main()
