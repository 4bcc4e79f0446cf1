r"""The embedded photo bundle does what its card and the README say, on photographs it has not seen."""

from pathlib import Path

import numpy as np
import pytest

from relume import Restorer, Settings, bundle, image
from relume.bench.quality import psnr, ssim
from relume.degrade import recipe

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PHOTOS = ROOT.parent / "shared" / "photos" / "val"
OLD = ROOT.parent / "shared" / "photos" / "old"


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer("photo", precision="f32")


def colour(picture: np.ndarray) -> np.ndarray:
    return picture if picture.shape[2] == 3 else picture.repeat(3, axis=2)


def test_the_files_are_those_of_the_card() -> None:
    found = bundle.find("photo")
    found.verify()
    assert sum(path.stat().st_size for path in found.path.iterdir()) < 30e6
    card = found.card
    for key in ("title", "description", "licence", "precisions", "parity", "schedule", "tile", "steps"):
        assert card.get(key), key
    for key in ("data", "licence", "seed", "commit", "local", "tone", "shading"):
        assert key in card["training"], key
    assert card["quality"], "a card without measured quality"


def test_one_file_of_weights_serves_every_graph() -> None:
    found = bundle.find("photo")
    assert {value.dtype for value in found.tensors().values()} == {np.dtype(np.float16)}
    weights = (found.path / bundle.WEIGHTS).stat().st_size
    for name in found.card["graphs"]:
        assert found.graph(name).stat().st_size < weights / 10


def test_engines_agree_on_a_real_photograph(restorer: Restorer) -> None:
    damaged = image.read(EXAMPLES / "house-damaged.png")
    want = restorer.restore(damaged).image.pixels
    for engine in ("onnx", "pytorch"):
        got = Restorer("photo", engine=engine, precision="f32").restore(damaged).image.pixels
        assert psnr(got, want) > 60


def test_the_bundled_example_comes_back(restorer: Restorer) -> None:
    clean = colour(image.read(EXAMPLES / "house-clean.png").pixels)
    damaged = image.read(EXAMPLES / "house-damaged.png")
    restored = colour(restorer.restore(damaged).image.pixels)
    assert psnr(restored, clean) > psnr(colour(damaged.pixels), clean) + 2
    assert ssim(restored, clean) > ssim(colour(damaged.pixels), clean) + 0.1


@pytest.mark.quality
def test_lost_contrast_comes_back(restorer: Restorer) -> None:
    """Flat photographs whose damage no recipe of relume's drew."""
    if not PHOTOS.is_dir():
        pytest.skip("the validation photographs are not beside this checkout")
    gains = []
    for path in sorted(PHOTOS.glob("*"))[::8]:
        clean = colour(image.read(path).pixels)
        flat = (0.2 + 0.55 * clean).astype(np.float32)
        gains.append(psnr(restorer.restore(image.from_array(flat)).image.pixels, clean) - psnr(flat, clean))
    assert np.mean(gains) > 4, f"{np.mean(gains):+.2f} dB"
    assert np.quantile(gains, 0.1) > 0, "a tenth of the photographs lost by it"


@pytest.mark.quality
def test_light_that_falls_off_comes_back(restorer: Restorer) -> None:
    """Of a wide lens, by the fourth power of a cosine, which no recipe of relume's draws."""
    if not PHOTOS.is_dir():
        pytest.skip("the validation photographs are not beside this checkout")
    gains, kept = [], []
    for path in sorted(PHOTOS.glob("*"))[::8]:
        clean = colour(image.read(path).pixels)
        v, u = (np.linspace(-1, 1, n) for n in clean.shape[:2])
        dark = (clean / (1 + 0.4 * (v[:, None] ** 2 + u**2))[..., None] ** 2).astype(np.float32)
        for settings, found in ((Settings(), gains), (Settings(shading="keep"), kept)):
            restored = restorer.restore(image.from_array(dark), settings).image.pixels
            found.append(psnr(restored, clean) - psnr(dark, clean))
    assert np.mean(gains) > np.mean(kept) + 1.5, f"{np.mean(gains):+.2f}, kept {np.mean(kept):+.2f} dB"
    assert np.quantile(np.subtract(gains, kept), 0.1) > -0.5, "a tenth of the photographs lost by it"


@pytest.mark.quality
def test_held_out_photographs_come_back(restorer: Restorer) -> None:
    if not PHOTOS.is_dir():
        pytest.skip("the validation photographs are not beside this checkout")
    before, after, kept = [], [], []
    for number, path in list(enumerate(sorted(PHOTOS.glob("*"))))[::4]:
        clean = colour(image.read(path).pixels)
        damaged = recipe("old-photo")(clean, np.random.default_rng(1000 + number)).picture
        restored = restorer.restore(image.from_array(damaged)).image.pixels
        before.append((min(psnr(damaged, clean), 50), ssim(damaged, clean)))
        after.append((min(psnr(restored, clean), 50), ssim(restored, clean)))
        kept.append(psnr(restorer.restore(image.from_array(clean)).image.pixels, clean))
    gain = np.mean(after, axis=0) - np.mean(before, axis=0)
    assert gain[0] > 2 and gain[1] > 0.1, f"PSNR {gain[0]:+.2f} dB, SSIM {gain[1]:+.3f}"
    assert np.median(kept) > 28, f"clean photographs come back at {np.median(kept):.1f} dB"


@pytest.mark.quality
def test_genuine_old_photographs_keep_their_size_and_stay_pictures(restorer: Restorer) -> None:
    if not OLD.is_dir():
        pytest.skip("the genuine old photographs are not beside this checkout")
    for path in sorted(OLD.iterdir())[:3]:
        given = image.read(path)
        result = restorer.restore(given)
        assert result.image.pixels.shape == given.pixels.shape
        assert np.isfinite(result.image.pixels).all()
        assert 0 < result.mask.mean() < 0.3  # damage was seen, and not everywhere
