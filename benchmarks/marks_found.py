"""Which marks are found, and which are not: by kind, and by how far they stand out?

Every photograph of a folder is damaged by a recipe as `relume eval` damages it, and once more with the same
draws but without the marks. The difference is what a mark changed; divided by the standard deviation of the
picture without marks in the nine by nine pixels around, it is how far the mark stands out. A mark is where a
kind's opacity is a half and more. The area under the ROC curve sets the marks of one kind against all that
bears no mark of a half; `found` is the share with a probability of a half and more.
"""

import argparse
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from quality import checksum, chosen, filed
from relume import Restorer, Settings, __version__, image
from relume.bench.detection import auc
from relume.bench.regions import damaged, undamaged
from relume.degrade import recipe
from relume.degrade.degradation import from_batch, mask_of, stack_draws, to_batch
from relume.degrade.recipes import plan_mask
from relume.tasks.evaluate import damaged_by

HERE = Path(__file__).resolve().parent
SEED = 0
SURE = 0.5  # from this probability on a pixel counts as found
CLASSES = {"hardly": (0.0, 1.0), "somewhat": (1.0, 3.0), "clearly": (3.0, np.inf)}
"""How far a mark stands out, in standard deviations of what is around it."""
WINDOW = 9
FAINT = 1 / 255  # of each deviation at least: a flat place is known to a level, no better
Plane = NDArray[np.float32]
Where = NDArray[np.bool_]


class Marked(NamedTuple):
    """A damaged picture, where each kind of mark is, and how far any mark stands out; H×W."""

    picture: Plane
    kinds: dict[str, Where]
    mask: Plane
    out: Plane


def marked(clean: Plane, name: str, recipe_name: str) -> Marked:
    """What :func:`damaged_by` makes of a photograph, taken apart."""
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    batch = to_batch(clean)
    plan = recipe(recipe_name).sample(batch.shape[1:], rng)
    with_marks = without = batch
    size, kinds = batch.shape[2:], dict[str, Where]()
    for damage, draw in plan:
        with_marks = damage.apply(with_marks, stack_draws([draw]))
        if plan_mask([(damage, draw)], size).any():
            kinds[damage.name] = damaged(mask_of(draw, size))
        else:
            without = damage.apply(without, stack_draws([draw]))
    picture, plain = from_batch(with_marks), from_batch(without)
    change = np.abs(picture - plain).mean(axis=2)
    return Marked(picture, kinds, plan_mask(plan, size), change / np.maximum(deviation(plain), FAINT))


def deviation(picture: Plane) -> Plane:
    """The standard deviation of an H×W×C picture's brightness in a window around each pixel, H×W."""
    level = picture.mean(axis=2, dtype=np.float64)
    mean, square = (cv2.blur(each, (WINDOW, WINDOW)) for each in (level, level**2))
    return np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32)


def figures(restorer: Restorer, path: Path, recipe_name: str) -> dict[str, Any] | None:
    """Of one photograph, by kind: the pixels, the AUC and the counts by class; ``None`` without marks."""
    pair = damaged_by(path.name, image.read(path), recipe_name=recipe_name, seed=SEED)
    parts = marked(pair.clean.srgb(), path.name, recipe_name)
    assert pair.mask is not None
    if np.abs(parts.picture - pair.damaged.srgb()).max() > 0.51 / 255 or (parts.mask != pair.mask).any():
        raise RuntimeError(f"{path.name}: the damage taken apart is not the damage of relume eval")
    anywhere = damaged(parts.mask)
    if not anywhere.any():
        return None
    seen = restorer.restore(pair.damaged, Settings()).mask
    rows = {}
    for kind, there in {**parts.kinds, "all": anywhere}.items():
        if not there.any():
            continue
        compared = there | ~anywhere
        inside = {
            name: there & (parts.out >= low) & (parts.out < high) for name, (low, high) in CLASSES.items()
        }
        rows[kind] = {
            "pixels": int(there.sum()),
            "auc": auc(seen[compared], there[compared]),
            "found": int((seen[there] >= SURE).sum()),
            "classes": {
                name: [int(part.sum()), int((seen[part] >= SURE).sum())] for name, part in inside.items()
            },
        }
    bare = undamaged(parts.mask)
    wrongly = [int(bare.sum()), int((seen[bare] >= SURE).sum())]
    return {"name": path.name, "kinds": rows, "wrongly": wrongly}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By kind the means over photographs of the AUC, and of all pixels the share that is found."""
    told: dict[str, Any] = {}
    kinds = sorted({kind for row in rows for kind in row["kinds"]} - {"all"})
    for kind in [*kinds, "all"]:
        each = [row["kinds"][kind] for row in rows if kind in row["kinds"]]
        areas = [one["auc"] for one in each if one["auc"] is not None]
        pixels = sum(one["pixels"] for one in each)
        told[kind] = {
            "photographs": len(each),
            "pixels": pixels,
            "auc_mean": round(float(np.mean(areas)), 3),
            "auc_median": round(float(np.median(areas)), 3),
            "found": round(sum(one["found"] for one in each) / pixels, 3),
            "classes": {name: shares([one["classes"][name] for one in each], pixels) for name in CLASSES},
        }
    bare, wrongly = np.sum([row["wrongly"] for row in rows], axis=0)
    return {"kinds": told, "wrongly": round(float(wrongly / bare), 5)}


def shares(counts: Sequence[Sequence[int]], pixels: int) -> dict[str, float | None]:
    """Of all the pixels of a kind the share in a class, and of that the share that is found."""
    there, found = np.sum(counts, axis=0).tolist()
    return {"share": round(there / pixels, 3), "found": round(found / there, 3) if there else None}


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="clean photographs that no run has seen")
    parser.add_argument("--count", type=int, metavar="N", help="N of them (default: all)")
    parser.add_argument("--recipe", default="old-photo")
    parser.add_argument("--model", default="photo")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    files = chosen(args.photos, args.count)
    restorer = Restorer(args.model)
    rows = []
    for number, path in enumerate(files):
        row = figures(restorer, path, args.recipe)
        rows += [] if row is None else [row]
        print(f"{number + 1}/{len(files)} {path.name}", flush=True)
    if not rows:
        parser.error("no photograph got a mark: name more of them, or a recipe that paints some")
    engine = restorer.engine
    facts = {
        "model": {"name": restorer.bundle.name, "hash": restorer.bundle.hash},
        "engine": f"{engine.name} {engine.version} {engine.precision}",
        "photographs": {"names": [path.name for path in files], "sha256": checksum(files)},
        "damage": {"recipe": args.recipe, "severity": 1.0, "seed": SEED},
        "classes": {name: [low, None if high == np.inf else high] for name, (low, high) in CLASSES.items()},
        **summary(rows),
        "pictures": rows,
    }
    for kind, told in facts["kinds"].items():
        print(kind, json.dumps(told))
    return filed("marks-found", facts, args)


if __name__ == "__main__":
    main()
