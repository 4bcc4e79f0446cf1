"""Shows what a committed quality file measured: best, median and worst, none chosen by eye.

Rows of docs/quality.jpg, by the gain in PSNR of the default settings: the two best, the two in the middle,
the two worst, and the two clean photographs that came back changed most. Columns: damaged (or clean), the
classical row of most parts, restored, restored at fidelity 0, the truth.

``--faces`` shows the largest face of six photographs, at even ranks of the gain in PSNR within the faces, the
best first.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage
from PIL import ImageOps

from relume import Restorer, Settings, __version__, image
from relume.bench.classical import row
from relume.bench.faces import find_faces
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


def chosen_faces(report: dict[str, Any]) -> list[int]:
    """Indices of photographs with faces: six at even ranks of the gain within the faces."""
    rows = report["pictures"]
    before, after = (np.array(rows[row]["face_psnr"], dtype=float) for row in ("identity", "restored"))
    found = np.flatnonzero(np.isfinite(before) & np.isfinite(after))
    order = found[np.argsort(before[found] - after[found])]
    return [int(order[round(rank)]) for rank in np.linspace(0, len(order) - 1, 6)]


def face(picture: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[slice, slice]:
    """The largest face and as much again around it, as far as the picture goes."""
    box = find_faces(picture)[0]
    side = max(box.height, box.width)
    top, left = max(0, box.y - side // 2), max(0, box.x - side // 2)
    return slice(top, top + 2 * side), slice(left, left + 2 * side)


def strip(pictures: list[np.ndarray[Any, np.dtype[np.float32]]]) -> PilImage.Image:
    """Pictures side by side, on white."""
    sheet = PilImage.new("RGB", (len(pictures) * (SIDE + GAP) - GAP, SIDE), "white")
    for place, picture in enumerate(pictures):
        levels = np.round(np.clip(np.broadcast_to(picture, (*picture.shape[:2], 3)), 0, 1) * 255)
        shown = ImageOps.pad(PilImage.fromarray(levels.astype(np.uint8)), (SIDE, SIDE), color="white")
        sheet.paste(shown, (place * (SIDE + GAP), 0))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="the folder that was measured")
    parser.add_argument("--file", type=Path, help="the quality file (default: the only one of this version)")
    parser.add_argument("--faces", action="store_true", help="faces, in place of whole photographs")
    parser.add_argument("--out", type=Path, help="default: docs/quality.jpg, or docs/faces.jpg")
    args = parser.parse_args()
    file = args.file or next((HERE / "results" / __version__).glob("quality--*.json"))
    report = json.loads(file.read_text(encoding="utf-8"))
    names, damage = report["photographs"]["names"], report["damage"]
    restorer, classical = Restorer(), row(CLASSICAL)
    strips = []
    damaged, clean = (chosen_faces(report), []) if args.faces else chosen(report)
    for index, hurt in [*((i, True) for i in damaged), *((i, False) for i in clean)]:
        pair = damaged_by(
            names[index],
            image.read(args.photos / names[index]),
            recipe_name=damage["recipe"],
            seed=damage["seed"],
            severity=damage["severity"],
        )
        given = pair.damaged if hurt else pair.clean
        answers = [given.pixels, classical.restore(given.pixels)]
        answers += [
            restorer.restore(given, settings).image.pixels for settings in (Settings(), Settings(fidelity=0))
        ]
        place = face(pair.clean.pixels) if args.faces else (slice(None), slice(None))
        strips.append(strip([picture[place] for picture in (*answers, pair.clean.pixels)]))
    sheet = PilImage.new("RGB", (strips[0].width, len(strips) * (SIDE + GAP) - GAP), "white")
    for place, each in enumerate(strips):
        sheet.paste(each, (0, place * (SIDE + GAP)))
    out = args.out or HERE.parent / "docs" / ("faces.jpg" if args.faces else "quality.jpg")
    sheet.save(out, quality=88, subsampling=0, optimize=True)
    print(out)


if __name__ == "__main__":
    main()
