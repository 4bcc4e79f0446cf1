"""One evaluation, or a second one that is told what the first has found (--mask twice)?

Both on the same photographs of a folder: damaged by a recipe, and sound. A row has the mean PSNR, the mean
after the best tone and colour fit (both at most 60 dB, so that an untouched picture counts), and how often
sound ones end below 38 dB. The difference is paired, with a 95 % bootstrap interval over photographs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quality import checksum, filed
from relume import Restorer, Settings, __version__, image
from relume.bench.intervals import paired_bootstrap
from relume.bench.quality import psnr, tone_aligned_psnr
from relume.image import Image
from relume.tasks.evaluate import damaged_by

HERE = Path(__file__).resolve().parent
MOST = 60.0  # dB: what is nearer to the truth than this is the truth
KEPT = 38.0  # dB: a sound photograph below it was harmed
MODES = ("auto", "twice")


def pixels(picture: Image) -> NDArray[np.float32]:
    shown = picture.srgb()
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)), dtype=np.float32)


def figures(restorer: Restorer, path: Path, recipe: str) -> dict[str, dict[str, tuple[float, float]]]:
    """PSNR and aligned PSNR of one photograph by what it was given as and by mode."""
    pair = damaged_by(path.name, image.read(path), recipe_name=recipe, seed=0)
    truth = pixels(pair.clean)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for given, picture in (("damaged", pair.damaged), ("sound", pair.clean)):
        found[given] = {}
        for mode in MODES:
            made = pixels(restorer.restore(picture, Settings(mask=mode)).image)
            found[given][mode] = min(MOST, psnr(made, truth)), min(MOST, tone_aligned_psnr(made, truth))
    return found


def summary(rows: Sequence[dict[str, dict[str, tuple[float, float]]]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for given in ("damaged", "sound"):
        values = {mode: np.array([row[given][mode] for row in rows]) for mode in MODES}
        change = paired_bootstrap(values["twice"][:, 0].tolist(), values["auto"][:, 0].tolist())
        told[given] = {
            mode: {
                "psnr_db": round(float(each[:, 0].mean()), 2),
                "aligned_psnr_db": round(float(each[:, 1].mean()), 2),
            }
            | ({"harmed": int((each[:, 0] < KEPT).sum())} if given == "sound" else {})
            for mode, each in values.items()
        } | {"change_db": [round(float(x), 2) for x in (change.mean, change.low, change.high)]}
    return told


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="clean photographs that no run has seen")
    parser.add_argument("--every", type=int, default=6, metavar="N", help="every N-th of them (default: 6)")
    parser.add_argument("--recipe", default="old-photo")
    parser.add_argument("--model", default="photo")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    files = sorted(path for path in args.photos.iterdir() if path.is_file())[:: args.every]
    restorer = Restorer(args.model)
    rows = []
    for number, path in enumerate(files):
        rows.append(figures(restorer, path, args.recipe))
        print(f"{number + 1}/{len(files)} {path.name}", flush=True)
    facts = {
        "model": {"name": restorer.bundle.name, "hash": restorer.bundle.hash},
        "photographs": {"count": len(files), "every": args.every, "sha256": checksum(files)},
        "recipe": args.recipe,
        **summary(rows),
    }
    return filed("mask-twice", facts, args)


if __name__ == "__main__":
    main()
