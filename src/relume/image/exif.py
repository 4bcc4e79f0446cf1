r"""EXIF blocks and TIFF directories, as bytes.

An EXIF block is a small TIFF file: eight bytes of header, a directory (IFD0) of 12-byte rows, and further
directories that its rows point to. Two things are done to one here. *In place*, so that makers' notes, whose
offsets nobody knows, stay where they are: :func:`normalised`. *As a tree*, to carry it between an EXIF block
and a TIFF file: :func:`read_tree`, :func:`write_tree`.

Source: *Exchangeable image file format for digital still cameras: Exif Version 2.32*, CIPA DC-008 (2019);
*TIFF Revision 6.0*, Adobe (1992).
"""

__all__ = [
    "ORIENTATION",
    "Entry",
    "Tree",
    "orientation",
    "xmp_orientation",
    "normalised",
    "resolution",
    "with_resolution",
    "resolution_entries",
    "describing",
    "to_block",
    "parse_block",
    "read_tree",
    "write_tree",
    "numbers",
]

import re
import struct
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 274, 282, 283, 296
EXIF_IFD, GPS_IFD, INTEROP_IFD = 34665, 34853, 40965
POINTERS = (EXIF_IFD, GPS_IFD, INTEROP_IFD)
SIZES = {256: "width", 257: "height", 0xA002: "width", 0xA003: "height"}

# Rows of IFD0 that describe the picture, and not how a TIFF file lays it out: description, make, model,
# software, date, artist, computer, ratings, copyright, Windows' titles, and the two sub-directories.
DESCRIBING = frozenset(
    {270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096), EXIF_IFD, GPS_IFD}
)

# Bytes of one value, by its kind (BYTE, ASCII, SHORT, LONG, RATIONAL, ... , LONG8, SLONG8, IFD8).
_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_ROWS = 65535  # one a tag
_VALUES = 1 << 22  # more than the tiles of any picture
# Bytes that are swapped together: a RATIONAL is two LONGs.
_WORD = _BYTES | {5: 4, 10: 4}
_KINDS = {3: "H", 4: "I", 13: "I", 8: "h", 9: "i", 1: "B", 16: "Q", 18: "Q"}


class Entry(NamedTuple):
    """One row of a directory; ``data`` is little-endian whatever the file's order was."""

    kind: int
    length: int
    data: bytes


Tree: TypeAlias = "dict[int, Entry | Tree]"


def read_directory(
    data: bytes, offset: int, order: str, *, big: bool = False
) -> tuple[dict[int, Entry], int]:
    """Reads the directory at ``offset``: its rows by tag, and the offset of the next one (0: none).

    A row that points outside ``data`` has no data; a directory that lies outside raises ``struct.error``.
    Values do not overlap in an honest file: rows that together claim more than twice of ``data`` have none
    either, as a small file could otherwise take all memory.
    """
    head, row, word = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    if offset > len(data):
        raise struct.error("directory outside the data")  # so far that unpack_from would not even count to it
    (count,) = struct.unpack_from(order + head, data, offset)
    at = offset + struct.calcsize("=" + head)
    stride = 4 + 2 * word
    if count > _ROWS or at + stride * count + word > len(data):
        raise struct.error("directory outside the data")
    entries: dict[int, Entry] = {}
    claimed = 0
    for _ in range(count):
        tag, kind, n = struct.unpack_from(order + row, data, at)
        start, size = at + stride - word, _BYTES.get(kind, 0) * n
        if size > word:
            (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, start)
        claimed += size
        there = start + size <= len(data) and claimed <= 2 * len(data)
        inside = data[start : start + size] if there else b""
        if size:
            entries[tag] = Entry(kind, n, _little(inside, kind, order))
        at += stride
    (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, at)
    return entries, following


def _little(raw: bytes, kind: int, order: str) -> bytes:
    word = _WORD[kind]
    if order == "<" or word == 1:
        return raw
    return np.frombuffer(raw, f">u{word}").astype(f"<u{word}").tobytes()


def read_tree(data: bytes, offset: int, order: str, *, big: bool = False, depth: int = 0) -> Tree:
    """Reads the directory at ``offset`` and those that its rows point to; damaged branches are left out."""
    rows, _ = read_directory(data, offset, order, big=big)
    tree: Tree = {tag: entry for tag, entry in rows.items() if entry.data}
    for tag in POINTERS:
        if tag in tree:
            try:
                (where,) = numbers(tree.pop(tag))[:1]
                if depth < 2:
                    tree[tag] = read_tree(data, int(where), order, big=big, depth=depth + 1)
            except (struct.error, ValueError):
                continue
    return tree


def write_tree(tree: Tree, at: int) -> bytes:
    """Writes a directory for the (even) offset ``at``, little-endian, long values and branches behind."""
    table = bytearray(struct.pack("<H", len(tree)))
    tail = bytearray()
    start = at + 2 + 12 * len(tree) + 4
    for tag in sorted(tree):
        node, where = tree[tag], start + len(tail)
        if isinstance(node, dict):
            tail += write_tree(node, where)
            node = Entry(4, 1, struct.pack("<I", where))
        value = node.data
        if len(value) > 4:
            tail += value
            value = struct.pack("<I", where)
        tail += bytes(len(tail) % 2)
        table += struct.pack("<HHI", tag, node.kind, node.length) + value.ljust(4, b"\0")
    return bytes(table) + b"\0\0\0\0" + bytes(tail)


def numbers(node: "Entry | Tree | None") -> list[float]:
    """The values of an entry as numbers; none if it is missing, or holds something else or too many."""
    if not isinstance(node, tuple) or not node.data or node.length > _VALUES:
        return []
    if node.kind in (5, 10):
        flat = struct.unpack(f"<{2 * node.length}{'I' if node.kind == 5 else 'i'}", node.data)
        return [p / q if q else 0.0 for p, q in zip(flat[::2], flat[1::2], strict=True)]
    if node.kind not in _KINDS:
        return []
    return list(struct.unpack(f"<{node.length}{_KINDS[node.kind]}", node.data))


def _bare(block: bytes) -> bytes:
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    return block


def _header(block: bytes | bytearray) -> tuple[str, int]:
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        raise struct.error("neither II nor MM")
    return order, struct.unpack_from(order + "I", block, 4)[0]


def parse_block(block: bytes | None) -> Tree:
    """The directories of an EXIF block (with or without its ``Exif`` prefix); empty when it is damaged."""
    try:
        bare = _bare(block or b"")
        order, offset = _header(bare)
        return read_tree(bare, offset, order)
    except struct.error:
        return {}


def to_block(tree: Tree) -> bytes | None:
    """An EXIF block (without prefix) of these directories; None when there are none."""
    return b"II*\0\x08\0\0\0" + write_tree(tree, 8) if tree else None


def describing(tree: Tree) -> Tree:
    """The rows of a TIFF directory that describe the picture rather than its layout."""
    kept: Tree = {tag: node for tag, node in tree.items() if tag in DESCRIBING and node}
    text = kept.get(270)
    # What scientific writers keep in the description is layout as well: it would lie about the new file.
    if isinstance(text, tuple) and text.data.lstrip().startswith((b'{"shape"', b"ImageJ=", b"<?xml")):
        del kept[270]
    return kept


def orientation(block: bytes | None) -> int | None:
    """The orientation that an EXIF block asks for, 1 … 8; None when it is silent or damaged."""
    found = numbers(parse_block(block).get(ORIENTATION))
    return int(found[0]) if found and found[0] in range(1, 9) else None


def xmp_orientation(packet: bytes | None) -> int | None:
    """The orientation that an XMP packet asks for; None when it is silent."""
    found = re.search(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])\b", packet or b"")
    return int(found[1]) if found else None


def resolution(tree: Tree) -> tuple[float, float] | None:
    """Dots per inch by the rows XResolution, YResolution and ResolutionUnit; None when they do not tell."""
    x, y = numbers(tree.get(X_RESOLUTION)), numbers(tree.get(Y_RESOLUTION))
    scale = {2: 1.0, 3: 2.54}.get(int((numbers(tree.get(RESOLUTION_UNIT)) or [2])[0]))
    if not x or not y or scale is None:
        return None
    return x[0] * scale, y[0] * scale


def resolution_entries(dpi: tuple[float, float]) -> Tree:
    """The three rows that say dots per inch."""
    rows: Tree = {RESOLUTION_UNIT: Entry(3, 1, struct.pack("<H", 2))}
    for tag, value in zip((X_RESOLUTION, Y_RESOLUTION), dpi, strict=True):
        ratio = Fraction(value).limit_denominator(1000)
        rows[tag] = Entry(5, 1, struct.pack("<II", ratio.numerator, ratio.denominator))
    return rows


def with_resolution(block: bytes | None, dpi: tuple[float, float] | None) -> bytes | None:
    """An EXIF block that tells the resolution, for formats that keep it nowhere else."""
    tree = parse_block(block)
    if dpi is None or resolution(tree) is not None:
        return block
    return to_block({**tree, **resolution_entries(dpi)})


def normalised(block: bytes | None, width: int, height: int) -> bytes | None:
    """An EXIF block for a picture that stands upright and has this size.

    The orientation becomes 1, the sizes become true, and the embedded thumbnail, which shows the picture as
    it was, is unlinked. All else keeps its place and its bytes. The ``Exif`` prefix is taken off. A block
    that cannot be read becomes None.
    """
    try:
        bare = bytearray(_bare(block or b""))
        order, offset = _header(bare)
        following = _reset(bare, offset, order, {"width": width, "height": height})
        struct.pack_into(order + "I", bare, following, 0)
    except struct.error:
        return None
    where = parse_pointer(bytes(bare), offset, order)
    if where is not None:
        try:
            _reset(bare, where, order, {"width": width, "height": height})
        except struct.error:
            return bytes(bare)
    return bytes(bare)


def parse_pointer(block: bytes, offset: int, order: str) -> int | None:
    """Where the Exif directory of a block lies."""
    found = numbers(read_directory(block, offset, order)[0].get(EXIF_IFD))
    return int(found[0]) if found else None


def _reset(block: bytearray, offset: int, order: str, size: dict[str, int]) -> int:
    """Sets orientation and sizes in one directory; the answer is where its link to the next one lies."""
    count: int = struct.unpack_from(order + "H", block, offset)[0]
    if offset + 2 + 12 * count + 4 > len(block):
        raise struct.error("directory outside the block")
    for at in range(offset + 2, offset + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(order + "H", block, at)
        if tag == ORIENTATION:
            struct.pack_into(order + "HIHH", block, at + 2, 3, 1, 1, 0)
        elif tag in SIZES:
            struct.pack_into(order + "HII", block, at + 2, 4, 1, size[SIZES[tag]])
    return offset + 2 + 12 * count
