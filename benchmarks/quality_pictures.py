"""Shows what a committed quality file measured: best, median and worst, none chosen by eye.

Rows of docs/quality.jpg, by the gain in PSNR of the default settings: the two best, the two in the middle,
the two worst, and the two clean photographs that came back changed most. Columns: damaged (or clean), the
classical row of most parts, restored, the truth.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from relume import Restorer, __version__, image
from relume.bench.classical import row
from relume.tasks.evaluate import damaged_by

HERE = Path(__file__).resolve().parent
SIDE, GAP = 192, 6
CLASSICAL = "combined"


def chosen(report: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Indices of the photographs to show damaged, and clean."""
    rows = report["pictures"]
    gain = np.subtract(rows["restored"]["psnr"], rows["identity"]["psnr"])
    order = np.argsort(-gain)
    middle = len(order) // 2
    shown = [*order[:2], *order[middle - 1 : middle + 1], *order[-2:]]
    return [int(i) for i in shown], [int(i) for i in np.argsort(rows["restored"]["clean_psnr"])[:2]]


def strip(pictures: list[np.ndarray[Any, np.dtype[np.float32]]]) -> PilImage.Image:
    """Pictures side by side, on white."""
    sheet = PilImage.new("RGB", (len(pictures) * (SIDE + GAP) - GAP, SIDE), "white")
    for place, picture in enumerate(pictures):
        levels = np.round(np.clip(np.broadcast_to(picture, (*picture.shape[:2], 3)), 0, 1) * 255)
        small = PilImage.fromarray(levels.astype(np.uint8)).resize((SIDE, SIDE), PilImage.Resampling.LANCZOS)
        sheet.paste(small, (place * (SIDE + GAP), 0))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="the folder that was measured")
    parser.add_argument("--file", type=Path, help="the quality file (default: the only one of this version)")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "quality.jpg")
    args = parser.parse_args()
    file = args.file or next((HERE / "results" / __version__).glob("quality--*.json"))
    report = json.loads(file.read_text(encoding="utf-8"))
    names, damage = report["photographs"]["names"], report["damage"]
    restorer, classical = Restorer(), row(CLASSICAL)
    strips = []
    damaged, clean = chosen(report)
    for index, hurt in [*((i, True) for i in damaged), *((i, False) for i in clean)]:
        pair = damaged_by(
            names[index],
            image.read(args.photos / names[index]),
            recipe_name=damage["recipe"],
            seed=damage["seed"],
            severity=damage["severity"],
        )
        given = pair.damaged if hurt else pair.clean
        answers = [given.pixels, classical.restore(given.pixels), restorer.restore(given).image.pixels]
        strips.append(strip([*answers, pair.clean.pixels]))
    sheet = PilImage.new("RGB", (strips[0].width, len(strips) * (SIDE + GAP) - GAP), "white")
    for place, each in enumerate(strips):
        sheet.paste(each, (0, place * (SIDE + GAP)))
    sheet.save(args.out, quality=88, subsampling=0, optimize=True)
    print(args.out)


if __name__ == "__main__":
    main()
