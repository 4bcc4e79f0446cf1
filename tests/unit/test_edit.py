r"""Editing: the region is made anew, and outside of it nothing changes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.bundle import Bundle
from relume.cli import main
from relume.errors import UsageError
from relume.image import Image
from relume.invert import naive_inversion
from relume.tasks import Restorer
from relume.tasks import edit as module
from relume.tasks.edit import edit
from relume.tasks.fill import fill

HEIGHT, WIDTH = 90, 110


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> Restorer:
    return Restorer(tiny_bundle.path, engine="pytorch", precision="f32", threads=1)


def picture(channels: int = 3) -> Image:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] / WIDTH
    smooth = np.stack([0.3 + 0.4 * rows, 0.2 + 0.5 * columns, 0.6 - 0.3 * rows], axis=-1)
    noisy = smooth + 0.02 * rng.standard_normal(smooth.shape)
    return Image(noisy[..., :channels].astype(np.float32))


def region() -> Any:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[40:52, 30:60] = 1
    mask[52, 30:60] = 0.5
    return mask


@pytest.mark.parametrize("channels", [1, 3])
def test_outside_every_pixel_keeps_its_value_and_inside_it_does_not(model: Restorer, channels: int) -> None:
    given, mask = picture(channels), region()
    made = edit(model, given, mask)
    np.testing.assert_array_equal(made.image.pixels[mask == 0], given.pixels[mask == 0])
    assert (made.image.pixels[mask > 0] != given.pixels[mask > 0]).mean() > 0.9


@pytest.fixture(scope="module")
def house() -> Image:
    """A part of the photograph that comes with relume."""
    whole = image.read(Path(__file__).parents[2] / "examples" / "house-clean.png")
    return whole.replace(pixels=whole.pixels[60 : 60 + HEIGHT, 80 : 80 + WIDTH].copy())


def test_a_trained_model_moves_the_background_by_two_levels_at_most(house: Image) -> None:
    trained = Restorer("photo", precision="f32", threads=1)
    made = edit(trained, house, region())
    assert made.background < 2 / 255 and made.residual < module.TOLERANCE


def test_naive_inversion_is_no_inversion_of_a_picture_that_the_net_would_change(
    house: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def naive(*args: Any, iterations: int, **kwargs: Any) -> Any:
        return naive_inversion(*args, **kwargs)

    trained = Restorer("photo", precision="f32", threads=1)
    noise = 0.03 * np.random.default_rng(0).standard_normal(house.pixels.shape).astype(np.float32)
    grainy = house.replace(pixels=np.clip(house.pixels + noise, 0, 1))
    exact = edit(trained, grainy, region())
    monkeypatch.setattr(module, "invert_sampler", naive)
    missed = edit(trained, grainy, region())
    assert missed.residual > 3 * exact.residual and missed.background > exact.background


def test_what_the_region_showed_is_forgotten(model: Restorer) -> None:
    given, mask = picture(), region()
    scratched = given.pixels.copy()
    scratched[mask == 1] = 1
    hard = np.where(mask == 1, np.float32(1), np.float32(0))
    one, two = (edit(model, each, hard) for each in (given, given.replace(pixels=scratched)))
    np.testing.assert_array_equal(one.image.pixels, two.image.pixels)


def test_a_condition_is_taken_over(model: Restorer) -> None:
    given, mask = picture(), region()
    dark = given.replace(pixels=given.pixels * np.float32(0.3))
    made = edit(model, given, mask, instead=dark, fidelity=1.0).image.pixels[mask == 1]
    near, far = (np.abs(made - each.pixels[mask == 1]).mean() for each in (dark, given))
    assert near < far / 2


def test_the_seed_decides_where_there_is_noise(model: Restorer) -> None:
    given, mask = picture(), region()
    pixels = [edit(model, given, mask, seed=seed).image.pixels for seed in (1, 1, 2)]
    np.testing.assert_array_equal(pixels[0], pixels[1])
    assert (pixels[0] != pixels[2]).any()
    calm = [edit(model, given, mask, seed=seed, fidelity=1.0).image.pixels for seed in (1, 2)]
    np.testing.assert_array_equal(calm[0], calm[1])


def test_what_means_nothing_is_refused(model: Restorer) -> None:
    given = picture()
    with pytest.raises(UsageError, match="black"):
        edit(model, given, np.zeros((HEIGHT, WIDTH), np.float32))
    with pytest.raises(UsageError, match="one size"):
        edit(model, given, np.ones((HEIGHT, WIDTH + 1), np.float32))
    with pytest.raises(UsageError, match="one size"):
        edit(model, given, region(), instead=replace(given, pixels=given.pixels[1:]))


def test_a_fill_keeps_what_is_kept_and_goes_on_smoothly() -> None:
    rows, columns = np.mgrid[0:41, 0:50].astype(np.float32) / 50
    ramp = np.stack([rows, 1 - columns, 0.5 + 0 * rows], axis=-1).astype(np.float32)
    keep = np.ones((41, 50), np.float32)
    keep[12:24, 20:35] = 0
    broken = np.where(keep[..., None] > 0, ramp, np.float32(9))
    made = fill(broken, keep)
    np.testing.assert_array_equal(made[keep == 1], ramp[keep == 1])
    # A ramp is harmonic; what is made of it must not leave the range around the hole.
    assert np.abs(made - ramp).max() < 0.06
    np.testing.assert_allclose(made[..., 2], 0.5, atol=1e-5)
    assert np.isfinite(fill(broken, np.zeros_like(keep))).all()


def test_the_command(tiny_bundle: Bundle, tmp_path: Path) -> None:
    photo, mask = tmp_path / "a.png", tmp_path / "mask.png"
    image.write(picture(), photo)
    hard = (region() == 1).astype(np.float32)
    image.write(Image(hard[..., None]), mask)
    where = ("--model", tiny_bundle.path, "--engine", "pytorch", "--threads", 1, "-q")
    words = ["edit", photo, "--mask", mask, *where]
    assert main([str(each) for each in words]) == 0
    before, after = image.read(photo).pixels, image.read(tmp_path / "a-edited.png").pixels
    np.testing.assert_array_equal(after[hard == 0], before[hard == 0])
    assert (after[hard == 1] != before[hard == 1]).any()
    assert main([str(each) for each in words]) == 2  # it is there
    assert main([str(each) for each in (*words, "-o", photo, "--overwrite")]) == 2  # it is the input
