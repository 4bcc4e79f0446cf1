r"""Classical backgrounds on simulated X-ray images: the table of docs/xray.md.

    python benchmarks/xray_methods.py --sessions 10

One image of each session of the test split, mixed samples, dark level known. About 8 s a session on one core.
"""

__all__ = ["main"]

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from relume.background import ESTIMATORS, corrected
from relume.bench.transmission import report
from relume.degrade.illumination import TEST, Shot, Simulator
from relume.tasks.xray_eval import FIGURES


def cases(simulator: Simulator, shot: Shot, index: int) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, background, and the dark level that is taken off, method by method."""
    dark, image = shot.dark, shot.raw - shot.dark
    tiles = [simulator.shot((index + 1 + k) % 20).raw - dark for k in range(16)]
    stale = simulator.flat(index, shape_drift=0.015)
    for name in ("none", "rolling-ball", "gaussian", "polynomial"):
        yield name, ESTIMATORS[name](image), dark
    for count in (4, 16):
        yield f"tile-median of {count}", ESTIMATORS["tile-median"](image, tiles[:count]), dark
    flat = ESTIMATORS["flat"]
    yield "stale flat, dark ignored", flat(shot.raw.astype(np.float64), [stale]), 0.0
    yield "stale flat, 1.5 % off", flat(image, [stale - dark]), dark
    yield "flat, 1 exposure", flat(image, [simulator.flat(index) - dark]), dark
    moments = [simulator.flat(moment) - dark for moment in range(10)]
    yield "eigen-flats of 10 moments", ESTIMATORS["eigen-flats"](image, moments), dark
    yield "flat, 10 exposures", flat(image, [simulator.flat(index, exposures=10) - dark]), dark
    yield "true background", shot.background, dark


def main() -> None:
    """Prints the mean figures of every method as a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--flux", type=float, help="quanta a pixel, instead of 300 to 15,000 as drawn")
    args = parser.parse_args()
    scores: dict[str, list[list[float]]] = {}
    for seed in TEST[: args.sessions]:
        simulator, index = Simulator(seed), seed % 20
        if args.flux:
            simulator.session = replace(simulator.session, flux=args.flux)
        shot = simulator.shot(index)
        valid = shot.vignette > 0.97
        for name, background, dark in cases(simulator, shot, index):
            found = report(corrected(shot.raw, background, dark=dark), shot.clean, valid)
            scores.setdefault(name, []).append([getattr(found, figure) for figure in FIGURES])
    print("| method | " + " | ".join(FIGURES) + " |\n|---|" + "---|" * len(FIGURES))
    for name, values in scores.items():
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in np.nanmean(values, axis=0)) + " |")


if __name__ == "__main__":
    main()
