"""Is damage found on a scan that was saved, cut, enlarged or reduced after it was damaged?

Two questions. *Painted*: marks of relume's recipe ``surface`` on held-out photographs, which are then saved
as JPEG (with the blocks at the net's own grid of 16 pixels, or askew to it), made grainy, blurred, enlarged:
which share of what was painted is found with a probability above a half, and how much of the rest is taken
for damage? *Genuine*: old photographs as their files are, cut at the top and the left by a few pixels (the
blocks then lie askew), enlarged and reduced (no blocks are left): the share of the picture where damage is
found, as it is done, where a smaller copy is looked at, too, and at full size alone. Nobody knows the true
share, but it is the same in each. --models compares several bundles on the same pictures.
"""

import argparse
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from quality import checksum, chosen, filed
from relume import Restorer, Settings, __version__, image
from relume.tasks.evaluate import damaged_by

HERE = Path(__file__).resolve().parent
FOUND = 0.5  # probability
Picture = NDArray[np.float32]
Lay = Callable[[Picture], Picture]


def cut(top: int, left: int) -> Lay:
    return lambda x: x[top:, left:]


def scaled(factor: float) -> Lay:
    how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return lambda x: np.asarray(cv2.resize(x, None, fx=factor, fy=factor, interpolation=how), np.float32)


def saved(quality: int, top: int = 0, left: int = 0) -> Lay:
    """JPEG, the first block beginning so many pixels above and left of the picture."""

    def lay(x: Picture) -> Picture:
        y = np.pad(x, ((top, 0), (left, 0), (0, 0)), mode="edge")
        with io.BytesIO() as file:
            PilImage.fromarray(np.rint(np.clip(y, 0, 1) * 255).astype(np.uint8)).save(
                file, "JPEG", quality=quality
            )
            return np.asarray(PilImage.open(file), np.float32)[top:, left:] / 255

    return lay


def grainy(sigma: float) -> Lay:
    grain = np.random.default_rng(0).normal(0, sigma, (4096, 4096, 1)).astype(np.float32)
    return lambda x: x + grain[: x.shape[0], : x.shape[1]]


def soft(sigma: float) -> Lay:
    return lambda x: np.asarray(cv2.GaussianBlur(x, (0, 0), sigma), np.float32)


def after(*lays: Lay) -> Lay:
    """One after the other."""

    def lay(x: Picture) -> Picture:
        for each in lays:
            x = each(x)
        return x

    return lay


PAINTED: dict[str, Lay] = {
    "as painted": lambda x: x,
    "grain of 0.006": grainy(0.006),
    "JPEG 90, at the grid": saved(90),
    "JPEG 90, askew": saved(90, 3, 5),
    "JPEG 75, askew": saved(75, 3, 5),
    "blurred by 0.5, JPEG 90 askew": after(soft(0.5), saved(90, 3, 5)),
    "enlarged 1.5 times, JPEG 90 askew": after(scaled(1.5), saved(90, 3, 5)),
}
GENUINE: dict[str, Lay] = {
    "as it is": lambda x: x,
    "cut by 3 and 6": cut(3, 6),
    "cut by 5 and 3": cut(5, 3),
    "cut by 4 and 4": cut(4, 4),
    "reduced to 0.8": scaled(0.8),
    "enlarged 1.37 times": scaled(1.37),
    "enlarged twice": scaled(2.0),
}


def colours(shown: NDArray[np.float32]) -> Picture:
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)), dtype=np.float32)


def found(restorer: Restorer, picture: Picture) -> NDArray[np.bool_]:
    given = image.from_array(np.ascontiguousarray(np.clip(picture, 0, 1), dtype=np.float32))
    return np.asarray(restorer.restore(given, Settings(tone="keep")).mask > FOUND)


def painted(restorer: Restorer, files: Sequence[Path]) -> dict[str, dict[str, float]]:
    """By what came after the marks: the share of them that was found, and that of the rest; means."""
    hits: dict[str, list[float]] = {name: [] for name in PAINTED}
    wrong: dict[str, list[float]] = {name: [] for name in PAINTED}
    for path in files:
        pair = damaged_by(path.name, image.read(path), recipe_name="surface", seed=0)
        if pair.mask is None:
            continue
        given, marks = colours(pair.damaged.srgb()), pair.mask > FOUND
        for name, lay in PAINTED.items():
            laid = lay(given)
            size = (laid.shape[1], laid.shape[0])
            truth = cv2.resize(marks.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            seen = found(restorer, laid)
            if truth.sum() > 20:
                hits[name].append(float(seen[truth].mean()))
            wrong[name].append(float(seen[~truth].mean()))
    return {
        name: {
            "found": round(float(np.mean(hits[name])), 4),
            "wrongly": round(float(np.mean(wrong[name])), 5),
            "photographs": len(hits[name]),
        }
        for name in PAINTED
    }


def genuine(restorer: Restorer, picture: Picture) -> dict[str, list[float]]:
    """By how it was laid before the net: the share where damage was found, and that at full size alone."""
    shares = {}
    for name, lay in GENUINE.items():
        whole = found(restorer, lay(picture))
        with patch("relume.tasks.coarse.SMALLEST", 1 << 30):  # no copy is as large
            full = found(restorer, lay(picture))
        shares[name] = [round(float(each.mean()), 5) for each in (whole, full)]
    return shares


def measured(model: str, old: Sequence[Path], held_out: Sequence[Path]) -> dict[str, Any]:
    restorer = Restorer(model)
    told = {"name": restorer.bundle.name, "hash": restorer.bundle.hash}
    rows = painted(restorer, held_out)
    for name, row in rows.items():
        print(told["hash"][:8], name, row, flush=True)
    shares = {}
    for path in old:
        shares[path.name] = genuine(restorer, colours(image.read(path).srgb()))
        print(told["hash"][:8], path.name, shares[path.name], flush=True)
    return {"model": told, "painted": rows, "genuine": shares}


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of clean photographs, held out")
    parser.add_argument("--count", type=int, default=48, help="so many of them, evenly spread")
    parser.add_argument("--old", type=Path, required=True, help="folder of genuine old photographs")
    parser.add_argument("--models", nargs="+", default=["photo"], metavar="MODEL")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    held_out, old = chosen(args.photos, args.count), chosen(args.old, None)
    facts = {
        "photographs": {"names": [path.name for path in held_out], "sha256": checksum(held_out)},
        "old": {"names": [path.name for path in old], "sha256": checksum(old)},
        "probability": FOUND,
        "models": [measured(model, old, held_out) for model in args.models],
    }
    return filed("blocks", facts, args)


if __name__ == "__main__":
    main()
