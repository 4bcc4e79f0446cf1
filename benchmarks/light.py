"""Is uneven light made even, which kinds of it, and what does that do where it is not asked for?

Held-out photographs are lit unevenly by formulas of this script's own, and restored with the light made even
and with it kept; once as they are, and once faded by relume's own damage before. --pictures shows
six photographs of the first kind, at even ranks of the gain, the best first: as they were lit, restored with
the light kept, restored, the truth.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from quality import checksum, chosen, filed
from relume import Restorer, Settings, __version__, image
from relume.bench.intervals import paired_bootstrap
from relume.bench.quality import psnr
from relume.degrade import DEGRADATIONS

HERE = Path(__file__).resolve().parent
Picture = NDArray[np.float32]
Random = np.random.Generator


def _places(shape: tuple[int, ...]) -> tuple[Picture, Picture]:
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[:2])
    return rows[:, None], columns[None]


def lens(x: Picture, r: Random) -> Picture:
    """The fourth power of a cosine, of a wide lens."""
    v, u = _places(x.shape)
    return x / (1 + r.uniform(0.15, 0.4) * (v**2 + u**2))[..., None] ** 2


def lamp(x: Picture, r: Random) -> Picture:
    """Inverse squares of the distance from a lamp beside the print."""
    v, u = _places(x.shape)
    angle, away = r.uniform(0, 2 * np.pi), r.uniform(4.0, 8.0)
    squares = (v - away * np.sin(angle)) ** 2 + (u - away * np.cos(angle)) ** 2 + 1
    return x * (squares.min() / squares)[..., None]


def edges(x: Picture, r: Random) -> Picture:
    """Edges that darkened and yellowed."""
    v, u = _places(x.shape)
    near = np.exp(-(1 - np.maximum(np.abs(v), np.abs(u))) / r.uniform(0.1, 0.25))
    return x * (1 - r.uniform(0.3, 0.6) * near[..., None] * np.array([0.8, 0.9, 1.0]))


def glare(x: Picture, r: Random) -> Picture:
    """A window's reflection on one part."""
    v, u = _places(x.shape)
    y, z = r.uniform(-0.7, 0.7, 2)
    share = r.uniform(0.2, 0.45) * np.exp(-((v - y) ** 2 + (u - z) ** 2) / 2 / r.uniform(0.3, 0.6) ** 2)
    return x + (1 - x) * share[..., None]


def stain(x: Picture, r: Random) -> Picture:
    """Tea."""
    h, w = x.shape[:2]
    disc = cv2.ellipse(
        np.zeros((h, w)),
        (int(r.integers(w)), int(r.integers(h))),
        (int(w * r.uniform(0.15, 0.35)), int(h * r.uniform(0.15, 0.35))),
        float(r.uniform(0, 180)),
        0,
        360,
        1.0,
        -1,
    )
    soft = cv2.GaussianBlur(disc, (0, 0), 0.015 * max(h, w))[..., None]
    return x * (1 - soft * r.uniform(0.2, 0.5) * np.array([0.5, 0.8, 1.0]))


def none(x: Picture, r: Random) -> Picture:
    return x


KINDS: tuple[Callable[[Picture, Random], Picture], ...] = (lens, lamp, edges, glare, stain, none)
EVEN, KEEP = Settings(), Settings(shading="keep")


def lit(
    kind: Callable[[Picture, Random], Picture], clean: Picture, seed: list[int], *, faded: bool
) -> Picture:
    """A photograph in that light, in 256 levels, as a file has them."""
    r = np.random.default_rng(seed)
    shown = DEGRADATIONS["fading"](1.0)(clean, r).picture if faded else clean
    return np.asarray(np.rint(np.clip(kind(shown, r), 0, 1) * 255) / 255, dtype=np.float32)


def restored(restorer: Restorer, picture: Picture, settings: Settings) -> Picture:
    shown = restorer.restore(image.from_array(picture), settings).image.srgb()
    return np.asarray(np.broadcast_to(shown, picture.shape), dtype=np.float32)


def opened(path: Path) -> Picture:
    shown = image.read(path).srgb()
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)), dtype=np.float32)


def measured(restorer: Restorer, files: Sequence[Path]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for faded in (False, True):
        for number, kind in enumerate(KINDS):
            values = []
            for place, path in enumerate(files):
                clean = opened(path)
                given = lit(kind, clean, [number, place], faded=faded)
                shown = (given, *(restored(restorer, given, settings) for settings in (KEEP, EVEN)))
                values.append([min(60.0, float(psnr(each, clean))) for each in shown])
            figures = np.array(values)
            change = paired_bootstrap(figures[:, 2].tolist(), figures[:, 1].tolist())
            rows.append(
                {
                    "kind": kind.__name__,
                    "faded": faded,
                    "psnr_given_kept_even": figures.mean(0).round(2).tolist(),
                    "even_over_kept": [round(each, 2) for each in (change.mean, change.low, change.high)],
                    "better": int((figures[:, 2] > figures[:, 1] + 0.1).sum()),
                    "worse": int((figures[:, 2] < figures[:, 1] - 0.1).sum()),
                    "photographs": figures.round(3).tolist(),
                }
            )
            print({key: value for key, value in rows[-1].items() if key != "photographs"}, flush=True)
    return rows


def sheet(restorer: Restorer, files: Sequence[Path], figures: NDArray[np.float64], out: Path) -> None:
    """Six photographs of the first kind, in columns; from above: as lit, light kept, even, the truth."""
    order = np.argsort(figures[:, 1] - figures[:, 2])
    columns = []
    for place in order[np.linspace(0, len(order) - 1, 6).round().astype(int)]:
        clean = opened(files[place])
        given = lit(KINDS[0], clean, [0, int(place)], faded=False)
        cells = [given, restored(restorer, given, KEEP), restored(restorer, given, EVEN), clean]
        columns.append(
            np.concatenate([cv2.resize(cell, (200, 200), interpolation=cv2.INTER_AREA) for cell in cells])
        )
    levels = (np.concatenate(columns, axis=1).clip(0, 1) * 255).round().astype(np.uint8)
    PilImage.fromarray(levels).save(out, quality=88)


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of clean photographs, held out")
    parser.add_argument("--count", type=int, default=66, help="so many of them, evenly spread")
    parser.add_argument("--model", default="photo")
    parser.add_argument("--pictures", type=Path, metavar="FILE", help="write a sheet of pictures, too")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    files, restorer = chosen(args.photos, args.count), Restorer(args.model)
    rows = measured(restorer, files)
    facts = {
        "model": {"name": restorer.bundle.name, "hash": restorer.bundle.hash},
        "photographs": {"names": [path.name for path in files], "sha256": checksum(files)},
        "rows": rows,
    }
    if args.pictures is not None:
        sheet(restorer, files, np.array(rows[0]["photographs"]), args.pictures)
    return filed("light", facts, args)


if __name__ == "__main__":
    main()
