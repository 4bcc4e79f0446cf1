r"""Photographs on disk: found, split by what they show, and cropped."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

pytest.importorskip("torch")
pytest.importorskip("accelerate")

from relume.errors import TrainingError
from relume.train.photos import Photos, find_photos, is_utkface, split_photos


def touch(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(pixels).save(path, **options)
    return path


def utkface(count: int) -> list[Path]:
    """Names as the data set has them, a few of them as badly made as some of its own."""
    rng = np.random.default_rng(0)
    who = [f"{rng.integers(1, 117)}_{rng.integers(2)}_{rng.integers(5)}" for _ in range(count - 3)]
    names = [f"{who[i]}_2017{i:013d}.jpg{'' if i % 2 else '.chip.jpg'}" for i in range(count - 3)]
    return [
        Path("faces") / n
        for n in [*names, "61_1_201701.jpg", "39_1_20170116174525125.jpg.chip.jpg", "1__2.jpg"]
    ]


# --- finding ---------------------------------------------------------------------------------------------


def test_all_pictures_below_are_found_in_order_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, ["b.JPG", "a.png", "deep/er/c.webp", "notes.txt", ".hidden.jpg", "deep/._c.jpg", "jpg"])
    assert [p.relative_to(tmp_path).as_posix() for p in find_photos(tmp_path)] == [
        "a.png",
        "b.JPG",
        "deep/er/c.webp",
    ]


def test_excluded_prefixes_are_left_out_by_name_not_by_folder(tmp_path: Path) -> None:
    touch(
        tmp_path,
        ["vvrec_1_0.webp", "vvbio_2_0.webp", "vvold_3_0.webp", "vvrec_folder/fsa_1.webp", "a_vvrec_.webp"],
    )
    found = {p.name for p in find_photos(tmp_path, exclude=("vvrec_", "vvbio_"))}
    assert found == {"vvold_3_0.webp", "fsa_1.webp", "a_vvrec_.webp"}
    assert len(find_photos(tmp_path)) == 5


def test_nothing_to_learn_from_is_an_error_with_the_folder_in_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not a folder"):
        find_photos(tmp_path / "missing")
    touch(tmp_path, ["x_1.txt"])
    with pytest.raises(TrainingError, match="no photographs"):
        find_photos(tmp_path)
    touch(tmp_path, ["vv_1.jpg"])
    with pytest.raises(TrainingError, match="no photographs"):
        find_photos(tmp_path, exclude=("vv_",))


# --- splitting -------------------------------------------------------------------------------------------


def test_utkface_is_known_by_its_names() -> None:
    assert is_utkface(utkface(1000))
    assert not is_utkface([Path(f"IMG_{i:04d}.jpg") for i in range(100)])
    assert not is_utkface([Path(f"iface_{i}_b.webp") for i in range(100)])
    assert not is_utkface([])


def test_utkface_is_split_as_the_original_system_split_it() -> None:
    files = utkface(23_708)
    training, held = split_photos(files)
    assert (len(training), len(held)) == (16_595, 7_113)
    assert set(training) | set(held) == set(files)
    assert not set(training) & set(held)


def crops(photographs: int, each: Sequence[str] = ("0", "1", "2")) -> list[Path]:
    return [Path(f"src_photo-{i}_{crop}.webp") for i in range(photographs) for crop in each]


def photograph(path: Path) -> str:
    return path.stem.rsplit("_", 1)[0]


@pytest.mark.parametrize("count", [2, 3, 40, 1000])
def test_no_photograph_is_on_both_sides(count: int) -> None:
    files = crops(count)
    training, held = split_photos(files)
    assert sorted([*training, *held]) == sorted(files)
    assert not {photograph(p) for p in training} & {photograph(p) for p in held}
    assert training and held
    assert len(held) <= max(len(files) // 20, 1) + 2 and len(held) <= 64 + 2


@pytest.mark.parametrize("pattern", ["IMG_{:04d}.jpg", "DSC_{:05d}.JPG", "{:04d}.png", "2020_{}.jpg"])
def test_a_cameras_numbering_is_no_photograph(pattern: str) -> None:
    """Hundreds of files under one name are not crops of one picture: some of them are held out."""
    files = [Path(pattern.format(i)) for i in range(400)]
    training, held = split_photos(files)
    assert len(held) == 20 and len(training) == 380


def test_mixed_folders_hold_out_a_few_and_not_a_whole_camera() -> None:
    for first in range(0, 5000, 1000):
        files = [*(Path(f"IMG_{i}.jpg") for i in range(first, first + 500)), *crops(20)]
        assert 28 <= len(split_photos(files)[1]) <= 30


def test_names_alone_decide_and_neither_order_nor_folder() -> None:
    files = crops(60)
    shuffled = [files[i] for i in np.random.default_rng(1).permutation(len(files))]
    assert split_photos(files) == split_photos(shuffled)
    elsewhere = split_photos([Path("/elsewhere") / path for path in files])
    assert [[path.name for path in side] for side in elsewhere] == [
        [path.name for path in side] for side in split_photos(files)
    ]
    assert split_photos(files)[1] != files[: len(split_photos(files)[1])], (
        "they are drawn, not the first ones"
    )


@pytest.mark.parametrize("left_out", [0, 30, 300])
def test_a_stage_with_fewer_photographs_learns_from_none_that_were_held_out(
    left_out: int,
) -> None:
    files = crops(400)
    held = set(split_photos(files)[1])
    assert not held & set(split_photos(files[left_out:])[0])


def test_an_only_photograph_is_learnt_from() -> None:
    assert split_photos([Path("a_0.jpg"), Path("a_1.jpg")]) == ([Path("a_0.jpg"), Path("a_1.jpg")], [])


# --- reading and cropping --------------------------------------------------------------------------------


def test_photographs_are_reduced_to_their_short_side_and_never_enlarged(tmp_path: Path) -> None:
    files = [
        save(tmp_path / f"{i}.png", np.zeros(s, np.uint8))
        for i, s in enumerate([(60, 90, 3), (20, 30), (40, 40, 4)])
    ]
    photos = Photos(files, side=30)
    assert [p.shape for p in photos.pictures] == [(30, 45, 3), (20, 30, 3), (30, 30, 3)]
    assert all(p.dtype == np.uint8 for p in photos.pictures)
    assert len(photos) == 3


def test_photographs_stand_upright(tmp_path: Path) -> None:
    exif = PilImage.Exif()
    exif[0x0112] = 6  # the camera was turned: the first column holds the top
    path = save(tmp_path / "a.png", np.zeros((20, 40, 3), np.uint8), exif=exif)
    assert Photos([path]).pictures[0].shape == (40, 20, 3)


def test_files_that_cannot_be_read_are_left_out_and_listed(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    empty, cut = tmp_path / "empty.jpg", tmp_path / "cut.png"
    empty.touch()
    cut.write_bytes(good.read_bytes()[:200])
    photos = Photos([empty, good, cut])
    assert photos.files == [good]
    assert photos.unreadable == [empty, cut]
    assert len(photos) == 1


@pytest.fixture
def ramp(tmp_path: Path) -> Photos:
    """One photograph that tells where each of its pixels came from."""
    rows, columns = np.mgrid[0:60, 0:80]
    pixels = np.stack([columns * 3, rows * 4, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    return Photos([save(tmp_path / "ramp.png", pixels)])


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("size", [1, 16, 60, 100])
def test_crops_have_the_size_asked_for(ramp: Photos, size: int, whole: bool) -> None:
    for seed in range(10):
        crop = ramp.crop(size, np.random.default_rng(seed), whole=whole)
        assert crop.shape == (size, size, 3) and crop.dtype == np.float32
        assert crop.min() >= 0 and crop.max() <= 1


def test_crops_are_of_one_piece_at_several_scales_and_mirrored_half_of_the_time(ramp: Photos) -> None:
    steps, mirrored, places = [], [], set()
    for seed in range(300):
        crop = ramp.crop(16, np.random.default_rng(seed)) * 255
        across, down = (
            np.diff(crop[4:-4, 4:-4, 0], axis=1).mean() / 3,
            np.diff(crop[4:-4, 4:-4, 1], axis=0).mean() / 4,
        )
        assert down > 0 and abs(across) == pytest.approx(down, rel=0.12)
        steps.append(down)
        mirrored.append(across < 0)
        places.add(round(float(crop[0, 0, 1])))
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.12)
    assert np.mean(np.isclose(steps, 1)) == pytest.approx(0.5, abs=0.12)
    assert max(steps) > 3
    assert len(places) > 20


def test_whole_takes_most_of_the_photograph(ramp: Photos) -> None:
    scales = [
        np.diff(ramp.crop(16, np.random.default_rng(s), whole=True)[4:-4, 8, 1]).mean() * 255 / 4
        for s in range(60)
    ]
    assert min(scales) * 16 >= 0.65 * 60 and max(scales) * 16 <= 1.05 * 60


@pytest.mark.parametrize("zoom", [1.5, 2.0, 3.0, 100.0])
def test_an_enlarged_crop_is_as_much_smoother(ramp: Photos, zoom: float) -> None:
    for seed in range(10):
        crop = ramp.crop(24, np.random.default_rng(seed), zoom=zoom) * 255
        assert crop.shape == (24, 24, 3)
        down = np.diff(crop[4:-4, 4:-4, 1], axis=0).mean() / 4
        assert down == pytest.approx(max(1, round(24 / zoom)) / 24 if zoom < 24 else 0, abs=0.03)


def test_the_same_seed_crops_the_same(ramp: Photos) -> None:
    one, two = (ramp.crop(24, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_photograph_of_one_pixel_is_one(tmp_path: Path) -> None:
    photos = Photos([save(tmp_path / "dot.png", np.full((1, 1, 3), 255, np.uint8))])
    for seed in range(6):
        assert photos.crop(8, np.random.default_rng(seed), whole=True).min() == 1
