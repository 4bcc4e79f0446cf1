r"""Xradia files: made here stream by stream, and a real one."""

import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from relume.errors import InconsistentScan, UnreadableImage, UnsupportedImage
from relume.scan import open_frames, open_scan, with_references

pytest.importorskip("olefile")
CHIP = Path(__file__).parents[3] / "shared" / "xray" / "xrm" / "test_chip00.xrm"
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def ole(streams: Mapping[str, bytes], *, gap: bool = False) -> bytes:
    """A compound file of storages one deep; with ``gap`` no two sectors of a stream follow each other."""
    body: list[bytes] = []
    fat: list[int] = []

    def put(data: bytes) -> int:
        count = -(-len(data) // 512)
        numbers = [len(body) + i * (2 if gap else 1) for i in range(count)]
        for i, number in enumerate(numbers):
            while len(body) < number:
                body.append(bytes(512))
                fat.append(FREE)
            body.append(data[i * 512 : (i + 1) * 512].ljust(512, b"\0"))
            fat.append(numbers[i + 1] if i + 1 < count else END)
        return numbers[0] if count else END

    folders: dict[str, dict[str, bytes]] = {}
    for name, data in streams.items():
        folder, leaf = name.split("/")
        folders.setdefault(folder, {})[leaf] = data
    entries: list[list[object]] = [["Root Entry", 5, FREE, FREE, 1, END, 0]]
    mini, minifat = b"", []
    at = 1
    for k, (folder, leaves) in enumerate(folders.items()):
        me = at
        right = me + 1 + len(leaves) if k + 1 < len(folders) else FREE
        entries.append([folder, 1, FREE, right, me + 1, 0, 0])
        for j, (leaf, data) in enumerate(leaves.items()):
            after = me + 2 + j if j + 1 < len(leaves) else FREE
            if len(data) >= 4096:
                start = put(data)
            else:
                start, count = len(minifat), -(-len(data) // 64)
                minifat += [start + i + 1 for i in range(count - 1)] + [END] * bool(count)
                mini += data.ljust(count * 64, b"\0")
            entries.append([leaf, 2, FREE, after, FREE, start, len(data)])
        at = me + 1 + len(leaves)
    entries[0][5:] = [put(mini), len(mini)]
    first_minifat = put(
        struct.pack(f"<{len(minifat)}I", *minifat).ljust(512 * -(-len(minifat) // 128), b"\xff")
    )
    table = b""
    for name, kind, left, right, child, start, size in entries:
        text = str(name).encode("utf-16-le") + b"\0\0"
        table += struct.pack(
            "<64sHBBIII16sIQQIQ", text, len(text), kind, 1, left, right, child, b"", 0, 0, 0, start, size
        )
    directory = put(table)
    sectors = -(-(len(body) + 1) // 127)
    start_fat = len(body)
    fat += [FAT] * sectors
    fat += [FREE] * (sectors * 128 - len(fat))
    difat = [start_fat + i for i in range(sectors)] + [FREE] * (109 - sectors)
    header = struct.pack(
        "<8s16sHHHHH6sIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, b"",
        0, sectors, directory, 0, 4096, first_minifat, -(-len(minifat) // 128), END, 0,
    )  # fmt: skip
    return header + struct.pack("<109I", *difat) + b"".join(body) + struct.pack(f"<{len(fat)}I", *fat)


def ints(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def frames(count: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, (count, height, width)).astype("<u2")


def streams(stack: np.ndarray, **info: bytes) -> dict[str, bytes]:
    """A file as the instrument writes it; ``info`` adds to or replaces what ImageInfo says."""
    facts = {
        "ImageWidth": ints(stack.shape[2]),
        "ImageHeight": ints(stack.shape[1]),
        "NoOfImages": ints(len(stack)),
        "DataType": ints(5 if stack.dtype.itemsize == 2 else 10),
        **info,
    }
    found = {f"ImageInfo/{name}": data for name, data in facts.items()}
    return found | {
        f"ImageData{i // 100 + 1}/Image{i + 1}": frame[::-1].tobytes() for i, frame in enumerate(stack)
    }


def save(path: Path, content: Mapping[str, bytes], **options: bool) -> Path:
    path.write_bytes(ole(content, **options))
    return path


@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
def test_frames_are_read_upright_and_metadata_comes_along(tmp_path: Path, dtype: str) -> None:
    stack = frames(3).astype(dtype)
    more = {
        "Angles": floats(-1, 0, 1),
        "Energy": floats(8048),
        "PixelSize": floats(0.0293),
        "ExpTimes": floats(60),
    }
    scan = open_scan(save(tmp_path / "a.txrm", streams(stack, HorizontalBin=ints(2), **more)))
    assert scan.frames.shape == stack.shape
    assert scan.frames[1].dtype == np.float32
    np.testing.assert_array_equal(scan.frames.stack(), stack)
    np.testing.assert_array_equal(scan.angles, [-1, 0, 1])
    assert (scan.energy, scan.exposure, scan.binning) == (8048, 60, 2)
    assert scan.pixel_size == pytest.approx(0.0293)
    assert scan.flats is None and scan.darks is None


def test_more_than_a_hundred_frames_lie_in_two_folders_and_slices_keep_their_order(tmp_path: Path) -> None:
    stack = frames(103, 2, 3)
    scan = open_scan(save(tmp_path / "a.txrm", streams(stack)))
    np.testing.assert_array_equal(scan.frames[100], stack[100])
    np.testing.assert_array_equal(scan.frames[-2], stack[-2])
    np.testing.assert_array_equal(scan.frames[101:2:-33].stack(), stack[101:2:-33])
    np.testing.assert_array_equal(scan.frames[10:20][3:5].stack(), stack[13:15])


def test_names_are_found_in_any_case(tmp_path: Path) -> None:
    stack = frames(1)
    content = {name.lower(): data for name, data in streams(stack, PixelSize=floats(0.5)).items()}
    scan = open_scan(save(tmp_path / "a.xrm", content))
    np.testing.assert_array_equal(scan.frames[0], stack[0])
    assert scan.pixel_size == 0.5


def test_every_stream_but_the_size_is_optional_and_unfilled_ones_say_nothing(tmp_path: Path) -> None:
    stack = frames(2)
    content = streams(stack, Angles=b"", Energy=floats(0), PixelSize=b"\0", ExpTimes=floats(math.nan))
    del content["ImageInfo/DataType"]
    scan = open_scan(save(tmp_path / "a.txrm", content))
    np.testing.assert_array_equal(scan.frames.stack(), stack)
    assert scan.angles is scan.energy is scan.pixel_size is scan.exposure is None


def test_a_stopped_scan_gives_the_frames_that_it_took(tmp_path: Path) -> None:
    stack = frames(5)
    info = {"NoOfImages": ints(181), "ImagesTaken": ints(5), "Angles": floats(*range(181))}
    scan = open_scan(save(tmp_path / "a.txrm", streams(stack, **info)))
    np.testing.assert_array_equal(scan.frames.stack(), stack)
    np.testing.assert_array_equal(scan.angles, range(5))
    content = streams(stack, **info) | {"ImageInfo/ImagesTaken": ints(7)}
    with pytest.raises(UnreadableImage, match="7 images were taken and holds 5"):
        open_scan(save(tmp_path / "b.txrm", content))


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("given", ["whole", "tile"])
def test_a_mosaic_is_cut_from_the_lower_left_x_fastest(tmp_path: Path, gap: bool, given: str) -> None:
    upright = frames(1, 2 * 20, 3 * 24)
    content = streams(upright, MosiacRows=ints(2), MosiacColumns=ints(3))
    if given == "tile":
        content |= {"ImageInfo/ImageWidth": ints(24), "ImageInfo/ImageHeight": ints(20)}
    scan = open_scan(save(tmp_path / "m.xrm", content, gap=gap))
    assert scan.grid == (2, 3) and scan.frames.shape == (6, 20, 24)
    np.testing.assert_array_equal(scan.frames[0], upright[0, 20:, :24])
    np.testing.assert_array_equal(scan.frames[4], upright[0, :20, 24:48])
    assert scan.positions is not None
    for tile, (y, x) in zip(scan.frames, scan.positions.astype(int), strict=True):
        np.testing.assert_array_equal(tile, upright[0, y : y + 20, x : x + 24])


def test_a_mosaic_that_cannot_be_cut_evenly_is_refused(tmp_path: Path) -> None:
    content = streams(frames(1, 40, 60), MosiacRows=ints(3), MosiacColumns=ints(3))
    with pytest.raises(InconsistentScan, match="cut into 3×3"):
        open_scan(save(tmp_path / "m.xrm", content))


def reference(flat: np.ndarray, *, binning: int = 2, exposure: float = 60) -> dict[str, bytes]:
    return {
        "ReferenceData/Image": flat[::-1].tobytes(),
        "ReferenceData/DataType": ints(5),
        "ReferenceData/Binning": ints(binning),
        "ReferenceData/ExpTime": floats(exposure),
    }


TAKEN = {"HorizontalBin": ints(2), "ExpTimes": floats(59.7)}


def test_the_reference_in_the_file_is_exposed_and_scaled_to_the_exposure(tmp_path: Path) -> None:
    stack, flat = frames(2), frames(1, seed=1)[0]
    scan = open_scan(save(tmp_path / "a.xrm", streams(stack, **TAKEN) | reference(flat)))
    assert scan.flats is not None
    np.testing.assert_array_equal(scan.flats.stack(), flat[None])
    assert scan.flat_scale == pytest.approx(59.7 / 60)


@pytest.mark.parametrize(
    ("other", "message"), [({"binning": 4}, "binning 4, its images 2"), ({"exposure": 20}, "exposed 20 s")]
)
def test_a_reference_of_another_binning_or_exposure_is_refused(
    tmp_path: Path, other: dict[str, float], message: str
) -> None:
    content = streams(frames(1), **TAKEN) | reference(frames(1)[0], **other)  # type: ignore[arg-type]
    path = save(tmp_path / "a.xrm", content)
    with pytest.raises(InconsistentScan, match=message) as caught:
        open_scan(path)
    assert str(path) in str(caught.value)
    alone = open_scan(path, references=False)
    assert alone.flats is None
    with pytest.raises(InconsistentScan, match=message):
        own = streams(frames(1), HorizontalBin=ints(2), ExpTimes=floats(60))
        own["ImageInfo/HorizontalBin"] = ints(int(other.get("binning", 2)))
        own["ImageInfo/ExpTimes"] = floats(other.get("exposure", 60))
        with_references(alone, flats=open_scan(save(tmp_path / "r.xrm", own)))


def test_frames_of_several_exposures_are_refused_where_a_reference_scales_them(tmp_path: Path) -> None:
    content = streams(frames(2), ExpTimes=floats(1, 2)) | reference(frames(1)[0], exposure=1)
    path = save(tmp_path / "a.txrm", content)
    with pytest.raises(InconsistentScan, match=r"1 to 2 s.*file of its own") as caught:
        open_scan(path)
    assert str(path) in str(caught.value)
    alone = open_scan(path, references=False)
    np.testing.assert_array_equal(alone.exposures, [1, 2])
    flats = open_scan(save(tmp_path / "r.xrm", streams(frames(1))))  # says nothing of its exposure
    with pytest.raises(InconsistentScan, match="1 to 2 s"):
        with_references(alone, flats=flats)
    assert with_references(alone, flats=flats, stale=True).flat_scale == 1
    done = save(tmp_path / "done.txrm", content | {"ImageInfo/OriginalDataRefCorrected": ints(1)})
    assert open_scan(done).corrected


def test_a_reference_of_another_day_is_not_compared(tmp_path: Path) -> None:
    scan = open_scan(save(tmp_path / "a.xrm", streams(frames(1), **TAKEN)))
    flats = open_scan(
        save(tmp_path / "r.xrm", streams(frames(1), HorizontalBin=ints(4), ExpTimes=floats(20)))
    )
    with pytest.raises(InconsistentScan):
        with_references(scan, flats=flats)
    assert with_references(scan, flats=flats, stale=True).flat_scale == 1


def test_exposures_that_differ_as_shutters_do_are_scaled_by_their_mean(tmp_path: Path) -> None:
    times = floats(59.8, 60.1, 59.8, 0, 7)  # the scan was stopped after three
    content = streams(frames(3), ExpTimes=times) | reference(frames(1)[0])
    scan = open_scan(save(tmp_path / "a.txrm", content))
    assert scan.exposure == pytest.approx(59.9) and scan.flat_scale == pytest.approx(59.9 / 60)


def test_a_file_as_a_reference_gives_the_one_that_lies_in_it(tmp_path: Path) -> None:
    flat = frames(1, seed=1)[0]
    content = streams(frames(2), **TAKEN) | reference(flat, binning=4, exposure=20)  # not of these images
    path = save(tmp_path / "a.txrm", content)
    found = open_frames(path, "flats")
    np.testing.assert_array_equal(found.frames.stack(), flat[None])
    assert (found.own, found.exposure, found.binning) == (True, 20, 4)
    with pytest.raises(UnreadableImage, match=r"a\.txrm.*no dark ones"):
        open_frames(path, "darks")
    plain = save(tmp_path / "b.xrm", streams(frames(2), **TAKEN))
    for role in ("flats", "darks"):
        found = open_frames(plain, role)
        np.testing.assert_array_equal(found.frames.stack(), frames(2))
        assert (found.own, found.binning) == (False, 2) and found.exposure == pytest.approx(59.7)
    (tmp_path / "tiles").mkdir()
    for name in "12":
        save(tmp_path / "tiles" / f"{name}.xrm", streams(frames(1)) | reference(flat))
    np.testing.assert_array_equal(open_frames(tmp_path / "tiles", "flats").frames[0], flat)


def test_a_frame_that_cannot_be_read_any_more_is_told_with_its_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.txrm", streams(frames(3)))
    scan = open_scan(path)
    save(path, streams(frames(2)))
    with pytest.raises(UnreadableImage, match=r"a\.txrm: frame 3: "):
        scan.frames[1:].stack()


def test_a_reference_of_another_size_is_refused(tmp_path: Path) -> None:
    content = streams(frames(1), **TAKEN) | reference(frames(1, 24, 32)[0])
    with pytest.raises(InconsistentScan, match="another binning or is truncated"):
        open_scan(save(tmp_path / "a.xrm", content))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ImageInfo/DataType": ints(3)}, UnsupportedImage, "data type 3"),
        ({"ImageInfo/ImageWidth": ints(0)}, UnreadableImage, "how wide"),
        ({"ImageData1/Image1": bytes(4200)}, UnreadableImage, "4200 bytes instead of 6144"),
        ({"ImageData1/Image1": b""}, UnreadableImage, "no image stream"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, change: dict[str, bytes], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_scan(save(tmp_path / "a.xrm", streams(frames(1)) | change))


@pytest.mark.parametrize("keep", [0.05, 0.4, 0.8])
def test_a_truncated_file_is_refused_before_any_number_of_it_is_used(tmp_path: Path, keep: float) -> None:
    whole = ole(streams(frames(2)))
    path = tmp_path / "a.txrm"
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(UnreadableImage):
        open_scan(path).frames.stack()


def test_a_real_file_with_its_reference() -> None:
    if not CHIP.exists():
        pytest.skip("the measured .xrm is not beside the checkout")
    scan = open_scan(CHIP)
    assert scan.frames.shape == (1, 512, 512) and scan.binning == scan.flat_binning == 4
    assert scan.flats is not None
    assert scan.frames[0].mean() == pytest.approx(42.7, abs=0.1)
    assert scan.flats.mean().mean() == pytest.approx(297.5, abs=0.1)
    assert scan.energy == pytest.approx(7191, abs=1) and scan.pixel_size == pytest.approx(0.0779, abs=1e-4)
    assert scan.facts["IonChamberCurrent"] == 343 and not scan.corrected
    # The stored rows run upwards: the last row of the stream is the first one here.
    data = CHIP.read_bytes()
    assert data.find(scan.frames.raw(0)[-1].tobytes()) < data.find(scan.frames.raw(0)[0].tobytes())
