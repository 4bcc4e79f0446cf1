"""The demonstration: two bundled photographs, restored by the embedded model, before and after."""

import argparse
import time
from pathlib import Path

from relume import Restorer, Settings, image
from relume.bench.quality import psnr, ssim
from relume.tasks.compare import side_by_side

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PICTURES = {"faded-photograph.jpg": None, "old-photograph.jpg": None, "house-damaged.png": "house-clean.png"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the results")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    began = time.perf_counter()
    restorer = Restorer("photo", engine=args.engine)
    loaded = time.perf_counter() - began
    engine = restorer.engine
    print(f'model "{restorer.bundle.name}" {restorer.bundle.card["version"]}, loaded in {loaded:.2f} s')
    print(f"engine {engine.name} {engine.version} on {engine.device}, {engine.precision}\n")
    for name, truth in PICTURES.items():
        began = time.perf_counter()
        damaged = image.read(EXAMPLES / name)
        read = time.perf_counter() - began
        restoration = restorer.restore(damaged, Settings())
        stem = Path(name).stem
        began = time.perf_counter()
        restored = image.write(restoration.image, args.out / f"{stem}-restored.png", overwrite=True)
        shown = image.write(
            side_by_side(damaged, restoration.image), args.out / f"{stem}-before-after.png", overwrite=True
        )
        stages = {"read": read, **restoration.seconds, "write": time.perf_counter() - began}
        print(f"{name}, {damaged.width}×{damaged.height}, {restoration.evaluations} evaluation(s) per tile")
        print("  " + ", ".join(f"{stage} {seconds:.3f} s" for stage, seconds in stages.items()))
        if truth is not None:
            clean = image.read(EXAMPLES / truth).pixels
            before, after = (_channels(x, clean.shape[2]) for x in (damaged.pixels, restoration.image.pixels))
            print(
                f"  against the truth: PSNR {psnr(before, clean):.2f} → {psnr(after, clean):.2f} dB, "
                f"SSIM {ssim(before, clean):.3f} → {ssim(after, clean):.3f}"
            )
        print(f"  restored:     {restored}\n  before/after: {shown}\n")


def _channels(pixels, count):  # type: ignore[no-untyped-def]
    return pixels if pixels.shape[2] == count else pixels.mean(axis=2, keepdims=True).repeat(count, axis=2)


if __name__ == "__main__":
    main()
