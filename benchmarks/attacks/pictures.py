r"""Small pictures of every format that is read, and files made to do harm. All are made here.

``seeds`` is what the fuzzers begin with. ``bombs`` promise or unfold to far more than they are, ``polyglots``
are two things at once. Both come with the statuses that are right for them.
"""

__all__ = ["bombs", "polyglots", "seeds"]

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import tifffile
from PIL import PngImagePlugin

from relume import image as images
from relume.image import Image, exif

SIDE = 50_000  # of the pictures that bombs promise
MIB = 2**20


def _levels(channels: int, *, width: int = 12, height: int = 9, top: int = 255) -> Any:
    rng = np.random.default_rng(channels)
    return rng.integers(0, top + 1, (height, width, channels)).squeeze()


def _tree(rows: dict[int, int]) -> dict[int, exif.Entry]:
    return {tag: exif.Entry(4, 1, struct.pack("<I", value)) for tag, value in rows.items()}


def _block() -> bytes:
    """An EXIF block with an orientation and a sub-directory."""
    turned = {274: exif.Entry(3, 1, struct.pack("<H", 6)), 271: exif.Entry(2, 4, b"Abc\0")}
    return exif.to_block({**turned, exif.EXIF_IFD: _tree({0xA002: 12, 0xA003: 9})}) or b""


def _pillow(pixels: Any, format: str, mode: str | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    picture = PIL.Image.fromarray(np.asarray(pixels, np.uint8))
    (picture if mode is None else picture.convert(mode)).save(out, format, **options)
    return out.getvalue()


def _tiff(pixels: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **{"metadata": None, **options})
    return out.getvalue()


def seeds() -> dict[str, list[bytes]]:
    """The corpus: format → files."""
    icc, block = bytes(imagecodecs.cms_profile("adobergb")), _block()
    rgb, rgba, gray = _levels(3), _levels(4), _levels(1)
    carried: dict[str, Any] = {"icc_profile": icc, "exif": b"Exif\0\0" + block}
    found = {
        "JPEG": [
            _pillow(rgb, "JPEG"),
            _pillow(gray, "JPEG", dpi=(300, 300)),
            _pillow(rgb, "JPEG", progressive=True),
            _pillow(rgba, "JPEG", "CMYK"),
            _pillow(rgb, "JPEG", **carried),
        ],
        "PNG": list(_pngs(rgb, rgba, gray, icc, block)),
        "TIFF": list(_tiffs(rgb, rgba, gray, icc)),
        "WebP": [
            _pillow(rgb, "WEBP"),
            _pillow(rgba, "WEBP", lossless=True),
            _pillow(rgba, "WEBP", **carried),
            _pillow(rgb, "WEBP", save_all=True, append_images=[PIL.Image.fromarray(np.uint8(rgb[::-1]))]),
        ],
        "BMP": list(_bmps(rgb, rgba, gray)),
        "camera RAW": [_dng(), _dng(tile=(16, 16))],
        "other": [
            _pillow(gray, "GIF"),
            b"%PDF-1.7\n",
            b"\0\0\0\x0cJXL \r\n\x87\n",
            b"\0\0\0\x1cftypavif" + bytes(20),
        ],
    }
    try:
        made = Image(np.float32(rgb / 255), alpha=np.float32(gray / 255), exif=block)
        deep = images.encode(Image(np.float32(rgb / 255)), format="HEIF", bit_depth=16)
        found["HEIF"] = [images.encode(made, format="HEIF", quality=40), deep]
    except ImportError:
        pass
    return found


def _pngs(rgb: Any, rgba: Any, gray: Any, icc: bytes, block: bytes) -> Iterator[bytes]:
    for pixels in (rgb, rgba, gray):
        yield bytes(imagecodecs.png_encode(np.uint8(pixels)))
    yield bytes(imagecodecs.png_encode(np.uint16(_levels(3, top=65535))))
    for mode in ("1", "P"):
        yield _pillow(rgb, "PNG", mode)
    yield _pillow(np.uint8(gray // 32), "PNG", "P", bits=4, transparency=bytes([0, 90, 255]))
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>', zip=True)
    text.add_text("Raw profile type exif", "\nexif\n4\n49492a00", zip=True)
    yield _pillow(rgb, "PNG", pnginfo=text, dpi=(300, 300), icc_profile=icc, exif=block)
    # Adam7, which neither library writes: rows of zeros, more than enough for all passes
    head = struct.pack(">IIBBBBB", 12, 9, 8, 2, 0, 0, 1)
    yield _png((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    packed = (struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _tiffs(rgb: Any, rgba: Any, gray: Any, icc: bytes) -> Iterator[bytes]:
    eight, sixteen = np.uint8(rgb), np.uint16(_levels(3, top=65535))
    for way in (
        None,
        "lzw",
        "deflate",
        "packbits",
        "jpeg",
        "zstd",
        "lzma",
        "webp",
        "png",
        "jpeg2000",
        "jpegxl",
        "lerc",
    ):
        yield _tiff(eight, compression=way, photometric="rgb")
    for way in ("lzw", "deflate"):
        yield _tiff(sixteen, compression=way, predictor=True, byteorder=">", iccprofile=icc)
    wide = np.tile(eight, (3, 3, 1))
    yield _tiff(wide, tile=(16, 16), compression="deflate", photometric="rgb")
    yield _tiff(np.moveaxis(wide, 2, 0), planarconfig="separate", photometric="rgb", bigtiff=True)
    yield _tiff(np.uint8(rgba), photometric="rgb", extrasamples=["assocalpha"])
    yield _tiff(np.uint8(rgba), photometric="separated")
    yield _tiff(np.float32(gray / 255), predictor=True, compression="deflate")
    yield _tiff(np.uint8(gray), photometric="palette", colormap=np.uint16(_levels(256, width=1, height=3)))
    yield _tiff(np.uint8(gray) > 99, photometric="miniswhite")
    for way in ("group3", "group4"):
        yield _pillow(gray, "TIFF", "1", compression=way)
    yield _pillow(rgb, "TIFF", "LAB")
    yield _pillow(rgb, "TIFF", "YCbCr")


def _bmps(rgb: Any, rgba: Any, gray: Any) -> Iterator[bytes]:
    for pixels, mode in ((rgb, None), (rgba, None), (gray, None), (gray, "1"), (rgb, "P")):
        yield _pillow(pixels, "BMP", mode)
    coloured = Image(np.float32(rgb / 255), icc=bytes(imagecodecs.cms_profile("adobergb")))
    yield images.encode(coloured, format="BMP")
    runs = b"".join(bytes([6, row, 6, 200]) + b"\0\0" for row in range(9)) + b"\0\1"
    palette = b"".join(bytes([i, 255 - i, i, 0]) for i in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 12, 9, 1, 8, 1, len(runs), 0, 0, 256, 0)
    at = 14 + len(header) + len(palette)
    yield struct.pack("<2sIHHI", b"BM", at + len(runs), 0, 0, at) + header + palette + runs


def _dng(**options: Any) -> bytes:
    """What a sensor saw: 12 bits behind a mosaic of filters, with the rows that LibRaw asks for."""
    mosaic = np.uint16(_levels(1, width=64, height=48, top=4095))
    identity = [v for i in range(9) for v in (int(i % 4 == 0), 1)]
    tags = [
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Nobody Nothing", True),
        (271, "s", 0, "Nobody", True),
        (272, "s", 0, "Nothing", True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50714, "H", 1, 64, True),
        (50717, "H", 1, 4095, True),
        (50721, "2i", 9, identity, True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
        (50778, "H", 1, 21, True),
    ]
    return _tiff(mosaic, photometric=32803, extratags=tags, **options)


def bombs(size: int = 512 * MIB) -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """Name, bytes, and the statuses that are right. What unfolds, unfolds to ``size`` bytes."""
    big = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    small = struct.pack(">IIBBBBB", 12, 9, 8, 2, 0, 0, 0)
    zeros = _zeros(size)
    end = (b"IEND", b"")
    yield (
        "PNG, 50,000 pixels a side promised",
        _png((b"IHDR", big), (b"IDAT", zlib.compress(b"0")), end),
        (413,),
    )
    yield "PNG, pixels that unfold", _png((b"IHDR", small), (b"IDAT", zeros), end), (200,)
    profile = (b"iCCP", b"icc\0\0" + zeros)
    picture = (b"IDAT", zlib.compress(bytes(37 * 9)))
    yield "PNG, a profile that unfolds", _png((b"IHDR", small), profile, picture, end), (200,)
    text = (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros)
    yield "PNG, a text that unfolds", _png((b"IHDR", small), text, picture, end), (200,)
    many = [(b"tEXt", b"a\0b")] * 200_000
    yield "PNG, 200,000 texts", _png((b"IHDR", small), *many, picture, end), (200,)
    yield from _tiff_bombs(zeros)
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "BMP, promised", struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + header + bytes(100), (413,)
    header = struct.pack("<IiiHHIIiiII", 40, 9000, 9000, 1, 8, 1, 2, 0, 0, 0, 0)
    yield (
        "BMP, runs that are not there",
        struct.pack("<2sIHHI", b"BM", 56, 0, 0, 54) + header + b"\0\1",
        (422,),
    )
    jpeg = bytearray(_pillow(_levels(3), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", SIDE, SIDE)
    yield "JPEG, promised", bytes(jpeg), (413,)
    canvas = (16_383).to_bytes(3, "little") * 2
    webp = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + canvas + bytes(8)
    yield "WebP, 16,384 pixels a side promised", webp, (413,)
    frames = [PIL.Image.new("P", (2000, 2000), i) for i in range(200)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    yield "GIF, 200 frames of 4 megapixels", out.getvalue(), (415,)
    for name, magic in (("AVIF", b"\0\0\0\x1cftypavif"), ("JPEG XL", b"\xff\x0a")):
        yield f"{name}, zeros behind the first bytes", magic + bytes(MIB), (415,)
    spaced = b"tEXtRaw profile type exif\0exif 1 " + b"0 " * (32 * MIB)
    yield (
        "PNG, 32 million digits apart",
        _png((b"IHDR", small), (spaced[:4], spaced[4:]), picture, end),
        (200,),
    )
    names = b"".join(struct.pack("<II", i, 0) for i in range(2_000_000))
    webp = _pillow(_levels(3), "WEBP", lossless=True)
    webp = b"RIFF" + struct.pack("<I", len(webp) - 8 + len(names)) + webp[8:] + names
    yield "WebP, 2 million chunks of as many names", webp, (200, 422)
    yield from _directory_bombs()
    yield from _heif_bombs()


def _zeros(size: int) -> bytes:
    machine, part = zlib.compressobj(9), bytes(MIB)
    return b"".join(machine.compress(part) for _ in range(size // MIB)) + machine.flush()


def _tiff_bombs(zeros: bytes) -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    def tiff(side: int, way: int, body: bytes) -> bytes:
        rows = {256: side, 257: side, 258: 8, 259: way, 262: 1, 273: 8, 277: 1, 278: side, 279: len(body)}
        body += bytes(len(body) % 2)
        end = exif.write_tree(_tree(rows), 8 + len(body))
        return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + end

    yield "TIFF, 50,000 pixels a side promised", tiff(SIDE, 1, bytes(100)), (413,)
    yield "TIFF, Deflate that unfolds", tiff(16, 8, zeros), (200, 422)
    loose = imagecodecs.lzma_encode(bytes(64 * MIB))
    yield "TIFF, LZMA that unfolds", tiff(16, 34925, bytes(loose)), (200, 422)
    packed = imagecodecs.zstd_encode(bytes(256 * MIB))
    yield "TIFF, Zstandard that unfolds", tiff(16, 50000, bytes(packed)), (200, 422)
    for name, way, body in (
        ("JPEG 2000", 34712, imagecodecs.jpeg2k_encode(np.zeros((9000, 9000), np.uint8))),
        ("JPEG XL", 50002, imagecodecs.jpegxl_encode(np.zeros((9000, 9000), np.uint8))),
        ("PNG", 34933, imagecodecs.png_encode(np.zeros((9000, 9000), np.uint8))),
        ("JPEG", 7, imagecodecs.jpeg_encode(np.zeros((9000, 9000), np.uint8))),
        ("WebP", 50001, imagecodecs.webp_encode(np.zeros((16000, 16000, 3), np.uint8))),
    ):
        yield f"TIFF, a larger {name} inside", tiff(16, way, bytes(body)), (415, 422)
    loop = {256: 9, 257: 9, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 9, 279: 81}
    end = exif.write_tree(_tree(loop), 8)
    yield (
        "TIFF, a directory that follows itself",
        b"II*\0\x08\0\0\0" + end[:-4] + b"\x08\0\0\0" + bytes(99),
        (200, 422),
    )


def _directory_bombs() -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """TIFF directories whose rows claim the same bytes again and again, or that point beyond all memory."""
    layout = {256: 9, 257: 9, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 9, 279: 81}
    body = bytes(2 * MIB)
    claims = [(tag, 1, len(body), 8) for tag in range(1000, 31_000)]
    rows = [(tag, 4, 1, value) for tag, value in layout.items()] + claims
    table = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in rows) + bytes(4)
    shared = struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + table
    yield "TIFF, 30,000 rows that claim the same 2 MiB", shared, (200, 422)
    png = bytes(imagecodecs.png_encode(np.uint8(_levels(3))))
    size = struct.pack(">I", len(shared))
    chunk = size + b"eXIf" + shared + struct.pack(">I", zlib.crc32(b"eXIf" + shared))
    yield "PNG, EXIF rows that claim the same 2 MiB", png[:33] + chunk + png[33:], (200,)
    count = 32 * MIB
    wide = {**layout, 256: 1}
    rows = [(tag, 4, 1, value) for tag, value in wide.items() if tag != 256]
    rows.insert(0, (256, 1, count, 8))
    table = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in rows) + bytes(4)
    yield (
        "TIFF, a width of 32 million values",
        struct.pack("<2sHI", b"II", 42, 8 + count) + bytes(count) + table,
        (200, 422),
    )
    for offset in (2**63, 2**64 - 1):
        far = b"II+\0\x08\0\0\0" + struct.pack("<Q", offset)
        yield f"BigTIFF, a directory at {offset:#x}", far, (422,)


def _heif_bombs() -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    files = seeds().get("HEIF")
    if not files:
        return
    heif = bytearray(files[1])
    at = heif.index(b"ispe") + 8
    heif[at : at + 8] = struct.pack(">II", SIDE, SIDE)
    yield "HEIF, 50,000 pixels a side promised", bytes(heif), (413, 422)


def polyglots() -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """Files that are two things at once: only what their first bytes say is used."""
    pixels = _levels(3)
    png, jpeg, gif = _pillow(pixels, "PNG"), _pillow(pixels, "JPEG"), _pillow(_levels(1), "GIF")
    script = b"<script>alert(1)</script>"
    yield "PNG, then a ZIP archive", png + b"PK\3\4" + bytes(26) + b"PK\5\6" + bytes(18), (200,)
    yield "JPEG, then a page with a script", jpeg + b"<html>" + script, (200,)
    yield "JPEG with a PHP comment", jpeg[:2] + b"\xff\xfe\0\x13<?php phpinfo()?>" + jpeg[2:], (200,)
    yield "PNG, then a shell script", png + b"\n#!/bin/sh\nid\n", (200,)
    yield "GIF that is JavaScript", b"GIF89a=1;/*" + gif[11:] + b"*/", (415,)
    yield "PDF with a JPEG inside", b"%PDF-1.7\n" + jpeg, (415,)
    yield "SVG with a script", b"<svg xmlns='http://www.w3.org/2000/svg'>" + script + b"</svg>", (415,)
    yield "page with a PNG inside", b"<html>" + script + png, (415,)
    yield "BMP by its first letters", b"BM" + script, (415,)
    yield "PostScript", b"%!PS-Adobe-3.0\n(/etc/passwd) (r) file\n", (415,)
    yield (
        "ImageMagick command file",
        b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/x'\n",
        (415,),
    )
    yield "ELF", b"\x7fELF" + bytes(200), (415,)
