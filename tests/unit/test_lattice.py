r"""The blocks of a JPEG are found where they lie, and tiles are laid to them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from relume import Restorer, Settings, image
from relume.bundle import Bundle
from relume.tasks.edit import edit
from relume.tasks.invented import evidence
from relume.tasks.lattice import lead
from relume.tasks.progress import Moment
from relume.tasks.restore import Restoration

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "old-photograph.jpg"


def saved(picture: np.ndarray, quality: int) -> np.ndarray:
    """The same as it comes back from a JPEG."""
    with io.BytesIO() as file:
        PilImage.fromarray(np.rint(picture * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
        return np.asarray(PilImage.open(file).convert("RGB"), np.float32) / 255


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Something smooth with edges and a little grain, without blocks."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :340] / 100
    waves = 0.5 + 0.2 * np.sin(3 * y + np.cos(4 * x)) + 0.2 * (np.hypot(y - 1.4, x - 1.7) < 0.8)
    picture = waves[..., None] * [1.0, 0.9, 0.8] + rng.normal(0, 0.004, (300, 340, 3))
    return np.clip(picture, 0, 1).astype(np.float32)


@pytest.mark.parametrize("quality", [60, 80])
@pytest.mark.parametrize("cut", [(0, 0), (3, 6), (7, 1), (8, 16), (5, 0)])
def test_what_was_cut_off_is_known_by_the_blocks(
    scene: np.ndarray, cut: tuple[int, int], quality: int
) -> None:
    given = saved(scene, quality)[cut[0] :, cut[1] :]
    assert lead(given) == (cut[0] % 8, cut[1] % 8)
    grey = given.mean(axis=2, keepdims=True)
    assert lead(grey) == (cut[0] % 8, cut[1] % 8)


def test_no_blocks_are_seen_where_none_are(scene: np.ndarray) -> None:
    enlarged = PilImage.fromarray(np.rint(saved(scene, 60) * 255).astype(np.uint8)).resize((466, 411))
    flat, noise = np.full((90, 90, 3), 0.5, np.float32), np.random.default_rng(1).random((200, 200, 3))
    for picture in (
        scene,
        np.asarray(enlarged, np.float32) / 255,
        flat,
        noise.astype(np.float32),
        scene[:40],
    ):
        assert lead(picture[1:, 2:]) == (0, 0)


def test_a_cut_file_is_restored_as_the_whole_one(tiny_bundle: Bundle, scene: np.ndarray) -> None:
    """Away from the borders, where the tiles of both see the same: to what floats differ by."""
    model = Restorer(tiny_bundle.path, engine="onnx", precision="f32")
    settings = Settings(tone="keep", tile=64)
    whole = np.rint(saved(scene, 60) * 255).astype(np.uint8)
    seen: list[Moment] = []
    first = model.restore(image.from_array(whole), settings).image.pixels
    other = model.restore(image.from_array(whole[3:, 6:]), settings, observe=seen.append).image.pixels
    assert min(min(m.y, m.x) for m in seen) == 0
    for moment in seen:
        assert moment.clean.shape[0] == 64 - (3 if moment.y == 0 else 0)
        assert moment.clean.shape[1] == 64 - (6 if moment.x == 0 else 0)
    apart = np.abs(first[3:, 6:].astype(float) - other.astype(float))[64:-64, 64:-64]
    assert apart.shape[0] > 150 and apart.max() <= 1.01 / 255


def test_a_cut_file_is_judged_and_edited_as_the_whole_one(tiny_bundle: Bundle, scene: np.ndarray) -> None:
    """The map of what was invented and the edited region, where the tiles of both see the same."""
    model = Restorer(tiny_bundle.path, engine="pytorch", precision="f32", threads=1)
    settings = Settings(tone="keep", tile=64)
    whole = np.rint(saved(scene, 60) * 255).astype(np.uint8)
    mask = np.zeros(whole.shape[:2], np.float32)
    mask[150:162, 170:190] = 1
    misses, pictures = [], []
    for rows, columns in ((0, 0), (3, 6)):
        given, part = image.from_array(whole[rows:, columns:]), mask[rows:, columns:]
        nothing = np.zeros(part.shape, np.float32)
        done = Restoration(given, (given,), nothing, None, {}, 0)
        misses.append(evidence(model, given, done, settings).residual[3 - rows :, 6 - columns :])
        made = edit(model, given, part, fidelity=1.0).image.srgb()  # noise would lie by places of the picture
        pictures.append(made[3 - rows :, 6 - columns :])
    apart = np.abs(misses[0] - misses[1])[64:-64, 64:-64]
    assert misses[0].max() > 1e-3 and apart.max() < 1e-5
    assert np.abs(pictures[0] - whole[3:, 6:] / 255)[147:159, 164:184].max() > 0.01
    assert np.abs(pictures[0] - pictures[1]).max() < 1e-4


@pytest.mark.skipif(not EXAMPLE.is_file(), reason="the examples are not part of this copy")
def test_a_genuine_file_that_was_cut() -> None:
    pixels = image.read(EXAMPLE).srgb()
    assert lead(pixels) == (0, 0) and lead(pixels[3:, 6:]) == (3, 6)
