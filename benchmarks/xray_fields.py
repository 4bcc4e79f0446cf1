r"""Simulated and measured fields side by side: the picture of docs/xray.md, and a row of its table.

    python benchmarks/xray_fields.py --empty test_chip00.xrm --tiles FOLDER --out docs/xray.png

``--empty`` is a measurement with an empty field in it (flat frames), ``--tiles`` a folder of raw tiles.
docs/xray.md says where such files come from.
"""

__all__ = ["main"]

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from relume.bench.transmission import smoothed
from relume.degrade.illumination import Mosaic, Simulator
from relume.scan import open_scan

PANEL, GAP, LINE = 222, 6, 14
SEED = 200_026
Field = NDArray[np.floating]


def fine(field: Field, *, quiet: float) -> Field:
    """The pattern of the detector: the field over its own blur, smoothed a little against photon noise."""
    low = smoothed(field, quiet) if quiet else field
    return low / smoothed(field, 16)


def panel(field: Field, low: float, high: float) -> Image.Image:
    """The middle 444 pixels, between two values or percentiles of the median."""
    edge = (field.shape[0] - 2 * PANEL) // 2
    cut = field[edge : edge + 2 * PANEL, edge : edge + 2 * PANEL].reshape(PANEL, 2, PANEL, 2).mean((1, 3))
    scaled = np.clip((cut / np.median(cut) - low) / (high - low), 0, 1)
    return Image.fromarray((255 * scaled).astype(np.uint8))


def rows(empty: Path, tiles: Path) -> list[tuple[str, list[tuple[str, Image.Image]]]]:
    """Measured above, simulated below, by the same steps."""
    flats = open_scan(empty).flats
    if flats is None:
        raise SystemExit(f"{empty} holds no empty field")
    raw = open_scan(tiles).frames
    measured = flats.mean().astype(np.float64)
    simulator = Simulator(SEED)
    light = simulator.light(simulator.drift.at(0))[0]
    mosaic = Mosaic(SEED, 3, kinds=("battery",), zernike=True)
    dark = mosaic.simulator.session.detector.dark

    def four(
        name: str, field: Field, pair: list[Field], quiet: float
    ) -> tuple[str, list[tuple[str, Image.Image]]]:
        views = [(f"{name}: empty field", panel(field, 0.3, 1.7))]
        views.append(("its fine pattern", panel(fine(field, quiet=quiet), 0.92, 1.08)))
        views += [("raw tile", panel(tile, 0.35, 1.65)) for tile in pair]
        return name, views

    return [
        four("measured", measured, [raw[0] - 1500.0, raw[3] - 1500.0], 1.5),
        four("simulated", light, [mosaic[4].raw - dark, mosaic[5].raw - dark], 0.8),
    ]


def main() -> None:
    """Draws the picture and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--empty", type=Path, required=True)
    parser.add_argument("--tiles", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    drawn = rows(args.empty, args.tiles)
    sheet = Image.new("L", (4 * (PANEL + GAP) - GAP, 2 * (PANEL + LINE) + GAP), 255)
    pen = ImageDraw.Draw(sheet)
    for i, (_, views) in enumerate(drawn):
        for j, (label, view) in enumerate(views):
            x, y = j * (PANEL + GAP), i * (PANEL + LINE + GAP)
            pen.text((x + 2, y), label, fill=0)
            sheet.paste(view, (x, y + LINE))
    sheet.save(args.out, optimize=True)
    print(figures())


def figures(sessions: int = 36) -> str:
    """Mean statistics of simulated empty fields where the vignette is above 0.97, as a row of the table."""
    found = []
    for seed in range(sessions):
        simulator = Simulator(seed)
        field = simulator.light(simulator.drift.at(0))[0]
        inside = field[simulator.light.vignette > 0.97]
        centre = slice(56, 456)
        residues = []
        for sigma in (4, 16, 64):
            ratio = (field / smoothed(field, sigma))[centre, centre]
            residues.append(100 * ratio.std() / ratio.mean())
        found.append([inside.std() / inside.mean(), *np.percentile(inside, [1, 5, 95, 99]), *residues])
    cv, *rest = np.mean(found, axis=0)
    percentiles = " ".join(f"{v:.2f}" for v in rest[:4])
    return f"CV {cv:.3f} | percentiles {percentiles} | left {', '.join(f'{v:.1f}' for v in rest[4:])} %"


if __name__ == "__main__":
    main()
