r"""TIFF: 1 to 32 bits, stripped or tiled, either byte order, read through tifffile (rare kinds: Pillow).

Written: one directory, strips of Deflate with horizontal differences, with ICC profile, resolution and
the EXIF and GPS directories.

Source: *TIFF Revision 6.0*, Adobe (1992); *Adobe Photoshop TIFF Technical Notes*, Adobe (2002).
"""

__all__ = ["CODEC", "header", "description"]

import io
import logging
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import tifffile
from PIL import TiffImagePlugin

from relume.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from relume.image import colour, exif
from relume.image.arrays import samples_of
from relume.image.assemble import assemble, check_size
from relume.image.exif import Entry, Tree
from relume.image.levels import Samples, to_integer
from relume.image.picture import Image
from relume.image.quiet import quiet

from .codec import Codec, Source
from .segments import check_segments

_ICC, _SUBFILE = 34675, 254
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType: a thumbnail, a transparency mask
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _SEPARATED = 0, 1, 2, 3, 5
# The rows without which, or with others than which, the pixels would be read wrongly.
_LAYOUT = frozenset(
    {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 320, 322, 323, 324, 325, 338, 339, 347, 530}
)
_LZW = 5
_STRIP = 1 << 20  # bytes of pixels that are compressed at a time

# One clear line is raised here; what tifffile logs beside it would reach stderr only for want of a handler.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def _sniff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def header(data: bytes) -> tuple[str, int, bool]:
    """Byte order ("<" or ">"), offset of the first directory, and whether offsets have 64 bits."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    return order, offset, big


def description(data: bytes) -> bytes | None:
    """An EXIF block of what the first directory says of the picture (camera, date, exposure, place, ...)."""
    try:
        order, offset, big = header(data)
        return exif.to_block(exif.describing(exif.read_tree(data, offset, order, big=big)))
    except struct.error:
        return None


def _first_page(data: bytes) -> tuple[int, dict[int, Entry]]:
    """The number and the rows of the only full picture in the file."""
    order, offset, big = header(data)
    pages: list[tuple[int, dict[int, Entry]]] = []
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < 64:
        seen.add(offset)
        try:
            rows, following = exif.read_directory(data, offset, order, big=big)
        except struct.error:
            break
        if not int((exif.numbers(rows.get(_SUBFILE)) or [0])[0]) & _REDUCED_OR_MASK:
            pages.append((len(seen) - 1, rows))
        offset = following
    if not pages:
        raise UnreadableImage("the file is truncated or holds no picture")
    if len(pages) > 1:
        raise UnsupportedImage("a TIFF of several pages; save the page you want as a file of its own")
    return pages[0]


def _decode(source: Source) -> Image:
    data = source.data
    number, rows = _first_page(data)
    (width, height, tile) = ((exif.numbers(rows.get(tag)) or [0])[0] for tag in (256, 257, 322))
    check_size((int(width), int(height)), source.max_pixels)
    if tile and tile * (exif.numbers(rows.get(323)) or [0])[0] > source.max_pixels:
        raise UnreadableImage("its tiles are larger than any picture may be")
    _check_extent(rows, len(data))
    _check_segments(rows, int(width), int(height))
    icc = rows[_ICC].data if _ICC in rows else None
    orientation = int((exif.numbers(rows.get(exif.ORIENTATION)) or [1])[0])
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[number]
        if page.is_imagej and (file.imagej_metadata or {}).get("images", 1) > 1:
            raise UnsupportedImage("an ImageJ stack; save the slice you want as a file of its own")
        _check_kind(page)
        bits = int(page.bitspersample)
        try:
            samples, icc, top = _samples(page, data, icc)
        except NotImplementedError as error:
            if bits > 8:
                raise UnsupportedImage(
                    "a TIFF of a rare kind; save it as 8 or 16 bits, gray or RGB"
                ) from error
            samples, icc, top, orientation = *_through_pillow(data, number), 255, 1
    return assemble(
        samples,
        format="TIFF",
        bit_depth=16 if bits > 8 else 8,
        top=top,
        icc=icc,
        block=description(data),
        dpi=exif.resolution(dict(rows)),
        orientation=orientation,
    )


def _check_extent(rows: dict[int, Entry], size: int) -> None:
    """Truncation, told by the directory: some decoders would fill up what is missing without a word."""
    if any(tag in _LAYOUT and not row.data for tag, row in rows.items()):
        raise UnreadableImage("the file is truncated")
    if (exif.numbers(rows.get(259)) or [1])[0] == 1:
        return  # uncompressed: what has to be there follows from the size, and some writers count wrongly
    for starts, lengths in ((273, 279), (324, 325)):
        pairs = zip(exif.numbers(rows.get(starts)), exif.numbers(rows.get(lengths)), strict=False)
        if any(start + length > size for start, length in pairs):
            raise UnreadableImage("the file is truncated")


def _check_segments(rows: dict[int, Entry], width: int, height: int) -> None:
    """Every strip or tile has to be there: tifffile would fill the place of a missing one with zeros."""

    def first(tag: int, otherwise: int) -> int:
        return int((exif.numbers(rows.get(tag)) or [0])[0]) or otherwise

    if 322 in rows or 324 in rows:
        count = -(-width // first(322, width)) * -(-height // first(323, height))
    else:
        count = -(-height // first(278, height))
    count *= first(277, 1) if first(284, 1) == 2 else 1
    starts = exif.numbers(rows.get(324 if 324 in rows else 273))
    if len(starts) < count or 0 in starts[:count]:
        raise UnreadableImage("the file is truncated or damaged (a strip or tile of it is missing)")


def _check_kind(page: Any) -> None:
    if not isinstance(page.bitspersample, int):
        raise UnsupportedImage("a TIFF whose channels differ in depth; save it as 8 or 16 bits")
    if page.sampleformat not in (1, 3, 4) or page.imagedepth > 1:
        raise UnsupportedImage("a TIFF of signed or complex numbers or of a volume; save it as 8 or 16 bits")
    if page.samplesperpixel > 8:
        raise UnsupportedImage(f"a TIFF of {page.samplesperpixel} channels; save it as gray or RGB")


def _samples(page: Any, data: bytes, icc: bytes | None) -> tuple[Samples, bytes | None, float | None]:
    """(H, W, C) with alpha last, the profile that still applies, and the value that means 1."""
    kind, jpeg = int(page.photometric), int(page.compression) in (6, 7)
    colours = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _SEPARATED: 4}.get(kind)
    if jpeg and kind == 6:
        kind, colours = _RGB, 3  # tifffile has made RGB of it
    known = page.compression in tifffile.TIFF.DECOMPRESSORS
    if colours is None or page.samplesperpixel < colours or not known:
        raise NotImplementedError  # left to Pillow
    a = _decoded(page, data)
    if a.ndim == 3 and int(page.planarconfig) == 2 and page.samplesperpixel > 1:
        a = np.moveaxis(a, 0, 2)
    a = a.reshape(*a.shape[:2], -1)
    top = None if a.dtype.kind == "f" else 2 ** int(page.bitspersample) - 1
    if a.dtype == bool:
        a = a.astype(np.uint8)
    alpha = _alpha(a, page, colours)
    a = a[:, :, :colours]
    if kind == _WHITE_IS_ZERO:
        a = (top or 1) - a
    elif kind == _PALETTE:
        a, top = _paletted(a, page.colormap), 255
    elif kind == _SEPARATED:
        a, icc, top = colour.cmyk_to_srgb(_full_range(a), icc), None, None
    if alpha is None:
        return a, icc, top
    return np.concatenate([a, alpha], axis=2), icc, top


def _decoded(page: Any, data: bytes) -> Samples:
    """The stored samples. LZW goes to libtiff: the decoder behind tifffile crashes on damaged data."""
    check_segments(page, data)
    if page.compression != _LZW:
        stored: Samples = page.asarray()
    elif page.bitspersample in (8, 16, 32):
        stored = imagecodecs.tiff_decode(data, page.index)
    else:
        raise NotImplementedError  # left to Pillow
    return stored


def _alpha(a: Samples, page: Any, colours: int) -> Samples | None:
    """The channel that is declared to be alpha, (H, W, 1); colours that were multiplied by it are divided."""
    for index, kind in enumerate(page.extrasamples):
        if int(kind) in (1, 2) and colours + index < a.shape[2]:
            alpha = a[:, :, colours + index, None]
            if int(kind) == 1 and a.dtype.kind in "uf":
                top = 1 if a.dtype.kind == "f" else 2 ** int(page.bitspersample) - 1
                whole = a[:, :, :colours] * (
                    top / np.maximum(alpha, 1 / top if top == 1 else 1).astype(np.float64)
                )
                whole = np.minimum(whole, top)
                a[:, :, :colours] = whole if a.dtype.kind == "f" else np.rint(whole)
            return alpha
    return None


def _paletted(a: Samples, colormap: Samples) -> Samples:
    """Palette indices → 8-bit RGB, or gray when all of the palette is."""
    table = colormap.T
    # The standard says 16 bits; some writers put 8 there.
    table = (table if table.max() < 256 else table >> 8).astype(np.uint8)
    done = table[a[:, :, 0]]
    gray = (table[:, :1] == table).all()
    return done[:, :, :1] if gray else done


def _full_range(a: Samples) -> Samples:
    if a.dtype not in (np.uint8, np.uint16):
        raise UnsupportedImage("a CMYK TIFF of this depth; save it as 8 or 16 bits")
    return a


def _through_pillow(data: bytes, number: int) -> tuple[Samples, bytes | None]:
    """YCbCr, CIELAB and old compressions, 8 bits. Pillow turns the picture upright by itself."""
    try:
        with quiet(), TiffImagePlugin.TiffImageFile(io.BytesIO(data)) as file:
            file.seek(number)
            file.load()
            return samples_of(file)
    except PIL.Image.DecompressionBombError as error:
        raise ImageTooLarge("larger than Pillow allows for a TIFF of this kind") from error


def _encode(image: Image, bit_depth: int, quality: int) -> bytes:
    samples = to_integer(image.pixels, bit_depth)
    if image.alpha is not None:
        samples = np.concatenate([samples, to_integer(image.alpha, bit_depth)[:, :, None]], axis=2)
    height, width, channels = samples.shape
    rows = max(1, _STRIP // (width * channels * samples.itemsize))
    with ThreadPoolExecutor() as pool:
        strips = list(pool.map(_pack, (samples[at : at + rows] for at in range(0, height, rows))))
    starts = 8 + np.cumsum([0, *map(len, strips)])
    at = int(starts[-1]) + int(starts[-1]) % 2
    tree = _layout(image, samples, rows) | {
        273: _longs(*(int(start) for start in starts[:-1])),
        279: _longs(*map(len, strips)),
    }
    end = write_end(tree, at)
    if at + len(end) >= 2**32:
        raise UnsupportedImage("TIFF holds at most 4 GB; write PNG instead")
    return b"".join([struct.pack("<2sHI", b"II", 42, at), *strips, bytes(at - int(starts[-1])), end])


def write_end(tree: Tree, at: int) -> bytes:
    return exif.write_tree(tree, at) if at < 2**32 else bytes(2**10)


def _pack(strip: Samples) -> bytes:
    """One strip: differences from the pixel to the left, modulo the type, then Deflate."""
    difference = strip.copy()
    difference[:, 1:] -= strip[:, :-1]
    return bytes(
        imagecodecs.deflate_encode(difference.astype(difference.dtype.newbyteorder("<")).tobytes(), 6)
    )


def _shorts(*values: int) -> Entry:
    return Entry(3, len(values), struct.pack(f"<{len(values)}H", *values))


def _longs(*values: int) -> Entry:
    return Entry(4, len(values), struct.pack(f"<{len(values)}I", *values))


def _layout(image: Image, samples: Samples, rows: int) -> Tree:
    height, width, channels = samples.shape
    tree: Tree = exif.describing(exif.parse_block(image.exif))
    tree |= {
        256: _longs(width),
        257: _longs(height),
        258: _shorts(*[8 * samples.itemsize] * channels),
        259: _shorts(8),  # Deflate
        262: _shorts(_BLACK_IS_ZERO if image.gray else _RGB),
        exif.ORIENTATION: _shorts(1),
        277: _shorts(channels),
        278: _longs(rows),
        284: _shorts(1),  # channels side by side
        317: _shorts(2),  # horizontal differences
        339: _shorts(*[1] * channels),  # unsigned
    }
    if image.alpha is not None:
        tree[338] = _shorts(2)  # alpha that is not multiplied in
    if image.dpi is not None:
        tree |= exif.resolution_entries(image.dpi)
    if image.icc is not None:
        tree[_ICC] = Entry(7, len(image.icc), image.icc)
    return tree


CODEC = Codec("TIFF", (".tif", ".tiff"), _sniff, _decode, _encode, depths=(8, 16))
