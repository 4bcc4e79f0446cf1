"""Measured tiles corrected one by one and together: a picture of docs/xray.md.

    python benchmarks/xray_together.py --tiles FOLDER --out docs/xray-series.jpg

``--tiles`` is a folder of raw tiles of one session; docs/xray.md says where such files come from.
"""

__all__ = ["main"]

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from relume.scan import open_scan
from relume.tasks.xray import correct, find_method

PANEL, GAP, LINE = 230, 6, 14
Field = NDArray[np.floating]


def panel(field: Field, low: float, high: float) -> Image.Image:
    """Between two values, shrunk."""
    scaled = np.clip((field - low) / (high - low), 0, 1)
    return Image.fromarray((255 * scaled).astype(np.uint8)).resize((PANEL, PANEL), Image.Resampling.LANCZOS)


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    raws = list(open_scan(args.tiles).frames)[:4]
    rows: list[tuple[str, list[Image.Image]]] = [
        ("raw", [panel(raw / np.median(raw), 0.35, 1.65) for raw in raws])
    ]
    for name, what in (("pix2pix", "each alone"), ("series", "together")):
        found = list(correct(raws, method=find_method(name), references=raws if name == "series" else ()))
        rows.append((f"{what}: background", [panel(one.background, 0.5, 1.4) for one in found]))
        rows.append((f"{what}: corrected", [panel(one.transmission, 0.3, 1.2) for one in found]))
    sheet = Image.new("L", (4 * (PANEL + GAP) - GAP, len(rows) * (PANEL + LINE + GAP) - GAP), 255)
    pen = ImageDraw.Draw(sheet)
    for i, (label, views) in enumerate(rows):
        top = i * (PANEL + LINE + GAP)
        pen.text((2, top), label, fill=0)
        for j, view in enumerate(views):
            sheet.paste(view, (j * (PANEL + GAP), top + LINE))
    sheet.save(args.out, quality=85, optimize=True)


if __name__ == "__main__":
    main()
