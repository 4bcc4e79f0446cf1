r"""Bad input is refused with one line, before it costs anything; writes are whole or not there at all."""

import contextlib
import dataclasses
import io
import os
import stat
import struct
import sys
import threading
import tracemalloc
import warnings
import zlib

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile

from relume import image as im
from relume.errors import (
    ImageError,
    ImageTooLarge,
    MissingExtra,
    OutputExists,
    UnreadableImage,
    UnsupportedImage,
    UsageError,
)
from relume.image import colour, exif
from relume.image.codecs import CODECS, codec_of
from relume.image.quiet import quiet

WRITABLE = [codec.format for codec in CODECS if codec.encode and codec.format != "HEIF"]


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def smooth(height=40, width=30):
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x, 4 * y, x + y], -1).astype(np.uint8)


def files():
    image = dataclasses.replace(
        im.from_array(smooth()), icc=imagecodecs.cms_profile("adobergb"), dpi=(300.0, 300.0)
    )
    found = {format: im.encode(image, format=format) for format in WRITABLE}
    found["PNG16"] = im.encode(image, format="PNG", bit_depth=16)
    found["TIFF16"] = im.encode(image, format="TIFF", bit_depth=16)
    for name, options in {
        "TIFF-LZW": {"compression": "tiff_lzw"},
        "TIFF-JPEG": {"compression": "jpeg"},
        "TIFF-RAW": {},
        "JPEG-P": {"progressive": True},
    }.items():
        out = io.BytesIO()
        PIL.Image.fromarray(smooth()).save(out, name.split("-")[0], **options)
        found[name] = out.getvalue()
    return found


FILES = files()


@pytest.mark.parametrize("name", FILES)
def test_truncated_at_any_length(name, capfd):
    data = FILES[name]
    whole = im.read(data).pixels
    lengths = {
        *range(0, 64),
        *np.linspace(64, len(data) - 1, 60).astype(int).tolist(),
        *range(len(data) - 20, len(data)),
    }
    for length in sorted(lengths):
        try:
            got = im.read(data[:length])
        except ImageError as error:
            assert "\n" not in str(error)
            assert str(error).startswith("picture: ")
        else:  # nothing of the picture itself was missing
            np.testing.assert_array_equal(got.pixels, whole)
            assert length > len(data) - 2000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes_raise_nothing_else(name, capfd):
    data, rng = FILES[name], np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(data)
        for at in rng.integers(0, min(len(data), 600), 4):
            damaged[at] = rng.integers(256)
        try:
            im.read(bytes(damaged), max_pixels=10**6)
        except (ImageError, MissingExtra) as error:
            assert "\n" not in str(error)
    capfd.readouterr()


@pytest.mark.parametrize("codec", ["jpeg", "jpeg2k", "png", "webp", "jpegxl"])
def test_a_larger_picture_inside_a_tiff_is_refused_before_it_is_decoded(codec):
    way = {"jpeg": 7, "jpeg2k": 34712, "png": 34933, "webp": 50001, "jpegxl": 50002}[codec]
    inside = bytes(getattr(imagecodecs, f"{codec}_encode")(np.zeros((500, 500, 3), np.uint8)))
    rows = {256: 16, 257: 16, 258: 8, 259: way, 262: 1, 273: 8, 277: 1, 278: 16, 279: len(inside)}
    inside += bytes(len(inside) % 2)
    tree = {tag: exif.Entry(4, 1, struct.pack("<I", value)) for tag, value in rows.items()}
    with pytest.raises(ImageError, match=r"holds a picture of 500 × 500|rare compression"):
        im.read(
            struct.pack("<2sHI", b"II", 42, 8 + len(inside)) + inside + exif.write_tree(tree, 8 + len(inside))
        )


@pytest.mark.parametrize("codec", ["jpeg", "webp", "png", "jpeg2000"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_picture_of_its_place_inside_a_tiff_is_read(codec, tile):
    pixels = np.tile(smooth()[:1, :1], (40, 40, 1))
    out = io.BytesIO()
    tifffile.imwrite(
        out, pixels, compression=codec, tile=tile, photometric="rgb", rowsperstrip=None if tile else 16
    )
    np.testing.assert_allclose(im.read(out.getvalue()).pixels, pixels / 255, atol=0.03)


@pytest.mark.parametrize("offset", [2**40, 2**63, 2**64 - 1])
def test_a_directory_beyond_all_memory_is_no_picture(offset):
    far = b"II+\0\x08\0\0\0" + struct.pack("<Q", offset)
    with pytest.raises(UnreadableImage):
        im.read(far)
    with contextlib.suppress(UnreadableImage):  # asked for what it is, it raises nothing else
        codec_of(far)


def test_rows_that_claim_the_same_bytes_take_no_memory():
    body, count = bytes(1 << 18), 20_000
    table = b"".join(struct.pack("<HHII", tag, 1, len(body), 8) for tag in range(1000, 1000 + count))
    block = (
        struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", count) + table + bytes(4)
    )
    tracemalloc.start()
    try:
        exif.parse_block(block)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(block)
    finally:
        tracemalloc.stop()


def test_long_profiles_are_not_kept():
    base = bytes(imagecodecs.cms_profile("adobergb"))
    grown = [struct.pack(">I", 1 << 23) + base[4:] + bytes([i]) * ((1 << 23) - len(base)) for i in range(8)]
    assert colour.usable(grown[0], 3) is not None
    tracemalloc.start()
    try:
        for icc in grown:
            colour.usable(bytes(bytearray(icc)), 3)
            colour.is_srgb(bytes(bytearray(icc)), 3)
        assert tracemalloc.get_traced_memory()[0] < 2 << 23
    finally:
        tracemalloc.stop()


def test_damaged_lzw_does_not_end_the_process():
    # The second code asks for an entry that the table does not have yet: a decoder that follows it crashes.
    codes = bytes.fromhex("805a20503824160d0784426150b864361d0f8844625138a4562d178c466351b8")
    at = 8 + len(codes)
    rows = {256: 32, 257: 32, 258: 8, 259: 5, 262: 1, 273: 8, 277: 1, 278: 32, 279: len(codes)}
    tree = {tag: exif.Entry(4, 1, struct.pack("<I", value)) for tag, value in rows.items()}
    with pytest.raises(UnreadableImage, match="damaged"):
        im.read(struct.pack("<2sHI", b"II", 42, at) + codes + exif.write_tree(tree, at))


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bombs(side=50_000):
    """Small files whose headers promise 50 000 × 50 000 pixels."""
    ihdr = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    yield (
        "PNG",
        b"\x89PNG\r\n\x1a\n"
        + ihdr
        + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
        + png_chunk(b"IEND", b""),
    )
    for bits in (8, 16):
        rows = {256: side, 257: side, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: side, 279: 100}
        tree = {tag: exif.Entry(4, 1, struct.pack("<I", value)) for tag, value in rows.items()}
        yield f"TIFF{bits}", b"II*\0\x08\0\0\0" + exif.write_tree(tree, 8) + bytes(200)
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "BMP", struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + header + bytes(100)
    jpeg = bytearray(FILES["JPEG"])
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", side, side)
    yield "JPEG", bytes(jpeg)
    canvas = (16_383).to_bytes(3, "little") * 2
    yield (
        "WEBP",
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + bytes(8),
    )


@pytest.mark.parametrize(("name", "data"), bombs())
def test_bombs_are_refused_by_their_header(name, data):
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ImageTooLarge, match="megapixels"):
                im.read(data)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", FILES)
def test_the_limit_is_the_callers(name):
    im.read(FILES[name], max_pixels=40 * 30)
    with pytest.raises(ImageTooLarge):
        im.read(FILES[name], max_pixels=40 * 30 - 1)


def test_large_pictures_pass_without_pillows_own_limit(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in FILES:
            im.read(FILES[name])


def test_bombs_in_metadata_are_not_unpacked():
    packed = zlib.compress(bytes(1 << 25), 1)
    profile = png_chunk(b"iCCP", b"x\0\0" + packed)
    text = png_chunk(b"zTXt", b"Raw profile type exif\0\0" + packed)
    plain = im.encode(im.from_array(smooth()), format="PNG")
    got = im.read(plain[:33] + profile + text + plain[33:])
    assert (got.icc, got.exif) == (None, None)


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"", UnreadableImage, "empty"),
        (b"\0", UnreadableImage, "not a picture"),
        (b"hello, this is a letter and no picture" * 9, UnreadableImage, "not a picture"),
        (b"BM and so the letter began", UnreadableImage, "not a picture"),
        (b"GIF89a" + bytes(99), UnsupportedImage, "GIF"),
        (b"\0\0\0\x1cftypavif" + bytes(99), UnsupportedImage, "AVIF"),
        (b"%PDF-1.7" + bytes(99), UnsupportedImage, "PDF"),
        (b"\xff\xd8\xff\xe0", UnreadableImage, "truncated"),
        (b"\x89PNG\r\n\x1a\n", UnreadableImage, "truncated"),
        (b"II*\0\x08\0\0\0", UnreadableImage, "truncated"),
    ],
)
def test_what_is_no_picture(data, kind, says, tmp_path):
    with pytest.raises(kind, match=says):
        im.read(data)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(kind, match=r"photo\.jpg: ") as caught:
        im.read(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_file(tmp_path):
    with pytest.raises(UnreadableImage, match="No such file"):
        im.read(tmp_path / "none.png")
    with pytest.raises(UnreadableImage, match="directory"):
        im.read(tmp_path)


@pytest.mark.parametrize("format", WRITABLE)
def test_names_do_not_matter(format, tmp_path):
    path = tmp_path / ("photo.png" if format != "PNG" else "photo.jpg")
    path.write_bytes(FILES[format])
    assert im.read(path).format == format
    with path.open("rb") as file:
        assert im.read(file).format == format


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_moving_and_many_paged(format):
    frames = [PIL.Image.fromarray(noise((8, 8, 3), seed=seed)) for seed in range(3)]
    out = io.BytesIO()
    frames[0].save(out, format, save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedImage, match="save the"):
        im.read(out.getvalue())


def test_a_phones_second_picture_and_a_scanners_thumbnail_do_no_harm():
    first, second = PIL.Image.fromarray(smooth()), PIL.Image.fromarray(noise((9, 9, 3)))
    out = io.BytesIO()
    first.save(out, "MPO", save_all=True, append_images=[second])
    got = im.read(out.getvalue())
    assert (got.format, got.width, got.height) == ("JPEG", 30, 40)
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        file.write(noise((4, 4, 3)), photometric="rgb", subfiletype=1)
        file.write(smooth(), photometric="rgb")
    np.testing.assert_array_equal(im.to_array(im.read(out.getvalue()), smooth()), smooth())


def test_floats_outside_a_picture_are_refused():
    for worst in (1.5, -0.1, np.nan):
        out = io.BytesIO()
        a = np.zeros((4, 4), np.float32)
        a[1, 1] = worst
        tifffile.imwrite(out, a)
        with pytest.raises(UnsupportedImage, match=r"\[0,1\]"):
            im.read(out.getvalue())
    out = io.BytesIO()
    tifffile.imwrite(out, noise((4, 4)).astype(np.int16))
    with pytest.raises(UnsupportedImage, match="signed"):
        im.read(out.getvalue())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block",
    [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0junk" * 9],
)
def test_damaged_exif_does_not_stop_reading(format, block):
    out = io.BytesIO()
    PIL.Image.fromarray(smooth()).save(
        out, format, exif=block, **({"lossless": True} if format == "WEBP" else {})
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = im.read(out.getvalue())
    assert (got.exif, got.width) == (None, 30)


def test_exif_that_points_to_itself_ends():
    pointer = {tag: exif.Entry(4, 1, struct.pack("<I", 8)) for tag in (34665, 34853, 40965)}
    block = b"II*\0\x08\0\0\0" + exif.write_tree(pointer, 8)
    assert exif.orientation(block) is None
    assert exif.to_block(exif.parse_block(block))


def test_extras_say_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(MissingExtra, match=r"relume\[heif\]"):
        im.read(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    with pytest.raises(MissingExtra, match=r"relume\[heif\]"):
        im.encode(im.from_array(smooth()), format="HEIF")
    raw = exif.write_tree({50706: exif.Entry(1, 4, b"\1\4\0\0")}, 8)
    for data in (
        b"II*\0\x08\0\0\0" + raw,
        b"FUJIFILMCCD-RAW " + bytes(99),
        b"II*\0\x10\0\0\0CR\2\0" + bytes(99),
    ):
        with pytest.raises(MissingExtra, match=r"relume\[raw\]"):
            im.read(data)


def test_heic_both_ways():
    pytest.importorskip("pillow_heif")
    image = dataclasses.replace(
        im.from_array(smooth(64, 48)), icc=imagecodecs.cms_profile("adobergb"), dpi=(300.0, 300.0)
    )
    back = im.read(im.encode(image, format="HEIF"))
    assert (back.format, back.bit_depth, back.icc) == ("HEIF", 8, image.icc)
    assert back.dpi == (300, 300)
    np.testing.assert_allclose(back.pixels, image.pixels, atol=12 / 255)
    with pytest.raises(ImageTooLarge):
        im.read(im.encode(image, format="HEIF"), max_pixels=100)


def test_camera_raw_is_developed():
    pytest.importorskip("rawpy")
    tags = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNG 1.4
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),  # RG/GB
        (50721, 10, 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (271, 2, 6, "Maker", True),
        (274, 3, 1, 6, True),
    ]
    out = io.BytesIO()
    tifffile.imwrite(out, noise((64, 96), np.uint16), photometric=32803, extratags=tags, metadata=None)
    got = im.read(out.getvalue())
    assert (got.pixels.shape, got.bit_depth, got.format) == ((96, 64, 3), 16, "TIFF")
    assert b"Maker" in got.exif
    with pytest.raises(ImageTooLarge):
        im.read(out.getvalue(), max_pixels=100)


# Writing


def test_nothing_is_overwritten_unless_asked(tmp_path):
    image, path = im.from_array(smooth()), tmp_path / "a.png"
    assert im.write(image, path) == path
    before = path.read_bytes()
    with pytest.raises(OutputExists, match=r"a\.png exists"):
        im.write(im.from_array(noise((3, 3))), path)
    assert path.read_bytes() == before
    im.write(im.from_array(noise((3, 3))), path, overwrite=True)
    assert im.read(path).width == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_only_one_of_many_writers_wins(tmp_path):
    path, results = tmp_path / "a.png", []

    def writer(seed):
        try:
            results.append(im.write(im.from_array(noise((5, 5), seed=seed)), path))
        except OutputExists:
            results.append(None)

    threads = [threading.Thread(target=writer, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert sum(result is not None for result in results) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_all_as_it_was(tmp_path, monkeypatch, call, error):
    path = tmp_path / "a.tif"
    im.write(im.from_array(smooth()), path)
    before = path.read_bytes()

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(os, call, fail)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ImageError
    with pytest.raises(expected):
        im.write(im.from_array(noise((9, 9))), path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_without_hard_links(tmp_path, monkeypatch):
    def unsupported(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    path = im.write(im.from_array(smooth()), tmp_path / "a.png")
    np.testing.assert_array_equal(im.to_array(im.read(path), smooth()), smooth())
    with pytest.raises(OutputExists):
        im.write(im.from_array(smooth()), path)
    monkeypatch.setattr(os, "replace", unsupported)
    with pytest.raises(ImageError):
        im.write(im.from_array(smooth()), tmp_path / "b.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_permissions_and_links(tmp_path):
    before = os.umask(0o022)
    try:
        path = im.write(im.from_array(smooth()), tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o600)
    link = tmp_path / "link.png"
    link.symlink_to(path)
    im.write(im.from_array(noise((3, 4))), link, overwrite=True)
    assert link.is_symlink()
    assert im.read(path).width == 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_name_tells_the_format(tmp_path):
    image = dataclasses.replace(im.from_array(smooth()), format="TIFF")
    for name, format in {
        "a.JPG": "JPEG",
        "a.webp": "WEBP",
        "a.bmp": "BMP",
        "a.old": "TIFF",
        "a": "TIFF",
    }.items():
        assert im.read(im.write(image, tmp_path / name)).format == format
    assert im.read(im.write(image, tmp_path / "b.jpg", format="PNG")).format == "PNG"
    for name in ("a.nef", "a.gif"):
        with pytest.raises(UsageError, match=name[1:]):
            im.write(image, tmp_path / name)


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        im.write(im.from_array(smooth()), tmp_path / "none" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="directory"):
        im.write(im.from_array(smooth()), tmp_path / "folder.png", overwrite=True)


def test_sides_that_a_format_cannot_hold():
    long = im.Image(np.zeros((1, 16384, 1), np.float32))
    with pytest.raises(UnsupportedImage, match="16383"):
        im.encode(long, format="WEBP")
    assert im.read(im.encode(long, format="JPEG")).width == 16384


def test_global_state_is_left_alone():
    from PIL import ImageFile

    filters, limit = list(warnings.filters), PIL.Image.MAX_IMAGE_PIXELS
    threads = [threading.Thread(target=im.read, args=(FILES[name],)) for name in FILES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == filters
    assert limit == PIL.Image.MAX_IMAGE_PIXELS
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    inner, outer = quiet(), quiet()  # left in the order in which they were entered, as threads do
    inner.__enter__()
    outer.__enter__()
    inner.__exit__(None, None, None)
    outer.__exit__(None, None, None)
    assert warnings.filters == filters
