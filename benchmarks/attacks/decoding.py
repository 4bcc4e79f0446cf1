r"""Coverage-guided fuzzing of picture decoding: the process in which it runs.

Each input goes the way of an upload: told by its content, decoded, and what comes out is held to its
contract. One picture in 16 is also written again in its own format. libFuzzer (through atheris) sees what the
Python code of the codecs, Pillow and tifffile covers; the native decoders under it are not instrumented.
Checksums of PNG are mended after each mutation, and half of the time it is the pixels under the compression
that are changed: otherwise nearly all inputs would end at the first checksum.

    python benchmarks/attacks/decoding.py TALLY CORPUS RUNS SEED
"""

import os
import random
import resource
import struct
import sys
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["relume.image", "PIL", "tifffile"], exclude=["PIL.Image"]):
    from relume import image as images
    from relume.image.codecs import codec_of

import numpy as np
from tally import Tally

from relume.errors import ImageError, RelumeError, UnreadableImage, UnsupportedImage
from relume.service.problems import problem_of

PIXELS = 250_000
LONGEST = 16_384  # bytes of an input
MEMORY = 6 << 30
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SLOW = ("HEIF",)  # encoders that take longer than all the rest together


def look(data: bytes, *, write: bool, pixels: int = PIXELS) -> None:
    """What the service does with an upload, and what must then be true of the picture."""
    try:
        codec_of(data)
    except UnreadableImage as error:
        raise UnsupportedImage(str(error)) from error
    picture = images.read(data, max_pixels=pixels)
    levels = picture.pixels
    assert levels.dtype == np.float32 and levels.ndim == 3 and levels.shape[2] in (1, 3), "not a picture"
    assert 0 < levels.shape[0] * levels.shape[1] <= pixels, "more pixels than are allowed"
    assert np.isfinite(levels).all() and levels.min() >= 0 and levels.max() <= 1, "not in [0, 1]"
    if write and picture.format not in _SLOW:
        again = images.read(images.encode(picture))
        assert (again.height, again.width) == (picture.height, picture.width), "written in another size"


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Names and bodies of the chunks of a PNG file, as far as they go."""
    found, at = [], 8
    while at + 12 <= len(data):
        size = min(int.from_bytes(data[at : at + 4], "big"), len(data) - at - 12)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's mutation; PNG is whole again afterwards but for what was changed."""
    rng = random.Random(seed)
    if not data.startswith(_SIGNATURE):
        return bytes(atheris.Mutate(data, max_size))
    parts = chunks_of(data)
    packed = [i for i, (name, _) in enumerate(parts) if name == b"IDAT"]
    if packed and rng.random() < 0.5:
        i = rng.choice(packed)
        inside = zlib.decompressobj().decompress(parts[i][1], LONGEST) if _inflates(parts[i][1]) else b"\0"
        parts[i] = (b"IDAT", zlib.compress(bytes(atheris.Mutate(inside or b"\0", max_size)), 1))
    else:
        parts = chunks_of(bytes(atheris.Mutate(data, max_size)))
    whole = (struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in parts)
    return (_SIGNATURE + b"".join(whole))[:max_size]


def _inflates(packed: bytes) -> bool:
    try:
        zlib.decompressobj().decompress(packed, LONGEST)
    except zlib.error:
        return False
    return True


def main(tally: Tally, corpus: Path, runs: int, seed: int) -> None:
    """Tries ``runs`` more inputs; those of the corpus are run again first, and not counted again."""
    tried, known = 0, len(list(corpus.iterdir())) + 1  # libFuzzer begins with an empty input

    def one(data: bytes) -> None:
        nonlocal tried
        tried += 1
        tally.begins(data)
        try:
            look(data, write=tried % 16 == 0)
            status = 200
        except Exception as error:
            status = problem_of(error)["status"]
            if not isinstance(error, RelumeError) or type(error) is ImageError:
                tally.found(error, data)
                status = 500
        if tried > known:
            tally.ended(status)
        if tried == known + runs:
            os._exit(0)  # libFuzzer's own way out waits for no thread: see forms.py

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prefix = f"-artifact_prefix={corpus.parent}/"
    limits = [
        f"-runs={runs + known}",
        f"-seed={seed}",
        f"-max_len={LONGEST}",
        "-timeout=60",
        "-rss_limit_mb=3072",
    ]
    quiet = ["-verbosity=0", "-print_final_stats=0", "-detect_leaks=0", "-len_control=0"]
    atheris.Setup([sys.argv[0], str(corpus), prefix, *limits, *quiet], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(Tally(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
