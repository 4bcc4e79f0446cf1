r"""Pictures out and in again: samples, alpha, profile, EXIF, resolution, depth and format survive."""

import dataclasses
import functools
import io
import itertools
import struct
import zlib

import imagecodecs
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageOps
from PIL.TiffImagePlugin import IFDRational

from relume import image as im
from relume.errors import UsageError
from relume.image import exif
from relume.image.codecs import CODECS
from relume.image.codecs.png import _chunk
from relume.image.levels import to_float, to_integer

LOSSLESS = [("PNG", 8), ("PNG", 16), ("TIFF", 8), ("TIFF", 16), ("BMP", 8), ("WEBP", 8)]
WRITABLE = [codec.format for codec in CODECS if codec.encode and codec.format != "HEIF"]
HAS_EXIF = ["JPEG", "PNG", "TIFF", "WEBP"]


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@functools.cache  # its header holds the time at which it was made
def wide_gamut():
    return imagecodecs.cms_profile("adobergb")


def exif_block(orientation=None):
    block = PIL.Image.Exif()
    block[0x010F] = "Maker of Cameras"
    block[0x0132] = "1931:04:05 06:07:08"
    if orientation is not None:
        block[0x0112] = orientation
    block.get_ifd(0x8769)[0x9003] = "1931:04:05 06:07:08"
    block.get_ifd(0x8769)[0x829A] = IFDRational(1, 250)
    block.get_ifd(0x8769)[0xA002] = 7
    block.get_ifd(0x8825)[1] = "N"
    return block.tobytes()


def lossless(image, format, bit_depth=None):
    return im.read(im.encode(image, format=format, bit_depth=bit_depth, quality=100))


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_every_level_is_its_own_inverse(bit_depth):
    levels = np.arange(2**bit_depth, dtype=np.uint8 if bit_depth == 8 else np.uint16)
    x = to_float(levels, 2**bit_depth - 1)
    assert x.dtype == np.float32
    assert x[0] == 0
    assert x[-1] == 1
    np.testing.assert_array_equal(to_integer(x, bit_depth), levels)


def test_integers_are_rounded_to_even_and_clipped():
    x = np.array([0.5 / 255, 1.5 / 255, 2.5 / 255, -3, 7, np.nan], np.float64).astype(np.float32)
    assert to_integer(x, 8).tolist() == [0, 2, 2, 0, 255, 0]


@pytest.mark.parametrize(("format", "bit_depth"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossless_formats_keep_every_sample(format, bit_depth, channels):
    a = noise((11, 17, channels), np.uint8 if bit_depth == 8 else np.uint16)
    back = lossless(im.from_array(a), format)
    assert (back.format, back.bit_depth) == (format, bit_depth)
    expected = a
    if (format == "WEBP" and channels < 3) or (format == "BMP" and channels == 2):
        expected = np.concatenate([a[..., [0, 0, 0]], a[..., 1:]], axis=2)  # no gray (with alpha) there
    assert back.gray == (expected.shape[2] < 3)
    np.testing.assert_array_equal(im.to_array(back, expected), expected)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.integers(1, 4),
    depth=st.sampled_from([np.uint8, np.uint16]),
    format=st.sampled_from(["PNG", "TIFF"]),
    with_profile=st.booleans(),
    with_exif=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_png_and_tiff_keep_everything(size, channels, depth, format, with_profile, with_exif, seed):
    a = noise((*size, channels), depth, seed)
    image = dataclasses.replace(
        im.from_array(a),
        icc=wide_gamut() if with_profile else None,
        exif=exif.normalised(exif_block(), size[1], size[0]) if with_exif else None,
        dpi=(300.0, 299.5),
        format=format,
    )
    back = im.read(im.encode(image))
    np.testing.assert_array_equal(im.to_array(back, a), a)
    assert (back.icc, back.format, back.bit_depth) == (image.icc, format, image.bit_depth)
    assert back.dpi == pytest.approx((300, 299.5), abs=0.02)
    assert (back.exif is not None) == with_exif


@pytest.mark.parametrize("format", WRITABLE)
def test_profile_and_resolution_are_kept(format):
    image = dataclasses.replace(im.from_array(noise((9, 8, 3))), icc=wide_gamut(), dpi=(240.0, 120.0))
    back = lossless(image, format)
    assert back.icc == image.icc
    assert back.dpi == pytest.approx((240, 120), abs=0.02)


@pytest.mark.parametrize("format", HAS_EXIF)
def test_exif_is_kept(format):
    image = dataclasses.replace(im.from_array(noise((5, 6, 3))), exif=exif.normalised(exif_block(), 6, 5))
    back = lossless(image, format)
    read = PIL.Image.Exif()
    read.load(back.exif)
    assert read[0x010F] == "Maker of Cameras"
    assert read.get_ifd(0x8769)[0x9003] == "1931:04:05 06:07:08"
    assert float(read.get_ifd(0x8769)[0x829A]) == pytest.approx(1 / 250)
    assert read.get_ifd(0x8769)[0xA002] == 6  # true again
    assert read.get_ifd(0x8825)[1] == "N"
    # and other software sees it in the file
    with PIL.Image.open(io.BytesIO(im.encode(image, format=format))) as other:
        assert other.getexif()[0x0132] == "1931:04:05 06:07:08"
        assert other.getexif().get_ifd(0x8769)[0x9003] == "1931:04:05 06:07:08"


@pytest.mark.parametrize("format", [*HAS_EXIF, "TIFF16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_reset(format, orientation):
    stored = PIL.Image.fromarray(noise((3, 5, 3)))
    out = io.BytesIO()
    if format == "TIFF16":
        deep = np.asarray(stored).astype(np.uint16) * 257
        tifffile.imwrite(out, deep, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    else:
        lossless_too = {"lossless": True} if format == "WEBP" else {}
        stored.save(out, format, exif=exif_block(orientation), **lossless_too)
    got = im.read(out.getvalue())
    with PIL.Image.open(io.BytesIO(out.getvalue())) as fresh:
        expected = np.asarray(ImageOps.exif_transpose(fresh))
    np.testing.assert_array_equal(im.to_array(got, expected), expected)
    if got.exif is not None:
        assert exif.orientation(got.exif) in (None, 1)
    again = im.read(im.encode(got, quality=100))
    assert again.pixels.shape == got.pixels.shape
    with PIL.Image.open(io.BytesIO(im.encode(got))) as other:
        assert other.getexif().get(0x0112, 1) == 1
        assert other.size == (got.width, got.height)


@pytest.mark.parametrize("order", ["<", ">"])
def test_normalised_changes_nothing_else(order):
    block = PIL.Image.Exif()
    block.endian = order
    block[0x0112] = 6
    block.get_ifd(0x8769)[0x927C] = b"notes of a maker"
    before = block.tobytes()
    after = exif.normalised(before, 4, 5)
    assert sum(a != b for a, b in zip(before[6:], after, strict=True)) == 1
    assert exif.normalised(after, 4, 5) == after


def test_a_thumbnail_of_the_old_picture_is_unlinked():
    directory = exif.write_tree({0x0112: exif.Entry(3, 1, b"\x06\0")}, 8)
    linked = b"II*\0\x08\0\0\0" + directory[:-4] + (8 + len(directory)).to_bytes(4, "little") + directory
    assert exif.normalised(linked, 1, 1)[8 + len(directory) - 4 :][:4] == bytes(4)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_other_software_reads_16_bits(format, channels):
    a = noise((30, 21, channels), np.uint16)
    data = im.encode(dataclasses.replace(im.from_array(a), icc=wide_gamut()), format=format)
    other = imagecodecs.png_decode(data) if format == "PNG" else tifffile.imread(io.BytesIO(data))
    np.testing.assert_array_equal(other.reshape(a.shape), a)
    with PIL.Image.open(io.BytesIO(data)) as seen:
        assert seen.info["icc_profile"] == wide_gamut()


def test_large_tiff_has_many_strips():
    a = noise((700, 900, 3), np.uint16)
    data = im.encode(im.from_array(a), format="TIFF")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages[0].dataoffsets) > 1
        np.testing.assert_array_equal(file.pages[0].asarray(), a)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "lzw"},
        {"compression": "zlib", "predictor": True, "byteorder": ">"},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "lzw"},
        {"tile": (16, 32)},
        {"tile": (16, 16), "compression": "zlib"},
        {"tile": (16, 16), "planarconfig": "separate"},
        {"rowsperstrip": 7},
        {"compression": "packbits"},
        {"compression": "zstd"},
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_however_it_is_laid_out(options, dtype):
    a = noise((45, 37, 3), dtype)
    out = io.BytesIO()
    profile = {"iccprofile": wide_gamut(), "resolution": (300, 300), "resolutionunit": 2}
    stored = np.moveaxis(a, 2, 0) if "planarconfig" in options else a
    tifffile.imwrite(out, stored, photometric="rgb", **profile, **options)
    got = im.read(out.getvalue())
    assert (got.format, got.bit_depth, got.icc, got.dpi) == ("TIFF", got.bit_depth, wide_gamut(), (300, 300))
    assert got.bit_depth == 8 * a.itemsize
    np.testing.assert_array_equal(im.to_array(got, a), a)
    back = im.read(im.encode(got.with_srgb(got.srgb())))
    assert (back.format, back.bit_depth, back.icc) == ("TIFF", got.bit_depth, wide_gamut())
    np.testing.assert_array_equal(im.to_array(back, a), a)


def test_tiff_of_other_depths_and_kinds():
    def through(a, **options):
        out = io.BytesIO()
        tifffile.imwrite(out, a, **options)
        return im.read(out.getvalue())

    a = noise((6, 7), np.uint16)
    white = through(a, photometric="miniswhite")
    np.testing.assert_array_equal(im.to_array(white, a), 65535 - a)
    x = np.random.default_rng(0).random((6, 7, 3), dtype=np.float32)
    floats = through(x, photometric="rgb")
    assert floats.bit_depth == 16
    np.testing.assert_array_equal(floats.pixels, x)
    wide = through(noise((6, 7), np.uint32), photometric="minisblack")
    assert wide.bit_depth == 16
    bits = through(noise((6, 9)) > 127, photometric="minisblack")
    np.testing.assert_array_equal(bits.pixels[..., 0], (noise((6, 9)) > 127).astype(np.float32))
    twelve = through(np.full((4, 6), 4095, np.uint16), photometric="minisblack", bitspersample=12)
    assert twelve.pixels.min() == 1
    opaque = np.full((5, 5, 4), 1000, np.uint16)
    opaque[..., 3] = 32768
    associated = through(opaque, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_allclose(associated.pixels, 1000 / 32768, atol=1 / 65535)
    extra = through(noise((5, 5, 4)), photometric="rgb", extrasamples=["unspecified"])
    assert extra.alpha is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "YCbCr", "I;16"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "WEBP", "JPEG"])
def test_whatever_pillow_writes_is_read_as_pillow_reads_it(mode, format):
    picture = PIL.Image.fromarray(noise((13, 22, 3)))
    picture = (
        picture.quantize(9) if mode == "P" else picture.convert("L" if mode in ("LA", "1", "I;16") else mode)
    )
    picture = picture.convert(mode)
    out = io.BytesIO()
    try:
        picture.save(out, format, **({"lossless": True} if format == "WEBP" else {}))
    except (OSError, KeyError):
        pytest.skip("Pillow cannot write it")
    got = im.read(out.getvalue())
    with PIL.Image.open(io.BytesIO(out.getvalue())) as seen:
        deep = mode == "I;16" and seen.mode == "I;16"
        natural = ("L" if got.gray else "RGB") + ("A" if got.alpha is not None else "")
        expected = np.asarray(seen) if deep else np.asarray(seen.convert(natural))
    assert got.gray == (mode in ("1", "L", "LA", "I;16") and format != "WEBP")
    assert got.bit_depth == (16 if deep else 8)
    np.testing.assert_allclose(im.to_array(got, expected), expected, atol=2 if mode == "YCbCr" else 0)


def png(picture, **options):
    out = io.BytesIO()
    picture.save(out, "PNG", **options)
    return im.read(out.getvalue())


def test_transparency_of_palettes_and_of_one_colour():
    rgb = PIL.Image.fromarray(noise((8, 9, 3)))
    palette = rgb.quantize(4)
    got = png(palette, transparency=bytes([0, 128, 255]))
    expected = np.array([0, 128, 255, 255], np.uint8)[np.asarray(palette)]
    np.testing.assert_array_equal(to_integer(got.alpha, 8), expected)
    one = png(rgb, transparency=rgb.getpixel((0, 0)))
    assert one.alpha[0, 0] == 0
    assert one.alpha.mean() > 0.9
    gray = png(rgb.convert("L"), transparency=rgb.convert("L").getpixel((0, 0)))
    assert gray.gray
    assert gray.alpha[0, 0] == 0


def interlaced(a, bits, kind, extra=b""):
    """An Adam7 PNG of unfiltered rows, packed as the standard says."""
    rows = b""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        for row in a[y::dy, x::dx]:
            if row.size and bits < 8:
                digits = (row.reshape(-1, 1) >> np.arange(bits)[::-1]) & 1
                rows += b"\0" + np.packbits(digits.astype(np.uint8).ravel()).tobytes()
            elif row.size:
                rows += b"\0" + row.astype(f">u{bits // 8}").tobytes()
    head = struct.pack(">IIBBBBB", a.shape[1], a.shape[0], bits, kind, 0, 0, 1)
    body = _chunk(b"IHDR", head) + extra + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (8, 8), (13, 21), (1, 9), (9, 1)])
@pytest.mark.parametrize(
    ("bits", "kind", "channels"),
    [(8, 2, 3), (16, 2, 3), (16, 0, 1), (16, 6, 4), (8, 4, 2), (1, 0, 1), (4, 0, 1)],
)
def test_interlaced_png(size, bits, kind, channels, capfd):
    a = noise((*size, channels), np.uint16) >> (16 - bits)
    got = im.read(interlaced(a, bits, kind))
    expected = to_float(a, 2**bits - 1)
    np.testing.assert_array_equal(got.pixels, expected[..., : got.pixels.shape[2]])
    if channels in (2, 4):
        np.testing.assert_array_equal(got.alpha, expected[..., -1])
    assert got.bit_depth == (16 if bits == 16 else 8)
    assert capfd.readouterr().err == ""


def test_interlaced_palette():
    indices = noise((11, 7, 1)) >> 6
    colours = noise((4, 3))
    extra = _chunk(b"PLTE", colours.tobytes()) + _chunk(b"tRNS", b"\x07")
    got = im.read(interlaced(indices, 2, 3, extra))
    np.testing.assert_array_equal(to_integer(got.pixels, 8), colours[indices[..., 0]])
    np.testing.assert_array_equal(to_integer(got.alpha, 8), np.where(indices[..., 0] == 0, 7, 255))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("packet", [b'<x tiff:Orientation="6"/>', b"<tiff:Orientation>6</tiff:Orientation>"])
def test_orientation_that_only_xmp_tells(format, packet):
    options = {"xmp": packet}
    if format == "PNG":
        text = PIL.PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
        options = {"pnginfo": text}
    out = io.BytesIO()
    PIL.Image.fromarray(noise((3, 5, 3))).save(out, format, **options)
    assert im.read(out.getvalue()).pixels.shape == (5, 3, 3)


def test_a_palette_of_grays_is_gray():
    indices = PIL.Image.fromarray(noise((8, 9)) // 64, mode="P")
    indices.putpalette(bytes(itertools.chain(*[(10 * v, 10 * v, 10 * v) for v in range(4)])))
    got = png(indices)
    assert got.gray
    np.testing.assert_array_equal(to_integer(got.pixels, 8)[..., 0], 10 * np.asarray(indices))


def test_16_bit_png_with_transparent_colour_and_late_exif():
    a = noise((7, 8, 3), np.uint16)
    data = imagecodecs.png_encode(a)
    at = data.index(b"IDAT") - 4
    see_through = _chunk(b"tRNS", a[2, 3].astype(">u2").tobytes())
    late = _chunk(b"eXIf", exif_block(1)[6:])
    got = im.read(data[:at] + see_through + data[at:-12] + late + data[-12:])
    np.testing.assert_array_equal(im.to_array(got, a), a)
    assert np.argwhere(got.alpha == 0).tolist() == [[2, 3]]
    assert b"Maker of Cameras" in got.exif


def test_metadata_is_left_out_when_asked():
    image = dataclasses.replace(
        im.from_array(noise((5, 6, 3))),
        exif=exif.normalised(exif_block(), 6, 5),
        dpi=(300.0, 300.0),
        icc=imagecodecs.cms_profile("srgb"),
    )
    for format in WRITABLE:
        back = im.read(im.encode(image, format=format, keep_metadata=False))
        assert (back.exif, back.dpi, back.icc) == (None, None, None)
    kept = im.read(im.encode(dataclasses.replace(image, icc=wide_gamut()), keep_metadata=False))
    assert kept.icc == wide_gamut()  # it says what the numbers mean


def test_jpeg_lays_alpha_over_white_and_keeps_gray():
    a = np.zeros((16, 16, 2), np.uint8)
    a[:8, :, 1] = 255
    back = im.read(im.encode(im.from_array(a), format="JPEG"))
    assert back.gray
    assert back.alpha is None
    assert back.pixels[2, 2, 0] < 0.02
    assert back.pixels[13, 13, 0] > 0.98


def test_depth_follows_the_format_unless_told():
    deep = im.from_array(noise((4, 5, 3), np.uint16))
    assert im.read(im.encode(deep, format="JPEG")).bit_depth == 8
    assert im.read(im.encode(deep, format="TIFF", bit_depth=8)).bit_depth == 8
    assert im.read(im.encode(im.from_array(noise((4, 5))), format="PNG", bit_depth=16)).bit_depth == 16
    with pytest.raises(UsageError, match="TIFF"):
        im.encode(deep, format="JPEG", bit_depth=16)
    with pytest.raises(UsageError, match="GIF"):
        im.encode(deep, format="GIF")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64, bool])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4), (4, 5, 2)])
def test_arrays_come_back_as_they_were(dtype, shape):
    a = noise(shape)
    a = (
        (a > 127)
        if dtype is bool
        else (a / 255).astype(dtype)
        if np.dtype(dtype).kind == "f"
        else a.astype(dtype)
    )
    back = im.to_array(im.from_array(a), a)
    assert (back.dtype, back.shape) == (a.dtype, a.shape)
    np.testing.assert_allclose(back.astype(float), a.astype(float), atol=1e-7)


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 2), np.int32), np.zeros((2, 2, 5), np.uint8), np.zeros(3, np.uint8), np.full((2, 2), 255.0),
     np.full((2, 2), np.nan), np.zeros((0, 2), np.uint8)],
)  # fmt: skip
def test_arrays_that_are_no_pictures(bad):
    with pytest.raises(UsageError):
        im.from_array(bad)


def test_arrays_change_channels():
    gray, rgb = noise((4, 5)), noise((4, 5, 3))
    np.testing.assert_array_equal(im.to_array(im.from_array(gray), rgb), np.repeat(gray[..., None], 3, 2))
    luma = np.asarray(PIL.Image.fromarray(rgb).convert("L"))
    np.testing.assert_allclose(im.to_array(im.from_array(rgb), gray), luma, atol=1)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "I;16", "I", "RGBX"]
)
def test_pil_comes_back_as_it_was(mode):
    start = PIL.Image.fromarray(noise((6, 7, 3)) // 2 + 60).convert(
        "L" if mode in ("LA", "1", "I;16", "I") else "RGB"
    )
    picture = start.quantize(5) if mode == "P" else start.convert(mode)
    picture.info["dpi"] = (300, 300)
    image = im.from_pil(picture)
    back = im.to_pil(image, picture.mode)
    assert (back.mode, back.size) == (picture.mode, picture.size)
    natural = "L" if image.gray else "RGB"
    if mode not in ("I;16", "I", "CMYK"):
        a, b = np.asarray(back.convert(natural), int), np.asarray(picture.convert(natural), int)
        assert abs(a - b).max() <= 3 if mode != "P" else abs(a - b).mean() < 12
    assert image.dpi == (300, 300)
    assert back.info["dpi"] == (300, 300)


def test_names_tell_what_can_be_read():
    assert im.is_picture("a/B.JPG")
    assert im.is_picture("scan.tiff")
    assert not im.is_picture("notes.txt")
    assert {".jpg", ".png", ".tif", ".webp", ".bmp", ".heic", ".dng"} <= set(im.SUFFIXES)
    assert len(set(im.SUFFIXES)) == len(im.SUFFIXES)


def test_no_two_codecs_claim_one_file():
    image = im.from_array(noise((4, 4, 3)))
    for format in WRITABLE:
        data = im.encode(image, format=format)
        assert [codec.format for codec in CODECS if codec.sniff(data)] == [format]
