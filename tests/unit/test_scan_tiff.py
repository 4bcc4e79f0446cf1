r"""TIFF files that hold more than one stack, or damaged ones."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from relume.errors import UnreadableImage, UnsupportedImage
from relume.scan import open_scan


def stack(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60000, (count, height, width)).astype(np.uint16)


def save(path: Path, *stacks: np.ndarray, **options: object) -> Path:
    """Pages one after the other, without a word of how they belong together."""
    with tifffile.TiffWriter(path) as file:
        for frames in stacks:
            for frame in frames:
                gray = "rgb" if frame.ndim == 3 else "minisblack"
                file.write(frame, metadata=None, photometric=gray, **options)
    return path


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("preview", [(16, 16), (13, 20), (16, 16, 3)])
@pytest.mark.parametrize("last", [False, True])
def test_a_smaller_picture_beside_the_stack_is_no_part_of_it(
    tmp_path: Path, compression: str | None, preview: tuple[int, ...], last: bool
) -> None:
    data, small = stack(4, 32, 40), np.zeros((1, *preview), np.uint16)
    both = (data, small) if last else (small, data)
    path = save(tmp_path / "a.tif", *both, compression=compression)
    np.testing.assert_array_equal(open_scan(path).frames.stack(), data)


def test_the_metadata_are_those_of_the_picture_that_was_chosen(tmp_path: Path) -> None:
    data = stack(1, 32, 40)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for frame, size in ((data[0, :9, :9], 0.5), (data[0], 0.1)):
            file.write(frame, metadata={"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeXUnit": "µm"})
    scan = open_scan(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(scan.frames.stack(), data)
    assert scan.pixel_size == pytest.approx(0.1)


def test_levels_of_a_pyramid_are_no_stacks_of_their_own(tmp_path: Path) -> None:
    data = stack(3, 64, 64)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(data, subifds=1, tile=(16, 16), metadata={"axes": "TYX"})
        file.write(data[:, ::2, ::2], subfiletype=1, tile=(16, 16))
    np.testing.assert_array_equal(open_scan(tmp_path / "a.ome.tif").frames.stack(), data)


@pytest.mark.parametrize("other", [(4, 30, 40), (2, 16, 20), (1, 50, 50)])
def test_which_of_two_stacks_is_meant_is_asked(tmp_path: Path, other: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.tif", stack(4, 32, 40), stack(*other))
    with pytest.raises(UnsupportedImage, match=r"a\.tif: a TIFF of 2 series; save the one you want"):
        open_scan(path)


def test_a_damaged_frame_is_told_with_its_file_and_number(tmp_path: Path) -> None:
    data = stack(3, 60, 60)
    path = save(tmp_path / "a.tif", data, compression="zlib")
    with tifffile.TiffFile(path) as file:
        at = file.pages[1].dataoffsets[0]
    damaged = bytearray(path.read_bytes())
    damaged[at + 5 : at + 400] = b"\xff" * 395
    path.write_bytes(damaged)
    frames = open_scan(path).frames
    np.testing.assert_array_equal(frames[2], data[2])
    for part in (frames, frames[1:]):
        with pytest.raises(UnreadableImage, match=r"a\.tif: frame 2: truncated or damaged") as caught:
            part.stack()
        assert "\n" not in str(caught.value)
    with pytest.raises(IndexError):
        frames[3]
    path.unlink()
    with pytest.raises(UnreadableImage, match=r"a\.tif: frame 1: No such file"):
        frames[0]
