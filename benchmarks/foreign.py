"""What becomes of damage that relume's recipes do not draw?

Twenty-one families by OpenCV and numpy alone, mixtures of two to five of them, and marks that a scan made
soft or sharpened, on held-out photographs. The ranges were chosen once. A forerunner of this script showed
that plain loss of contrast was not mended, and the embedded model has learned from such damage since (by
other ranges): fade and pale are no blind test; scanned was added with a net that had learned from soft marks,
and is none either. For each the PSNR of the damaged and of the restored picture, as they are and after the
best gain and offset for each channel. --page writes the table.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pages import foreign, placed
from quality import checksum, chosen, filed
from relume import Restorer, Settings, __version__, image
from relume.bench.quality import psnr, tone_aligned_psnr

HERE = Path(__file__).resolve().parent
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
Picture = NDArray[np.float32]
Random = np.random.Generator
Family = Callable[[Picture, Random], Picture]


def fit(picture: NDArray[Any]) -> Picture:
    return np.clip(picture, 0, 1).astype(np.float32)


def gaussian(x: Picture, r: Random) -> Picture:
    return fit(x + r.normal(0, r.uniform(0.04, 0.14), x.shape))


def grey_noise(x: Picture, r: Random) -> Picture:
    return fit(x + r.normal(0, r.uniform(0.04, 0.12), x.shape[:2])[..., None])


def photons(x: Picture, r: Random) -> Picture:
    count = r.uniform(20, 90)
    return fit(r.poisson(x * count) / count)


def salt_and_pepper(x: Picture, r: Random) -> Picture:
    share, dice = r.uniform(0.005, 0.04), r.random(x.shape[:2])
    y = x.copy()
    y[dice < share / 2], y[dice > 1 - share / 2] = 0, 1
    return y


def motion(x: Picture, r: Random) -> Picture:
    n, angle = int(r.integers(5, 14)), r.uniform(0, np.pi)
    reach = (n - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(int(v) for v in np.rint((n - 1) / 2 + sign * reach)) for sign in (-1, 1)]
    kernel = cv2.line(np.zeros((n, n), np.float32), ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
    return fit(cv2.filter2D(x, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT))


def blur(x: Picture, r: Random) -> Picture:
    return fit(cv2.GaussianBlur(x, (0, 0), r.uniform(0.8, 2.5)))


def jpeg(x: Picture, r: Random) -> Picture:
    return saved(x, int(r.integers(10, 40)))


def saved(x: Picture, quality: int) -> Picture:
    """After a round trip through JPEG."""
    levels = np.rint(x[..., ::-1] * 255).astype(np.uint8)
    _, file = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return fit(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1] / np.float32(255))


def small(x: Picture, r: Random) -> Picture:
    size, share = x.shape[1::-1], r.uniform(0.35, 0.6)
    low = cv2.resize(x, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return fit(cv2.resize(low, size, interpolation=cv2.INTER_CUBIC))


def lines(x: Picture, r: Random, tone: tuple[float, float], width: tuple[int, int], most: int) -> Picture:
    """Wandering polylines, drawn by OpenCV."""
    y = x.copy()
    for _ in range(int(r.integers(most // 3, most))):
        at, heading, path = r.uniform(0, x.shape[1::-1]), r.uniform(0, 2 * np.pi), []
        for _ in range(int(r.integers(3, 13))):
            path.append(at)
            heading += r.normal(0, 0.25)
            at = at + r.uniform(10, 50) * np.array([np.cos(heading), np.sin(heading)])
        mask = np.zeros(x.shape[:2], np.float32)
        points = (np.array(path) * 8).astype(np.int32)
        cv2.polylines(mask, [points], False, 1.0, int(r.integers(width[0], width[1] + 1)), cv2.LINE_AA, 3)
        opacity = r.uniform(0.5, 1) * mask[..., None]
        y = y * (1 - opacity) + r.uniform(*tone) * opacity
    return fit(y)


def light_scratches(x: Picture, r: Random) -> Picture:
    return lines(x, r, (0.75, 1.0), (1, 2), 14)


def dark_scratches(x: Picture, r: Random) -> Picture:
    return lines(x, r, (0.0, 0.2), (1, 2), 14)


def wide_cracks(x: Picture, r: Random) -> Picture:
    return lines(x, r, (0.7, 1.0), (3, 6), 6)


def film_scratches(x: Picture, r: Random) -> Picture:
    y, (h, w) = x.copy(), x.shape[:2]
    for _ in range(int(r.integers(3, 15))):
        column, top, share = int(r.integers(w)), int(r.integers(h)), r.uniform(0.3, 0.9)
        part = y[top : top + int(r.integers(20, h)), column : column + int(r.integers(1, 3))]
        part[:] = part * (1 - share) + share * r.choice([0.0, 1.0])
    return y


def spots(x: Picture, r: Random) -> Picture:
    y, (h, w) = x.copy(), x.shape[:2]
    for _ in range(int(r.integers(8, 40))):
        size = r.uniform(1, 5)
        axes = max(1, int(size)), max(1, int(size * r.uniform(0.4, 1)))
        mask = np.zeros((h, w), np.float32)
        middle = int(r.integers(w)), int(r.integers(h))
        cv2.ellipse(mask, middle, axes, r.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)
        tone = r.uniform(0, 0.2) if r.random() < 0.5 else r.uniform(0.8, 1)
        y = y * (1 - mask[..., None]) + tone * mask[..., None]
    return fit(y)


def holes(x: Picture, r: Random) -> Picture:
    y, (h, w) = x.copy(), x.shape[:2]
    for _ in range(int(r.integers(2, 6))):
        a, b = (int(v) for v in r.integers(6, 20, 2))
        top, left = int(r.integers(h - a)), int(r.integers(w - b))
        y[top : top + a, left : left + b] = r.choice([0.0, 0.9, 1.0])
    return y


def fade(x: Picture, r: Random) -> Picture:
    return fit(x * r.uniform(0.45, 0.7) + r.uniform(0.1, 0.3))


def pale(x: Picture, r: Random) -> Picture:
    return fit((x - 0.5) * r.uniform(0.7, 0.95) + 0.5 + r.uniform(-0.05, 0.12))


def sepia(x: Picture, r: Random) -> Picture:
    tint = np.array([1.0, 0.78, 0.55]) ** r.uniform(0.3, 1)
    return fit((0.25 + 0.6 * (x @ LUMA))[..., None] * tint)


def vignette(x: Picture, r: Random) -> Picture:
    v, u = (np.linspace(-1, 1, n) for n in x.shape[:2])
    return fit(x * (1 - r.uniform(0.3, 0.6) * (v[:, None] ** 2 + u**2) / 2)[..., None])


def stain(x: Picture, r: Random) -> Picture:
    h, w = x.shape[:2]
    axes = int(r.integers(30, 90)), int(r.integers(30, 90))
    mask = cv2.ellipse(
        np.zeros((h, w), np.float32), (int(r.integers(w)), int(r.integers(h))), axes, 0, 0, 360, 1.0, -1
    )
    mask = cv2.GaussianBlur(mask, (0, 0), r.uniform(2, 12))[..., None] * r.uniform(0.15, 0.4)
    return fit(x * (1 - mask) + mask * np.array([0.7, 0.55, 0.35]))


def texture(x: Picture, r: Random) -> Picture:
    grain = cv2.GaussianBlur(r.normal(0, 1, x.shape[:2]).astype(np.float32), (0, 0), r.uniform(0.8, 2))
    return fit(x * (1 + r.uniform(0.03, 0.09) * grain / grain.std())[..., None])


def halftone(x: Picture, r: Random) -> Picture:
    v, u = np.mgrid[: x.shape[0], : x.shape[1]] * (2 * np.pi / r.uniform(4.2, 7.0))
    return fit(x + r.uniform(0.03, 0.09) * (np.sin(u + v) * np.sin(u - v))[..., None])


TONE: tuple[Family, ...] = (fade, pale, sepia, vignette, stain)
CAPTURE: tuple[Family, ...] = (
    gaussian, grey_noise, photons, salt_and_pepper, blur, motion, jpeg, small, texture, halftone
)  # fmt: skip
SURFACE: tuple[Family, ...] = (light_scratches, dark_scratches, wide_cracks, film_scratches, spots, holes)


def mixture(x: Picture, r: Random) -> Picture:
    """One of tone or none, one or two of the capture, one or two of the surface."""
    for families, least, most in ((TONE, 0, 1), (CAPTURE, 1, 2), (SURFACE, 1, 2)):
        for number in r.choice(len(families), int(r.integers(least, most + 1)), replace=False):
            x = families[int(number)](x, r)
    return x


def scanned(x: Picture, r: Random) -> Picture:
    """One or two of the surface, then a soft scan as JPEG: marks no sharper than the picture."""
    for number in r.choice(len(SURFACE), int(r.integers(1, 3)), replace=False):
        x = SURFACE[int(number)](x, r)
    return saved(cv2.GaussianBlur(x, (0, 0), r.uniform(0.6, 1.2)), 90)


def sharpened(x: Picture, r: Random) -> Picture:
    """Grain and one or two of the surface, a little soft, then sharpened as scanners do, saved as JPEG."""
    grain = cv2.GaussianBlur(r.normal(0, 1, x.shape[:2]).astype(np.float32), (0, 0), r.uniform(0.4, 0.9))
    x = fit(x + r.uniform(0.01, 0.05) * (grain / grain.std())[..., None])
    for number in r.choice(len(SURFACE), int(r.integers(1, 3)), replace=False):
        x = SURFACE[int(number)](x, r)
    x = cv2.GaussianBlur(x, (0, 0), r.uniform(0.4, 0.8))
    return saved(fit(x + r.uniform(0.5, 2) * (x - cv2.GaussianBlur(x, (0, 0), r.uniform(0.8, 2)))), 92)


FAMILIES: tuple[Family, ...] = (*TONE, *CAPTURE, *SURFACE, mixture, scanned, sharpened)


def measured(family: Family, number: int, files: Sequence[Path], restorer: Restorer) -> list[list[float]]:
    """PSNR before, after; aligned before, after: of each photograph."""
    rows = []
    for place, path in enumerate(files):
        clean = image.read(path).srgb()
        damaged = fit(np.rint(family(clean, np.random.default_rng([number, place])) * 255) / 255)
        restored = restorer.restore(image.from_array(damaged), Settings()).image.srgb()
        pairs = [(rate, shown) for rate in (psnr, tone_aligned_psnr) for shown in (damaged, restored)]
        rows.append([min(60.0, float(rate(shown, clean))) for rate, shown in pairs])
    return rows


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of clean photographs, held out")
    parser.add_argument("--count", type=int, default=33, help="so many of them, evenly spread")
    parser.add_argument("--model", default="photo")
    parser.add_argument("--page", type=Path, help="write the table between the marks of this page, too")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    files, restorer = chosen(args.photos, args.count), Restorer(args.model)
    rows = {}
    for number, family in enumerate(FAMILIES):
        rows[family.__name__] = measured(family, number, files, restorer)
        print(foreign({"rows": {family.__name__: rows[family.__name__]}}).splitlines()[-1], flush=True)
    facts = {
        "model": {"name": restorer.bundle.name, "hash": restorer.bundle.hash},
        "photographs": {"names": [path.name for path in files], "sha256": checksum(files)},
        "columns": ["psnr damaged", "psnr restored", "aligned damaged", "aligned restored"],
        "rows": {name: np.round(values, 3).tolist() for name, values in rows.items()},
    }
    if args.page is not None:
        placed(args.page, "foreign", foreign(facts))
    return filed("foreign", facts, args)


if __name__ == "__main__":
    main()
