"""The model xray on measured images, beside classical methods.

    python benchmarks/xray_measured.py --data DIR --name MACHINE

*Chip*: an image whose reference lies in its file (``test_chip00.xrm``). The counts are low, so both are
binned 4×4 before the standard deviation of ln B̂ − ln B, its median free, is taken; and what share of it lies
within the model's 90 % interval. No dark level is known. *Tiles*: four of one mosaic (``txm_sb_2x2``), where
light hardly moves: by how much the backgrounds of two tiles differ, mean of the six pairs.
"""

__all__ = ["main"]

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from quality import filed
from relume import __version__
from relume.background import ESTIMATORS
from relume.scan import open_scan
from relume.tasks.xray import BackgroundNet, estimate_background

HERE = Path(__file__).resolve().parent
CLASSICAL = ("none", "gaussian", "polynomial")
REACH = 1.6449  # of a 90 % interval, in standard deviations
BIN = 4


def binned(x: np.ndarray) -> np.ndarray:
    h, w = (side // BIN * BIN for side in x.shape)
    return x[:h, :w].reshape(h // BIN, BIN, w // BIN, BIN).mean((1, 3))


def apart(one: np.ndarray, other: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """ln of the ratio where both are light, its median 0."""
    ratio = np.log(one[valid] / other[valid])
    return ratio - np.median(ratio)


def chip(path: Path, net: BackgroundNet) -> dict[str, Any]:
    scan = open_scan(path)
    raw, reference = np.asarray(scan.frames[0], float), binned(np.asarray(scan.flats.mean(), float))
    valid = reference > 0.05 * np.median(reference)
    found = estimate_background(raw, net=net)
    fields = {name: ESTIMATORS[name](raw) for name in CLASSICAL} | {"pix2pix": found.field}
    errors = {name: apart(binned(field), reference, valid) for name, field in fields.items()}
    inside = np.abs(errors["pix2pix"]) <= REACH * binned(found.sigma)[valid]
    return {name: float(e.std()) for name, e in errors.items()} | {"coverage": float(inside.mean())}


def tiles(paths: Sequence[Path], net: BackgroundNet) -> dict[str, float]:
    images = [np.asarray(open_scan(path).frames[0], float) for path in paths]
    estimators = {name: ESTIMATORS[name] for name in CLASSICAL[1:]}
    estimators["pix2pix"] = lambda image: estimate_background(image, net=net).field
    found = {}
    for name, estimator in estimators.items():
        fields = [estimator(image) for image in images]
        every = np.ones(images[0].shape, bool)
        found[name] = float(np.mean([apart(a, b, every).std() for a, b in combinations(fields, 2)]))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with xrm/ and txm_sb_2x2/")
    parser.add_argument("--models", nargs="+", default=["xray"], metavar="MODEL")
    parser.add_argument("--name", help="name of the machine: write a file of results")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    models = []
    for model in args.models:
        net = BackgroundNet(model)
        rows = {
            "chip": chip(args.data / "xrm" / "test_chip00.xrm", net),
            "tiles": tiles(sorted((args.data / "txm_sb_2x2").glob("*.tif")), net),
        }
        models.append({"model": {"name": net.bundle.name, "hash": net.bundle.hash}, **rows})
        print(net.bundle.hash[:8], rows)
    if args.name:
        filed("xray-measured", {"models": models}, args)


if __name__ == "__main__":
    main()
