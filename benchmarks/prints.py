r"""Do our damaged pictures look like genuine old prints? Levels, tint and grain of both, and their distances.

    python benchmarks/prints.py --genuine FOLDER [--genuine 'FOLDER/fsa_*'] --clean FOLDER --name MACHINE

Each picture is looked at with its shorter side at 192 pixels. ``--restored`` adds the genuine ones after they
were restored.
"""

__all__ = ["main"]

import argparse
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from quality import git
from relume import Restorer, Settings, files, image
from relume._version import __version__
from relume.bench.appearance import APPEARANCE, appearance, appearance_distance
from relume.bench.machine import machine
from relume.degrade import recipe

HERE = Path(__file__).resolve().parent
SIDE = 192
QUANTILES = (5, 25, 50, 75, 95)
Looks = list[dict[str, float]]


def seen(picture: Pillow.Image) -> np.ndarray:
    """H×W×3 in [0,1], the shorter side at most :data:`SIDE`."""
    scale = min(1.0, SIDE / min(picture.size))
    size = (round(picture.width * scale), round(picture.height * scale))
    return np.asarray(picture.convert("RGB").resize(size, Pillow.Resampling.LANCZOS), np.float32) / 255


def pictures(patterns: Iterable[Path], every: int = 1) -> list[Path]:
    """The pictures of folders, and of patterns in their last part."""
    found = []
    for pattern in patterns:
        folder, name = (pattern, "*") if pattern.is_dir() else (pattern.parent, pattern.name)
        found += [path for path in sorted(folder.glob(name)) if image.is_picture(path)]
    return found[::every]


def damaged(paths: Iterable[Path], name: str, severity: float) -> Looks:
    """What a recipe makes of clean pictures."""
    found = []
    for path in paths:
        rng = np.random.default_rng([0, zlib.crc32(path.name.encode())])
        clean = seen(image.to_pil(image.read(path), "RGB"))
        found.append(appearance(recipe(name)(clean, rng, severity=severity).picture))
    return found


def genuine(paths: Iterable[Path], restorer: Restorer | None) -> Looks:
    """Genuine prints, as they are or restored."""
    found = []
    for path in paths:
        picture = image.read(path)
        if restorer is not None:
            picture = restorer.restore(picture, Settings()).image
        found.append(appearance(seen(image.to_pil(picture, "RGB"))))
    return found


def quantiles(looks: Looks) -> dict[str, list[float]]:
    """Each figure's distribution."""
    return {
        name: [round(float(value), 4) for value in np.percentile([one[name] for one in looks], QUANTILES)]
        for name in APPEARANCE
    }


def main() -> None:
    """Compares, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genuine", type=Path, action="append", required=True)
    parser.add_argument("--clean", type=Path, action="append", required=True)
    parser.add_argument("--recipes", nargs="+", default=["old-photo"])
    parser.add_argument("--severity", type=float, default=1.0)
    parser.add_argument("--every", type=int, default=1, help="every so many of the clean pictures")
    parser.add_argument("--restored", action="store_true")
    parser.add_argument(
        "--name", help="of the machine: writes benchmarks/results/VERSION/prints--NAME--cpu.json"
    )
    args = parser.parse_args()
    prints = pictures(args.genuine)
    theirs = genuine(prints, None)
    clean = pictures(args.clean, args.every)
    groups: dict[str, Looks] = {"genuine": theirs}
    for name in args.recipes:
        groups[name] = damaged(clean, name, args.severity)
    if args.restored:
        groups["genuine, restored"] = genuine(prints, Restorer("photo"))
    apart: Mapping[str, Mapping[str, float]] = {
        name: appearance_distance(looks, theirs) for name, looks in groups.items() if name != "genuine"
    }
    for name, looks in groups.items():
        print(f"{name} ({len(looks)})")
        for figure, values in quantiles(looks).items():
            distance = f"  {apart[name][figure]:.2f}" if name in apart else ""
            print(f"  {figure:9}" + "".join(f"{value:9.3f}" for value in values) + distance)
    if args.name:
        report = {
            "suite": "prints",
            "version": __version__,
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
            "machine": machine(),
            "figures": dict(APPEARANCE),
            "percentiles": QUANTILES,
            "severity": args.severity,
            "groups": {n: {"pictures": len(g), "quantiles": quantiles(g)} for n, g in groups.items()},
            "distance_from_genuine": apart,
        }
        target = HERE / "results" / __version__ / f"prints--{args.name}--cpu.json"
        files.place(json.dumps(report, indent=1).encode() + b"\n", target, overwrite=True)


if __name__ == "__main__":
    main()
