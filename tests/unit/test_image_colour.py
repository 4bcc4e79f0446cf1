r"""ICC profiles are respected: against Little CMS through Pillow, and by the round trip."""

import dataclasses
import io
import struct

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
from PIL import ImageCms

from relume import image as im
from relume.errors import UsageError
from relume.image import colour
from relume.image.levels import to_integer

PROFILES = {
    "adobe": imagecodecs.cms_profile("adobergb"),
    "p3": imagecodecs.cms_profile(
        "rgb",
        whitepoint=[0.3127, 0.329, 1],
        primaries=[0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1],
        gamma=2.2,
    ),
}
GRAY = imagecodecs.cms_profile("gray", whitepoint=[0.3457, 0.3585, 1], gamma=1.8)


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def tagged(a, icc):
    return dataclasses.replace(im.from_array(a), icc=icc)


def cms(a, icc, mode="RGB"):
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    srgb = ImageCms.createProfile("sRGB")
    picture = (
        PIL.Image.fromarray(a) if mode != "CMYK" else PIL.Image.frombytes(mode, a.shape[1::-1], a.tobytes())
    )
    return np.asarray(ImageCms.profileToProfile(picture, profile, srgb, outputMode="RGB")) / 255


@pytest.mark.parametrize("name", PROFILES)
def test_srgb_agrees_with_little_cms(name):
    a = noise((60, 50, 3))
    got = tagged(a, PROFILES[name]).srgb()
    assert got.dtype == np.float32
    assert np.abs(got - cms(a, PROFILES[name])).max() <= 1.5 / 255
    assert np.abs(got - a / 255.0).max() > 10 / 255  # and it is not the identity


def test_shadows_of_a_wide_gamut_are_exact():
    # the curve of Adobe RGB (gamma 563/256) on a neutral axis: sRGB by its formula
    v = np.linspace(0, 0.2, 300, dtype=np.float32)
    linear = v.astype(float) ** (563 / 256)
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    pixels = np.repeat(v[None, :, None], 3, axis=2)
    got = im.Image(pixels, icc=PROFILES["adobe"]).srgb()
    np.testing.assert_allclose(got[0], np.repeat(expected[:, None], 3, axis=1), atol=0.1 / 255)


def test_gray_profiles_are_curves():
    a = np.arange(256, dtype=np.uint8).reshape(16, 16)
    got = tagged(a, GRAY).srgb()
    assert got.shape == (16, 16, 1)
    assert np.abs(got - cms(a, GRAY)[..., :1]).max() <= 1.5 / 255
    assert np.abs(got[..., 0] - a / 255).max() > 10 / 255


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("icc", "channels"), [(None, 3), (None, 1), (PROFILES["adobe"], 3), (PROFILES["p3"], 3), (GRAY, 1)]
)
def test_unchanged_pixels_keep_their_exact_value(icc, channels, dtype):
    a = noise((40, 30, channels), dtype)
    image = tagged(a, icc)
    new = image.srgb().copy()
    np.testing.assert_array_equal(image.with_srgb(new).pixels, image.pixels)
    new[:20] = 0.5
    changed = image.with_srgb(new)
    np.testing.assert_array_equal(changed.pixels[20:], image.pixels[20:])
    assert changed.icc == icc


@pytest.mark.parametrize(("icc", "channels"), [(PROFILES["adobe"], 3), (PROFILES["p3"], 3), (GRAY, 1)])
def test_new_colours_arrive(icc, channels):
    # of colours that sRGB holds: what is written is what is seen again
    image = tagged(noise((20, 20, channels)) // 4 + 96, icc)
    rng = np.random.default_rng(1)
    new = (0.35 + 0.3 * rng.random((20, 20, channels))).astype(np.float32)
    np.testing.assert_allclose(image.with_srgb(new).srgb(), new, atol=0.3 / 255)


def test_profiles_that_say_srgb_cost_nothing():
    for icc in (
        imagecodecs.cms_profile("srgb"),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ):
        image = tagged(noise((5, 5, 3)), icc)
        assert image.srgb() is image.pixels
        assert image.with_srgb(image.pixels).icc == icc
    assert not colour.is_srgb(PROFILES["adobe"], 3)
    assert not colour.is_srgb(PROFILES["p3"], 3)


def test_channels_may_change():
    gray = tagged(noise((4, 5)), GRAY)
    coloured = gray.with_srgb(np.full((4, 5, 3), 0.25, np.float32))
    assert coloured.icc is None
    assert coloured.pixels.shape == (4, 5, 3)
    rgb = tagged(noise((4, 5, 3)) // 4 + 96, PROFILES["p3"])
    spread = rgb.with_srgb(np.full((4, 5, 1), 0.25, np.float32))
    np.testing.assert_allclose(spread.srgb(), 0.25, atol=0.01)
    with pytest.raises(UsageError):
        rgb.with_srgb(np.zeros((5, 5, 3), np.float32))


def test_a_profile_of_the_wrong_kind_is_dropped():
    assert colour.usable(PROFILES["p3"], 3)
    assert colour.usable(GRAY, 1)
    assert colour.usable(PROFILES["p3"], 1)  # many writers do so: R = G = B
    assert colour.usable(GRAY, 3) is None
    assert colour.usable(b"", 3) is None
    assert colour.usable(b"no profile" * 50, 3) is None
    assert colour.usable(PROFILES["p3"][:200], 3) is None
    gray = tagged(noise((5, 5)), PROFILES["adobe"])
    expected = cms(np.repeat(noise((5, 5))[..., None], 3, axis=2), PROFILES["adobe"])
    assert np.abs(gray.srgb() - expected[..., :1]).max() <= 1.5 / 255


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_damaged_profile_does_not_stop_reading(format):
    out = io.BytesIO()
    PIL.Image.fromarray(noise((8, 8, 3))).save(out, format, icc_profile=PROFILES["p3"][:300] + b"x" * 50)
    assert im.read(out.getvalue()).icc is None


def ink_profile():
    """A CMYK profile: a table of 2⁴ corners, in which every ink darkens by its own amount."""

    def table():
        head = struct.pack(">4s4xBBBx9i", b"mft1", 4, 3, 2, *(65536 if i % 4 == 0 else 0 for i in range(9)))
        identity = bytes(range(256))
        corners = bytearray()
        for index in range(16):
            c, m, y, k = index >> 3 & 1, index >> 2 & 1, index >> 1 & 1, index & 1
            lightness = max(0, 255 - 90 * c - 80 * m - 20 * y - 200 * k)
            corners += bytes([lightness, 128 - 40 * c + 60 * m, 128 - 40 * c + 70 * y])
        return head + identity * 4 + bytes(corners) + identity * 3

    body = {b"A2B0": table(), b"wtpt": struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)}
    body[b"desc"] = struct.pack(">4s4xI", b"desc", 4) + b"ink\0" + bytes(78)
    body[b"cprt"] = b"text\0\0\0\0none\0"
    offset, rows, data = 128 + 4 + 12 * len(body), b"", b""
    for name, value in body.items():
        value += bytes(-len(value) % 4)
        rows += struct.pack(">4sII", name, offset + len(data), len(value))
        data += value
    size = offset + len(data)
    header = struct.pack(">I4sI4s4s4s12x4s", size, bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(body)) + rows + data


@pytest.mark.parametrize("profile", [None, ink_profile()])
@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_becomes_srgb(profile, format):
    flat = np.array([[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0], [0, 200, 90, 30]], np.uint8)
    inks = np.repeat(np.repeat(flat[:, None], 16, 1), 16, 0)
    out = io.BytesIO()
    PIL.Image.frombytes("CMYK", (16, 64), inks.tobytes()).save(
        out,
        format,
        **({"icc_profile": profile} if profile else {}),
        **({"quality": 100} if format == "JPEG" else {}),
    )
    got = im.read(out.getvalue())
    assert got.pixels.shape == (64, 16, 3)
    assert got.icc is None
    expected = (
        cms(inks, profile, "CMYK") if profile else (1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255)
    )
    np.testing.assert_allclose(got.pixels, expected, atol=(4 if format == "JPEG" else 1.5) / 255)


def test_deep_cmyk_stays_deep():
    inks = noise((6, 7, 4), np.uint16)
    out = io.BytesIO()
    tifffile.imwrite(out, inks, photometric="separated")
    got = im.read(out.getvalue())
    assert got.bit_depth == 16
    ink = inks / 65535
    np.testing.assert_allclose(got.pixels, (1 - ink[..., :3]) * (1 - ink[..., 3:]), atol=1 / 65535)


def test_cielab_tiff():
    lab = PIL.Image.new("LAB", (4, 4), (137, 128, 128))  # L* = 53.7: middle gray
    out = io.BytesIO()
    lab.save(out, "TIFF")
    got = to_integer(im.read(out.getvalue()).pixels, 8)
    assert np.abs(got.astype(int) - 128).max() <= 3
