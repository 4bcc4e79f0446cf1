"""Are marks found that a scanner has made as soft as the picture they lie on?

Marks of relume's own recipe are painted on one genuine scan, which is then blurred by a little and a little
more. For each kind and blur the mean probability of damage where the marks are, dark and light ones apart;
--models compares several bundles on the same marks. Where nothing is painted, the probability on the scan
itself says how much is found anyway.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from quality import checksum, filed
from relume import Restorer, Settings, __version__, image
from relume.degrade.degradation import Degradation, from_batch, mask_of, stack_draws, to_batch
from relume.degrade.dust import Dust
from relume.degrade.flaking import Flaking
from relume.degrade.scratches import Scratches

HERE = Path(__file__).resolve().parent
KINDS: tuple[type[Degradation], ...] = (Flaking, Scratches, Dust)
BLURS = (0.0, 0.6, 1.0, 1.6)  # standard deviations in pixels
DRAWS = 6
VISIBLE = 0.15  # a mark nearer to the picture's own brightness is none
Picture = NDArray[np.float32]


def painted(picture: Picture, kind: type[Degradation], seed: int) -> tuple[Picture, list[NDArray[np.bool_]]]:
    """The picture with marks; and where they are dark, and light."""
    batch, mark = to_batch(picture), kind(1.0, unit=1.0)
    draw = mark.sample(batch.shape[1:], np.random.default_rng(seed))
    marked = from_batch(mark.apply(batch, stack_draws([draw])))
    there = mask_of(draw, picture.shape[:2]) > 0.5
    change = marked.mean(2) - picture.mean(2)
    return marked, [there & (change < -VISIBLE), there & (change > VISIBLE)]


def found(restorer: Restorer, picture: Picture) -> Picture:
    given = image.from_array(np.clip(picture, 0, 1))
    mask: Picture = restorer.restore(given, Settings(tone="keep")).mask
    return mask


def measured(restorer: Restorer, picture: Picture) -> dict[str, object]:
    rows = []
    for kind in KINDS:
        for blur in BLURS:
            seen: tuple[list[float], list[float]] = ([], [])
            for seed in range(DRAWS):
                marked, places = painted(picture, kind, seed)
                mask = found(restorer, cv2.GaussianBlur(marked, (0, 0), blur) if blur else marked)
                for values, place in zip(seen, places, strict=True):
                    if place.sum() > 5:
                        values.append(float(mask[place].mean()))
            dark, light = (round(float(np.mean(values)), 3) if values else None for values in seen)
            rows.append({"kind": kind.name, "blur": blur, "dark": dark, "light": light})
            print(restorer.bundle.hash[:8], rows[-1], flush=True)
    model = {"name": restorer.bundle.name, "hash": restorer.bundle.hash}
    return {"model": model, "unmarked": round(float(found(restorer, picture).mean()), 4), "rows": rows}


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, required=True, help="a scan of a genuine photograph")
    parser.add_argument("--models", nargs="+", default=["photo"], metavar="MODEL")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    shown = image.read(args.photo).srgb()
    picture = np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)), dtype=np.float32)
    facts = {
        "photograph": {"name": args.photo.name, "sha256": checksum([args.photo])},
        "draws": DRAWS,
        "models": [measured(Restorer(model), picture) for model in args.models],
    }
    return filed("soft-marks", facts, args)


if __name__ == "__main__":
    main()
