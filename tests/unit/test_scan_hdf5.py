r"""HDF5 files as they are met: links, damage, and references that are empty, alone, or of another size."""

from pathlib import Path

import numpy as np
import pytest

from relume.errors import InconsistentScan, UnreadableImage
from relume.scan import open_frames, open_scan, with_references

h5py = pytest.importorskip("h5py")


def stack(count: int = 4, height: int = 6, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60000, (count, height, width)).astype(np.uint16)


def exchange(path: Path, **data: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[f"exchange/{name}"] = values
    return path


def nxtomo(path: Path, data: object, keys: list[int], **more: object) -> Path:
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        detector = entry.create_group("instrument/detector")
        detector["data"], detector["image_key"] = data, np.array(keys)
        for name, values in more.items():
            detector[name] = values
    return path


@pytest.mark.parametrize("kind", ["exchange", "nxtomo"])
def test_frames_behind_a_link_to_another_file(tmp_path: Path, kind: str) -> None:
    data = stack()
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["some/where"] = data
    link = h5py.ExternalLink("frames.h5", "/some/where")
    if kind == "exchange":
        scan = open_scan(exchange(tmp_path / "a.h5", data=link))
    else:
        scan = open_scan(nxtomo(tmp_path / "a.nxs", link, [0, 0, 0, 1]))
        assert scan.flats is not None
        np.testing.assert_array_equal(scan.flats[0], data[3])
    np.testing.assert_array_equal(scan.frames.stack(), data[: len(scan.frames)])


def test_a_damaged_frame_is_told_with_its_file_and_number(tmp_path: Path) -> None:
    data, path = stack(3, 60, 60), tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("exchange/data", data=data, chunks=(1, 60, 60), compression="gzip")
        at = made.id.get_chunk_info(1).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[at + 5 : at + 400] = b"\xff" * 395
    path.write_bytes(damaged)
    frames = open_scan(path).frames
    np.testing.assert_array_equal(frames[2], data[2])
    with pytest.raises(UnreadableImage, match=r"a\.h5: /exchange/data: frame 2: truncated or damaged"):
        frames.mean()


@pytest.mark.parametrize("name", ["data_white", "data_dark"])
def test_an_empty_stack_of_references_is_none(tmp_path: Path, name: str) -> None:
    path = exchange(tmp_path / "a.h5", data=stack(), **{name: np.zeros((0, 6, 8), np.uint16)})
    scan = open_scan(path)
    assert scan.flats is scan.darks is None
    np.testing.assert_array_equal(open_frames(path, "flats").frames.stack(), stack())


@pytest.mark.parametrize("unit", [b"rad", np.bytes_(b"radians"), "Radian", ["rad"]])
def test_angles_in_radians_however_the_unit_is_stored(tmp_path: Path, unit: object) -> None:
    path = exchange(tmp_path / "a.h5", data=stack(), theta=np.linspace(0, np.pi, 4))
    with h5py.File(path, "a") as file:
        file["exchange/theta"].attrs["units"] = unit
    np.testing.assert_allclose(open_scan(path).angles, [0, 60, 120, 180])


@pytest.mark.parametrize("count", [3, 9])
def test_angles_of_unknown_frames_are_left_out(tmp_path: Path, count: int) -> None:
    scan = open_scan(exchange(tmp_path / "a.h5", data=stack(), theta=np.zeros(count)))
    assert scan.angles is None and f"{count} angles for 4 frames" in scan.facts["exchange/theta"]
    np.testing.assert_array_equal(scan.frames.stack(), stack())
    path = nxtomo(tmp_path / "a.nxs", stack(), [0, 0, 0, 1])
    with h5py.File(path, "a") as file:
        file["entry/sample/rotation_angle"] = np.zeros(count + 2)
    assert open_scan(path).angles is None


def test_files_of_references_alone(tmp_path: Path) -> None:
    flats = stack(3, seed=1)
    white = exchange(tmp_path / "white.h5", data_white=flats)
    keyed = nxtomo(tmp_path / "keyed.nxs", flats, [1, 1, 1], count_time=np.array([1.0, 2.0, 3.0]))
    for path, exposure in ((white, None), (keyed, 2)):
        found = open_frames(path, "flats")
        np.testing.assert_array_equal(found.frames.stack(), flats)
        assert found.own and found.exposure == exposure
        with pytest.raises(UnreadableImage, match="flat frames and no dark"):
            open_frames(path, "darks")
        with pytest.raises(UnreadableImage, match="only be used as a reference"):
            open_scan(path)
    dark = exchange(tmp_path / "dark.h5", data_dark=flats)
    np.testing.assert_array_equal(open_frames(dark, "darks").frames.stack(), flats)
    with pytest.raises(UnreadableImage):
        open_frames(dark, "flats")


def test_a_file_as_a_reference_gives_what_it_marks_and_else_its_frames(tmp_path: Path) -> None:
    data, flats, darks = stack(), stack(2, seed=1), stack(1, seed=2)
    whole = exchange(tmp_path / "whole.h5", data=data, data_white=flats[:, :3], data_dark=darks)
    assert open_frames(whole, "flats").frames.shape == (2, 3, 8)  # need not fit what else is in the file
    np.testing.assert_array_equal(open_frames(whole, "darks").frames.stack(), darks)
    plain = exchange(tmp_path / "plain.h5", data=data)
    for role in ("flats", "darks"):
        found = open_frames(plain, role)
        np.testing.assert_array_equal(found.frames.stack(), data)
        assert not found.own
    with pytest.raises(UnreadableImage, match=r"none\.h5"):
        open_frames(tmp_path / "none.h5", "flats")


def test_references_of_files_take_the_place_of_those_of_a_scan(tmp_path: Path) -> None:
    scan = open_scan(nxtomo(tmp_path / "a.nxs", stack(), [0] * 4, count_time=np.full(4, 2.02)))
    other = nxtomo(tmp_path / "b.nxs", stack(3, seed=1), [0, 1, 2], count_time=np.array([5.0, 2.0, 5.0]))
    flats, darks = open_frames(other, "flats"), open_frames(other, "darks")
    both = with_references(scan, flats=flats, darks=darks)
    assert both.flats is flats.frames and both.darks is darks.frames
    assert both.flat_scale == pytest.approx(1.01)


def test_darks_stay_where_flats_do_not_fit(tmp_path: Path) -> None:
    data, darks = stack(), stack(2, seed=2)
    path = exchange(tmp_path / "a.h5", data=data, data_white=stack(1, 3, 4), data_dark=darks)
    with pytest.raises(InconsistentScan, match="flat frames are 4×3"):
        open_scan(path)
    scan = open_scan(path, references="darks")
    assert scan.flats is None and scan.darks is not None
    np.testing.assert_array_equal(scan.darks.stack(), darks)
    with pytest.raises(InconsistentScan):
        open_scan(path, references="flats")
    keyed = nxtomo(tmp_path / "a.nxs", data, [0, 0, 1, 2], count_time=np.array([1.0, 1.0, 3.0, 1.0]))
    with pytest.raises(InconsistentScan, match="exposed 3 s, its images 1 s"):
        open_scan(keyed)
    kept = open_scan(keyed, references="darks")
    assert kept.flats is None and kept.darks is not None and len(kept.darks) == 1


def test_exposures_of_an_nxtomo_are_those_of_each_kind(tmp_path: Path) -> None:
    times = np.array([9.0, 2.0, 2.02, 2.02, 0.0])
    path = nxtomo(tmp_path / "a.nxs", stack(5), [2, 1, 0, 0, 2], count_time=times)
    scan = open_scan(path)
    assert scan.exposure == pytest.approx(2.02) and scan.flat_scale == pytest.approx(1.01)
    path = nxtomo(tmp_path / "b.nxs", stack(3), [1, 0, 0], count_time=np.array([1.0, 1.0, 2.0]))
    with pytest.raises(InconsistentScan, match="1 to 2 s"):
        open_scan(path)
