r"""HDF5, NeXus, TIFF and folders of tiles; and what is written comes back."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile

from relume.errors import (
    ImageError,
    InconsistentScan,
    MissingExtra,
    OutputExists,
    UnreadableImage,
    UnsupportedImage,
    UsageError,
)
from relume.scan import FORMATS, Provenance, open_scan, provenance_of, with_references, write

h5py = pytest.importorskip("h5py")
SHARED = Path(__file__).parents[3] / "shared" / "xray"
TOOTH, TILES = SHARED / "hdf5_tooth" / "tooth.h5", SHARED / "txm_sb_2x2"
HOW = Provenance(
    "polynomial", {"degree": 4}, "median of the background is 1", bundle="ab" * 32, source=("a.xrm",)
)


def stack(count: int = 4, height: int = 6, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60000, (count, height, width)).astype(np.uint16)


def exchange(path: Path, **data: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[f"exchange/{name}"] = values
    return path


def nxtomo(path: Path, data: np.ndarray, keys: list[int], angles: np.ndarray | None = None) -> Path:
    with h5py.File(path, "w") as file:
        entry = file.create_group("scan1")
        entry.attrs["NX_class"] = "NXentry"
        detector = entry.create_group("instrument/detector")
        detector["data"], detector["image_key"] = data, np.array(keys)
        detector["x_pixel_size"] = 29.3e-9
        detector["x_pixel_size"].attrs["units"] = "m"
        detector["count_time"] = np.full(len(keys), 2.5)
        if angles is not None:
            entry["sample/rotation_angle"] = angles
    return path


def test_data_exchange(tmp_path: Path) -> None:
    data, white, dark = stack(), stack(2, seed=1), stack(3, seed=2)
    theta = np.linspace(0, np.pi, 4)
    path = exchange(tmp_path / "a.h5", data=data, data_white=white, data_dark=dark, theta=theta)
    with h5py.File(path, "a") as file:
        file["exchange/theta"].attrs["units"] = "radians"
    scan = open_scan(path)
    assert scan.flats is not None and scan.darks is not None
    np.testing.assert_array_equal(scan.frames.stack(), data)
    np.testing.assert_allclose(scan.flats.mean(), white.mean(0), rtol=1e-6)
    np.testing.assert_array_equal(scan.darks[2], dark[2])
    np.testing.assert_allclose(scan.angles, [0, 60, 120, 180])


def test_a_single_flat_is_a_stack_of_one_and_not_of_its_rows(tmp_path: Path) -> None:
    flat = stack(1)[0]
    scan = open_scan(exchange(tmp_path / "a.h5", data=stack(), data_white=flat))
    assert scan.flats is not None and scan.flats.shape == (1, 6, 8)
    np.testing.assert_array_equal(scan.flats.mean(), flat)
    assert scan.darks is None


def test_frames_are_read_when_they_are_asked_for_and_can_be_sent_away(tmp_path: Path) -> None:
    data = stack()
    scan = open_scan(exchange(tmp_path / "a.h5", data=data))
    with h5py.File(tmp_path / "a.h5", "a") as file:  # no file is held open, nothing was read ahead
        file["exchange/data"][2] = 7
    assert (scan.frames[2] == 7).all()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scan.frames))[1], data[1])


def test_nxtomo_sorts_its_frames_by_their_key(tmp_path: Path) -> None:
    data, keys = stack(7), [2, 1, 0, 0, 3, 1, 0]
    scan = open_scan(nxtomo(tmp_path / "a.nxs", data, keys, np.arange(7.0)))
    assert scan.flats is not None and scan.darks is not None
    np.testing.assert_array_equal(scan.frames.stack(), data[[2, 3, 6]])
    np.testing.assert_array_equal(scan.flats.stack(), data[[1, 5]])
    np.testing.assert_array_equal(scan.darks.stack(), data[[0]])
    np.testing.assert_array_equal(scan.angles, [2, 3, 6])
    assert scan.pixel_size == pytest.approx(0.0293) and scan.exposure == 2.5
    alone = open_scan(tmp_path / "a.nxs", references=False)
    assert alone.flats is alone.darks is None


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("stack", {}),
        ("big endian", {"byteorder": ">"}),
        ("compressed", {"compression": "zlib"}),
        ("tiled", {"tile": (16, 16)}),
        ("ImageJ", {"imagej": True}),
        ("OME", {"ome": True, "metadata": {"axes": "TYX", "PhysicalSizeX": 29.3, "PhysicalSizeXUnit": "nm"}}),
    ],
)
def test_tiff_stacks(tmp_path: Path, kind: str, options: dict[str, object]) -> None:
    data = stack(5, 20, 24)
    suffix = ".ome.tif" if kind == "OME" else ".tif"
    keep = {key: value for key, value in options.items() if key in ("byteorder", "imagej", "ome")}
    rest = {key: value for key, value in options.items() if key not in keep}
    tifffile.imwrite(tmp_path / f"a{suffix}", data, photometric="minisblack", **keep, **rest)
    scan = open_scan(tmp_path / f"a{suffix}")
    assert scan.frames.shape == data.shape
    np.testing.assert_array_equal(scan.frames[3:0:-1].stack(), data[3:0:-1])
    assert scan.pixel_size == (pytest.approx(0.0293) if kind == "OME" else None)


def test_values_are_neither_scaled_nor_clipped(tmp_path: Path) -> None:
    data = np.array([[[-3.5, 0.0], [1.4, 70000.0]]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", data)
    np.testing.assert_array_equal(open_scan(tmp_path / "a.tif").frames.stack(), data)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_tiff_is_refused(tmp_path: Path, compression: str | None, keep: float) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack(6, 60, 60), compression=compression, photometric="minisblack")
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(UnreadableImage, match=r"a\.tif"):
        open_scan(path).frames.stack()


def test_other_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.txt").write_text("no measurement")
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["x"] = 1
    exchange(tmp_path / "hollow.h5", theta=[0])
    exchange(tmp_path / "words.h5", data="no frames")
    with h5py.File(tmp_path / "cut.h5", "w") as file:
        file["exchange/data"] = stack(40, 50, 50)
    whole = (tmp_path / "cut.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    for name, error, message in [
        ("missing.h5", UnreadableImage, "No such file"),
        ("empty.h5", UnreadableImage, "empty"),
        ("text.txt", UnsupportedImage, "known format"),
        ("bare.h5", UnsupportedImage, "known format"),
        ("hollow.h5", UnreadableImage, "no /exchange/data"),
        ("words.h5", UnsupportedImage, "frames are numbers"),
        ("cut.h5", UnreadableImage, "truncated"),
        ("rgb.tif", UnsupportedImage, "gray frames"),
    ]:
        with pytest.raises(error, match=message) as caught:
            open_scan(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"data_white": stack(1, 3, 4)}, "flat frames are 4×3, its images 8×6"),
        ({"data_dark": stack(1, 3, 4)}, "dark frames are 4×3"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path, parts: dict, message: str) -> None:
    with pytest.raises(InconsistentScan, match=message):
        open_scan(exchange(tmp_path / "a.h5", data=stack(), **parts))


def test_nxtomo_without_a_sample_or_with_too_few_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="marked as a sample"):
        open_scan(nxtomo(tmp_path / "a.nxs", stack(2), [1, 2]))
    with pytest.raises(InconsistentScan, match="3 image keys"):
        open_scan(nxtomo(tmp_path / "b.nxs", stack(2), [0, 1, 2]))


def test_references_of_other_files_are_checked(tmp_path: Path) -> None:
    scan = open_scan(exchange(tmp_path / "a.h5", data=stack()))
    flats = open_scan(exchange(tmp_path / "f.h5", data=stack(2, seed=3)))
    small = open_scan(exchange(tmp_path / "s.h5", data=stack(2, 3, 4)))
    both = with_references(scan, flats=flats, darks=flats)
    assert both.flats is not None and both.darks is not None and scan.flats is None
    np.testing.assert_array_equal(both.flats[1], flats.frames[1])
    for wrong in ({"flats": small}, {"darks": small}):
        with pytest.raises(InconsistentScan):
            with_references(scan, **wrong)


def tiles(folder: Path, count: int = 4) -> np.ndarray:
    data = stack(count, seed=7)
    for i, tile in enumerate(data, 1):
        tifffile.imwrite(folder / f"m_{i}.tif", tile)
    return data


def test_a_folder_with_a_tile_configuration(tmp_path: Path) -> None:
    data = tiles(tmp_path)
    lines = [
        "# Define the number of dimensions",
        "dim = 2",
        "",
        "m_3.tif; ; (10.5, -2.0)",
        "m_1.tif; ; (0, 0.25)",
    ]
    (tmp_path / "TileConfiguration.txt").write_text("\n".join(lines))
    for path in (tmp_path, tmp_path / "TileConfiguration.txt"):
        scan = open_scan(path)
        np.testing.assert_array_equal(scan.frames.stack(), data[[2, 0]])
        np.testing.assert_array_equal(scan.positions, [[-2, 10.5], [0.25, 0]])


def test_a_folder_without_one_is_a_square_from_the_lower_left(tmp_path: Path) -> None:
    data = tiles(tmp_path, 16)
    scan = open_scan(tmp_path)
    assert scan.grid == (4, 4) and scan.facts["grid"] == "assumed"
    np.testing.assert_array_equal(scan.frames[9], data[9])  # m_10 comes after m_9, and not after m_1
    np.testing.assert_array_equal(scan.positions[:5], [[18, 0], [18, 8], [18, 16], [18, 24], [12, 0]])


def test_files_that_fill_no_square_are_a_stack_without_places(tmp_path: Path) -> None:
    data = tiles(tmp_path, 11)
    scan = open_scan(tmp_path)
    np.testing.assert_array_equal(scan.frames.stack(), data)  # m_10 comes after m_9, and not after m_1
    assert scan.grid is scan.positions is None
    assert "11 tiles are no square" in scan.facts["grid"] and "TileConfiguration.txt" in scan.facts["grid"]


def test_a_configuration_with_a_byte_order_mark_and_signs_of_comments(tmp_path: Path) -> None:
    data = stack(2)
    for name, tile in zip(["s#1.tif", "s#2.tif"], data, strict=True):
        tifffile.imwrite(tmp_path / name, tile)
    lines = [
        "dim = 2 # y and x",
        "# s#1.tif; ; (9, 9)",
        "s#2.tif; ; (1, 2) # the second",
        "s#1.tif; ; (3, 4)",
    ]
    for text in ("\n".join(lines), "\r\n".join(["# first", *lines])):
        (tmp_path / "TileConfiguration.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
        scan = open_scan(tmp_path)
        np.testing.assert_array_equal(scan.frames.stack(), data[[1, 0]])
        np.testing.assert_array_equal(scan.positions, [[2, 1], [4, 3]])


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("gone.tif; ; (0, 0)", UnreadableImage, "gone.tif is missing"),
        ("../m_1.tif; ; (0, 0)", UnsupportedImage, "outside its folder"),
        ("m_1.tif; ; (0, nan)", UnreadableImage, "not \\(x, y\\)"),
        ("m_1.tif; ; (0, 1, 2)", UnreadableImage, "not \\(x, y\\)"),
        ("m_1.tif at 0, 0", UnreadableImage, "no tile"),
        ("dim = 3", UnsupportedImage, "two dimensions"),
        ("dim = 2", UnreadableImage, "names no tile"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(
    tmp_path: Path, line: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "mosaic").mkdir()
    tiles(tmp_path)
    tiles(tmp_path / "mosaic")
    (tmp_path / "mosaic" / "TileConfiguration.txt").write_text(line)
    with pytest.raises(error, match=message):
        open_scan(tmp_path / "mosaic")


def test_tiles_of_several_sizes_and_files_of_several_frames_are_refused(tmp_path: Path) -> None:
    tiles(tmp_path)
    tifffile.imwrite(tmp_path / "m_3.tif", stack(1, 5, 8)[0])
    with pytest.raises(InconsistentScan, match=r"m_3\.tif is 8×5"):
        open_scan(tmp_path).frames.stack()
    tifffile.imwrite(tmp_path / "m_1.tif", stack(2))
    with pytest.raises(InconsistentScan, match="holds 2 frames"):
        open_scan(tmp_path)


@pytest.mark.parametrize("suffix", [".h5", ".nxs", ".tif"])
def test_what_is_written_comes_back_with_how_it_came_about(tmp_path: Path, suffix: str) -> None:
    frames = np.random.default_rng(0).normal(1, 0.3, (3, 9, 7)).astype(np.float32)
    frames[0, 0, 0], frames[0, 0, 1] = 1.37, -0.02  # a bright fringe and a noisy black stay what they are
    path = write(tmp_path / f"out{suffix}", frames, HOW, pixel_size=0.0293)
    scan = open_scan(path)
    assert scan.frames.dtype == np.float32
    np.testing.assert_array_equal(scan.frames.stack(), frames)
    assert provenance_of(path) == HOW
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"out{suffix}"]
    with pytest.raises(OutputExists):
        write(path, frames, HOW)
    write(path, frames[:1], HOW, overwrite=True)
    assert len(open_scan(path).frames) == 1


@pytest.mark.parametrize("suffix", [".h5", ".nxs"])
def test_further_arrays_lie_beside_the_frames(tmp_path: Path, suffix: str) -> None:
    sigma = np.full((1, 4, 4), 0.01, np.float32)
    path = write(tmp_path / f"a{suffix}", np.ones((1, 4, 4), np.float32), HOW, extra={"sigma": sigma})
    with h5py.File(path) as file:
        np.testing.assert_array_equal(
            file["exchange/sigma" if suffix == ".h5" else "entry/data/sigma"], sigma
        )
    with pytest.raises(UsageError, match="TIFF holds no sigma"):
        write(tmp_path / "a.tif", np.ones((1, 4, 4), np.float32), HOW, extra={"sigma": sigma})


@pytest.mark.parametrize("suffix", [".h5", ".nxs", ".tif"])
def test_a_failure_half_way_leaves_nothing_behind(tmp_path: Path, suffix: str) -> None:
    def frames():  # type: ignore[no-untyped-def]
        yield np.ones((4, 4), np.float32)
        raise RuntimeError("the detector stopped")

    with pytest.raises(RuntimeError, match="detector"):
        write(tmp_path / f"a{suffix}", frames(), HOW)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said_before_anything_is(tmp_path: Path) -> None:
    frame = np.ones((1, 4, 4), np.float32)
    for path, frames, message in [
        ("a.png", frame, "end the name in"),
        ("a.h5", frame[:0], "no frame"),
        ("a.h5", frame.astype(np.uint8), "floats"),
    ]:
        with pytest.raises(UsageError, match=message):
            write(tmp_path / path, frames, HOW)
    with pytest.raises(ImageError):
        write(tmp_path / "nowhere" / "a.h5", frame, HOW)
    with pytest.raises(UnreadableImage, match="how it came about"):
        provenance_of(exchange(tmp_path / "b.h5", data=stack()))


def test_without_the_extra_the_way_to_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exchange(tmp_path / "a.h5", data=stack())
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"relume\[scan\]"):
        open_scan(path)


def test_formats_have_names_of_their_own() -> None:
    assert len({format.name for format in FORMATS}) == len(FORMATS)


def test_a_real_data_exchange_file() -> None:
    if not TOOTH.exists():
        pytest.skip("the measured tooth is not beside the checkout")
    scan = open_scan(TOOTH)
    assert scan.frames.shape == (181, 2, 640) and scan.flats is not None and scan.darks is not None
    assert len(scan.flats) == len(scan.darks) == 10
    assert scan.angles is not None and scan.angles[-1] == pytest.approx(180, abs=1)
    assert scan.flats.mean().mean() > scan.frames[0].mean() > scan.darks.mean().mean()


def test_a_real_mosaic() -> None:
    if not TILES.exists():
        pytest.skip("the measured tiles are not beside the checkout")
    scan = open_scan(TILES)
    assert scan.grid == (2, 2) and scan.frames.shape == (4, 512, 512)
    assert scan.frames[0].mean() == pytest.approx(5561.4, abs=0.1)
