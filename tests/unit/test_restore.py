r"""The restore task: what holds whatever the model says."""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

import relume
from relume import Restorer, Settings, image
from relume.bundle import Bundle
from relume.errors import BundleNotFound, EngineUnavailable, OutOfMemory, UsageError
from relume.tasks.detail import BANDS, Detail, features
from relume.tasks.field import noise_at
from relume.tasks.finish import mask_from, weight_of
from relume.tasks.local import Job, Local
from relume.tasks.progress import Moment
from relume.tasks.restore import needed_bytes
from relume.tasks.steps import one_by_one
from relume.tasks.tone import (
    LUMA,
    RICHEST,
    ToneTransform,
    apply_transform,
    cautious,
    colour,
    thumbnail,
    tinted,
)
from relume.tiles import grid

SIZES = [(1, 1), (5, 300), (64, 64), (65, 63), (150, 131)]


def levels(height: int, width: int, channels: int = 3, *, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> Restorer:
    return Restorer(tiny_bundle.path, engine="openvino", precision="f32", threads=1)


@pytest.fixture(scope="module")
def null(tiny_bundle: Bundle) -> Restorer:
    return Restorer(tiny_bundle.path, engine="null")


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_identity_net_changes_no_pixel(null: Restorer, height: int, width: int, channels: int) -> None:
    given = levels(height, width, channels)
    np.testing.assert_array_equal(null(given), given)


def test_an_identity_net_changes_no_16_bit_pixel(null: Restorer) -> None:
    given = np.random.default_rng(0).integers(0, 65536, (70, 90, 3), dtype=np.uint16)
    np.testing.assert_array_equal(null(given), given)


def test_an_identity_net_changes_no_pixel_in_a_chain_without_noise(null: Restorer) -> None:
    given = levels(70, 90)
    for steps in (2, 3, 4):
        np.testing.assert_array_equal(null(given, steps=steps), given)


def test_the_same_kind_comes_back(model: Restorer, tmp_path: Path) -> None:
    given = levels(40, 50)
    path = tmp_path / "a.png"
    PilImage.fromarray(given).save(path)
    from_array = model(given)
    assert from_array.dtype == np.uint8 and from_array.shape == given.shape
    from_pil = model(PilImage.fromarray(given))
    assert isinstance(from_pil, PilImage.Image) and from_pil.mode == "RGB"
    from_bytes = model(path.read_bytes())
    assert from_bytes[:8] == b"\x89PNG\r\n\x1a\n"
    from_path = model(path)
    assert isinstance(from_path, image.Image)
    for other in (np.asarray(from_pil), image.to_array(image.read(from_bytes), given)):
        np.testing.assert_array_equal(other, from_array)
    np.testing.assert_array_equal(image.to_array(from_path, given), from_array)
    floats = model(given.astype(np.float32) / 255)
    assert floats.dtype == np.float32 and np.abs(floats - from_array / 255).max() <= 0.5 / 255 + 1e-6


def test_strength_goes_from_the_picture_to_the_restored_one(model: Restorer) -> None:
    given = levels(40, 50).astype(np.float32) / 255
    full, half, none = (model(given, strength=s) for s in (1.0, 0.5, 0.0))
    np.testing.assert_array_equal(none, given)
    np.testing.assert_allclose(half, (full + given) / 2, atol=2e-3)
    with pytest.raises(UsageError, match="strength"):
        Settings(strength=1.5)
    with pytest.raises(UsageError, match="keep, revive, neutral"):
        Settings(tone="sepia")  # type: ignore[arg-type]


def test_the_net_does_change_the_picture(model: Restorer) -> None:
    given = levels(40, 50)
    assert (model(given) != given).any()


def test_grey_stays_grey(model: Restorer) -> None:
    one = levels(50, 60, 1)
    assert model(one).shape == one.shape
    three = model(np.repeat(one[..., None], 3, axis=2))
    assert (np.ptp(three.astype(int), axis=2) == 0).all()


def test_alpha_is_kept(model: Restorer) -> None:
    given = levels(40, 50, 4)
    np.testing.assert_array_equal(model(given)[..., 3], given[..., 3])


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(model: Restorer) -> None:
    given = levels(100, 90)
    first, again, other = (model(given, fidelity=0.2, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_picture_does_not_depend_on_those_before_it(model: Restorer) -> None:
    first, second = levels(100, 90), levels(80, 70, seed=1)
    alone = model(first, fidelity=0.2)
    model(second)
    np.testing.assert_array_equal(model(first, fidelity=0.2), alone)


def test_one_step_may_start_with_noise(model: Restorer) -> None:
    given = levels(60, 50)
    alone = model(given, fidelity=0.2, steps=1, seed=3)
    np.testing.assert_array_equal(alone, model(given, fidelity=0.2, steps=1, seed=3))
    assert not np.array_equal(alone, model(given, fidelity=0.2, steps=1, seed=4))


@pytest.mark.parametrize("fidelity", [1.0, 0.3])
def test_tiles_leave_no_seams(model: Restorer, fidelity: float) -> None:
    """A smooth picture through many tiles and through one large tile: the same away from rounding."""
    y, x = np.mgrid[0:128, 0:128] / 128
    smooth = np.stack([x, y, (x + y) / 2], axis=2).astype(np.float32)
    settings = Settings(fidelity=fidelity, mask="none")
    whole = model.restore(image.from_array(smooth), replace(settings, tile=128)).image.pixels
    tiled = model.restore(image.from_array(smooth), replace(settings, tile=64)).image.pixels
    assert np.abs(whole - tiled).max() < 2 / 255


def test_preserve_keeps_what_is_far_from_the_damage(model: Restorer) -> None:
    given = image.from_array(levels(80, 80))
    mask = np.zeros((80, 80), np.float32)
    mask[30:34, 40:44] = 1
    settings = Settings(preserve=True, tone="keep")
    kept = model.restore(given, settings, mask=mask).image.pixels
    free = model.restore(given, replace(settings, preserve=False), mask=mask).image.pixels
    far = np.ones((80, 80), bool)
    far[24:40, 34:50] = False
    np.testing.assert_array_equal(kept[far], given.pixels[far])
    assert (free[far] != given.pixels[far]).any()
    assert (kept[30:34, 40:44] == free[30:34, 40:44]).all()


@pytest.mark.parametrize("samples", [1, 2])
def test_what_was_surely_found_is_told_in_a_second_pass(model: Restorer, samples: int) -> None:
    picture = np.full((64, 64, 3), 0.5, np.float32)
    picture[:12, :12] = np.random.default_rng(3).random((12, 12, 3))
    given, settings = image.from_array(picture), Settings(samples=samples, seed=4)
    one = model.restore(given, settings)
    limit = float(np.sort(one.mask, axis=None)[-3])  # two pixels are surely damaged
    sure = np.asarray(one.mask > limit, np.float32)
    weight = weight_of(sure)[..., None]
    assert (weight == 0).any() and (weight == 1).any()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relume.tasks.restore.SURE", limit)
        twice = model.restore(given, replace(settings, mask="twice"))
        told = model.restore(given, replace(settings, mask="twice"), mask=sure)
        patch.setattr("relume.tasks.restore.SURE", 1.0)
        nothing = model.restore(given, replace(settings, mask="twice"))
    by_hand = model.restore(given, settings, mask=sure)
    blend = one.image.pixels + weight * (by_hand.image.pixels - one.image.pixels)
    np.testing.assert_allclose(twice.image.pixels, blend, atol=1e-6)
    assert np.abs(one.image.pixels - by_hand.image.pixels).max() > 1e-4  # or nothing would be shown by it
    np.testing.assert_array_equal(told.image.pixels, by_hand.image.pixels)  # a mask from outside stands
    np.testing.assert_array_equal(twice.mask, one.mask)
    assert twice.evaluations == one.evaluations + by_hand.evaluations and len(twice.samples) == samples
    np.testing.assert_array_equal(nothing.image.pixels, one.image.pixels)
    assert nothing.evaluations == one.evaluations


def test_a_given_mask_reaches_the_net(model: Restorer) -> None:
    given = image.from_array(levels(64, 64))
    nothing, all_of_it = (np.full((64, 64), v, np.float32) for v in (0, 1))
    a = model.restore(given, mask=nothing).image.pixels
    b = model.restore(given, mask=all_of_it).image.pixels
    assert (a != b).any()
    np.testing.assert_array_equal(a, model.restore(given, Settings(mask="none")).image.pixels)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "LA", "RGBA", "I;16"])
def test_a_mask_says_the_same_in_every_mode(mode: str, tmp_path: Path) -> None:
    drawn = np.zeros((40, 50), bool)
    drawn[10:20, 5:45] = True
    white = np.full((40, 50), 255, np.uint8)
    layer = np.where(drawn, 255, 0).astype(np.uint8)
    if mode in ("LA", "RGBA"):  # painted on a layer of its own: white all over, transparent where it is not
        planes = [white] * (len(mode) - 1) + [layer]
        picture = PilImage.fromarray(np.stack(planes, axis=-1), mode)
    elif mode == "I;16":
        picture = PilImage.fromarray(layer.astype(np.uint16) * 257)
    else:
        picture = PilImage.fromarray(layer).convert(mode)
    picture.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(mask_from(image.read(tmp_path / "mask.png")), drawn.astype(np.float32))


def test_samples_and_their_spread(model: Restorer) -> None:
    given = image.from_array(levels(64, 64))
    out = model.restore(given, Settings(samples=3, uncertainty=True, seed=5))
    assert len(out.samples) == 3 and out.uncertainty is not None
    drawn = np.stack([sample.pixels for sample in out.samples])
    assert np.abs(drawn.mean(axis=0) - out.image.pixels).max() < 1e-5
    spread = np.sqrt(drawn.var(axis=0, ddof=1).mean(axis=2))
    assert np.abs(spread - out.uncertainty).max() < 1e-4
    assert out.uncertainty.max() > 0
    # A sample is the picture that its own seed gives.
    alone = model.restore(given, Settings(fidelity=0.5, steps=4, seed=6)).image.pixels
    np.testing.assert_array_equal(drawn[1], alone)


def test_progress_ends_at_the_total(model: Restorer) -> None:
    seen: list[tuple[int, int]] = []
    model.restore(image.from_array(levels(100, 100)), progress=lambda a, b: seen.append((a, b)))
    assert seen == [(i + 1, len(seen)) for i in range(len(seen))]


@pytest.mark.parametrize("samples", [1, 2])
def test_two_passes_are_one_progress(model: Restorer, samples: int) -> None:
    given, told = image.from_array(levels(100, 100)), []
    seen: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relume.tasks.restore.SURE", 0.0)
        done = model.restore(
            given,
            Settings(mask="twice", samples=samples, steps=2),
            progress=lambda a, b: seen.append((a, b)),
            observe=told.append,
        )
    tiles = len(grid(100, 100, 64, 16))
    assert seen == [(i + 1, tiles * 2 * samples) for i in range(tiles * 2 * samples)]
    assert [m.done for m in told] == [i + 1 for i in range(tiles * 4 * samples)]
    assert {m.total for m in told} == {tiles * 4 * samples} == {tiles * done.evaluations}
    assert told[-1].share == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relume.tasks.restore.SURE", 1.0)
        model.restore(given, Settings(mask="twice"), progress=lambda a, b: seen.append((a, b)))
    assert seen[-1] == (tiles, tiles)  # nothing was found: there is no second pass


def test_every_evaluation_is_told_with_its_place(model: Restorer) -> None:
    given = image.from_array(levels(100, 90))
    seen: list[Moment] = []
    out = model.restore(given, Settings(steps=2, tone="keep"), observe=seen.append)
    tiles = len(grid(100, 90, 64, 16))
    assert [(m.tile, m.step) for m in seen] == [(j + 1, i + 1) for j in range(tiles) for i in range(2)]
    assert {(m.tiles, m.steps, m.sample, m.samples) for m in seen} == {(tiles, 2, 1, 1)}
    shares = [m.share for m in seen]
    assert shares == sorted(shares) and shares[-1] == 1
    # Where only one tile has a say, the last idea of the tile is the result.
    last = seen[-1]
    inner = np.s_[100 - 20 :, 90 - 20 :]
    want = np.clip(last.clean[100 - 20 - last.y : 100 - last.y, 90 - 20 - last.x : 90 - last.x], 0, 1)
    np.testing.assert_allclose(out.image.pixels[inner], want, atol=1e-6)


@pytest.mark.parametrize("draws", [1, 2])
def test_a_chain_that_is_looked_at_first_is_told_once(model: Restorer, draws: int) -> None:
    given = image.from_array(levels(100, 90))
    told: list[Moment] = []
    asked = 0

    def evaluate(*arrays: np.ndarray) -> Any:
        nonlocal asked
        asked += 1
        answer = model.engine(*arrays).copy()
        answer[:, 3] = 10  # damaged all over, so that no tile is left out
        return answer

    settings = Settings(preserve=True, steps=3, samples=draws)
    model.restore(given, settings, observe=told.append, run=one_by_one(evaluate))
    assert len(told) == asked == draws * 3 * len(grid(100, 90, 64, 16))
    shares = [moment.share for moment in told]
    assert shares == sorted(set(shares)) and shares[-1] == 1
    assert {(moment.steps, moment.samples) for moment in told} == {(3, draws)}
    assert {moment.sample for moment in told} == set(range(1, draws + 1))


def test_samples_of_a_model_that_knows_its_detail_differ_by_as_much_noise_whatever_the_fidelity(
    model: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = image.from_array(levels(64, 64))
    lacking_none = Detail(np.zeros((BANDS, features(given.pixels, given.pixels).shape[2]), np.float32))
    monkeypatch.setattr(model._local, "detail", lacking_none)
    monkeypatch.setitem(model.bundle.card, "detail", {"weights": lacking_none.weights.tolist()})
    faithful, sharp = (
        model.restore(given, Settings(samples=2, steps=1, uncertainty=True, fidelity=w)) for w in (1, 0)
    )
    assert faithful.uncertainty is not None and sharp.uncertainty is not None
    assert faithful.uncertainty.max() > 0
    np.testing.assert_array_equal(sharp.uncertainty, faithful.uncertainty)


def test_what_an_observer_raises_stops_the_work_there(model: Restorer) -> None:
    class Enough(Exception):
        pass

    seen: list[Moment] = []

    def stop(moment: Moment) -> None:
        seen.append(moment)
        if (moment.tile, moment.step) == (2, 1):
            raise Enough

    with pytest.raises(Enough):
        model.restore(image.from_array(levels(100, 90)), Settings(steps=2), observe=stop)
    assert len(seen) == 3
    with pytest.raises(Enough):
        model.detect(image.from_array(levels(100, 90)), observe=lambda moment: stop(moment))


def test_wrong_calls_say_what_is_wrong(model: Restorer, tiny_bundle: Bundle) -> None:
    given = image.from_array(levels(64, 64))
    with pytest.raises(UsageError, match="one size"):
        model.restore(given, mask=np.zeros((3, 3), np.float32))
    with pytest.raises(UsageError, match="multiple of"):
        model.restore(given, Settings(tile=50))
    with pytest.raises(UsageError):
        model.restore(given, Settings(steps=9))
    with pytest.raises(OutOfMemory, match="max-memory"):
        model.restore(given, Settings(max_memory=1000))
    with pytest.raises(UsageError):
        Settings(fidelity=1.5)
    with pytest.raises(UsageError, match="a picture is"):
        model(3)
    with pytest.raises(BundleNotFound):
        Restorer("no-such-model")
    with pytest.raises(EngineUnavailable):
        Restorer(tiny_bundle.path, engine="openvino", device="cuda")


def test_engines_agree(tiny_bundle: Bundle, model: Restorer) -> None:
    given = levels(70, 80)
    want = model(given).astype(int)
    for engine in ("onnx", "pytorch"):
        got = Restorer(tiny_bundle.path, engine=engine, precision="f32")(given).astype(int)
        assert np.abs(got - want).max() <= 1


def test_the_public_function(tiny_bundle: Bundle) -> None:
    given = levels(40, 40)
    got = relume.restore(given, model=str(tiny_bundle.path), engine="null")
    np.testing.assert_array_equal(got, given)


class TestNoise:
    rows, columns = np.indices((256, 256))

    def test_is_standard_normal_and_uncorrelated(self) -> None:
        z = noise_at(self.rows, self.columns, seed=1, step=0).astype(np.float64)
        assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01
        assert abs((z**4).mean() - 3) < 0.1
        for a, b in [(z[:, 1:], z[:, :-1]), (z[:, :, 1:], z[:, :, :-1]), (z[1:], z[:-1])]:
            assert abs((a * b).mean()) < 0.01

    def test_streams_differ(self) -> None:
        z = noise_at(self.rows, self.columns, seed=1, step=0)
        for seed, step in [(2, 0), (1, 1)]:
            other = noise_at(self.rows, self.columns, seed=seed, step=step)
            assert abs(float((z * other).mean())) < 0.01

    def test_belongs_to_the_place(self) -> None:
        z = noise_at(self.rows, self.columns, seed=1, step=2)
        part = noise_at(self.rows[30:50, 7:90], self.columns[30:50, 7:90], seed=1, step=2)
        np.testing.assert_array_equal(z[:, 30:50, 7:90], part)


def prints() -> tuple[np.ndarray, ...]:
    """A grey print, the same in sepia with a little noise, and a colour photograph."""
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.random((64, 64, 1), dtype=np.float32) * 0.7 + 0.1, 3, axis=2)
    sepia = (grey * [1.1, 0.95, 0.7] + rng.normal(0, 0.005, grey.shape)).clip(0, 1).astype(np.float32)
    return grey, sepia, rng.random((64, 64, 3), dtype=np.float32)


class TestTone:
    def test_zeros_change_nothing(self) -> None:
        picture = np.random.default_rng(0).random((9, 7, 3), dtype=np.float32)
        assert apply_transform(picture, ToneTransform.identity()) is picture
        made = replace(ToneTransform.identity(16), amount=1.0)
        assert np.abs(apply_transform(picture, made) - picture).max() < 1e-6

    def test_agrees_with_the_net_that_was_trained(self, tiny_build: Callable[..., Any]) -> None:
        torch = pytest.importorskip("torch")
        from relume.nets.tone import apply_tone

        rng = np.random.default_rng(0)
        picture = rng.random((20, 30, 3), dtype=np.float32)
        parameters = rng.normal(0, 0.2, 63).astype(np.float32)
        want = apply_tone(
            torch.from_numpy(picture.transpose(2, 0, 1)[None]), torch.from_numpy(parameters[None]), 16
        )
        got = apply_transform(picture, ToneTransform.from_parameters(parameters), rows=7)
        assert np.abs(got - want[0].clamp(0, 1).numpy().transpose(1, 2, 0)).max() < 1e-5

    def test_small_changes_are_not_made_and_large_ones_are(self) -> None:
        small = np.full((64, 64, 3), 0.5, np.float32)
        for offset, amount in [(0.02, 0.0), (0.045, 0.5), (0.2, 1.0)]:
            shift = replace(ToneTransform.identity(), offset=np.full(3, offset), amount=1.0)
            trusted = cautious(shift, small)
            assert abs(trusted.amount - amount) < 1e-5
            change = np.abs(apply_transform(small, trusted) - small - amount * offset).max()
            assert change < 1e-6

    def test_a_sepia_print_is_told_from_a_colour_photograph(self) -> None:
        grey, sepia, colourful = prints()
        assert tinted(sepia)[0] == 1 and tinted(grey)[0] == 1 and tinted(colourful)[0] == 0
        assert tinted(grey)[1] < 1e-6 < 0.05 < tinted(sepia)[1]

    @pytest.mark.parametrize("push", [0.0, 0.1, 0.3])
    def test_a_tint_never_grows_and_goes_where_asked(self, push: float) -> None:
        _, sepia, colourful = prints()
        stronger = replace(
            ToneTransform.identity(), offset=np.array([push, 0, -push]), matrix=1.4 * np.eye(3), amount=1.0
        )
        for picture in (sepia, prints()[0]):
            revived = apply_transform(picture, colour(stronger, picture, "revive"))
            assert tinted(revived)[1] <= tinted(picture)[1] + 1e-4
            hue, before = ((p - (p @ LUMA)[..., None]).mean(axis=(0, 1)) for p in (revived, picture))
            assert np.abs(hue - before).max() < 0.02  # clipping takes a little
            neutral = apply_transform(picture, colour(stronger, picture, "neutral"))
            assert np.ptp(neutral, axis=2).max() < 1e-6
            assert np.abs(neutral - picture).max() > 0.05  # its contrast did change
            assert apply_transform(picture, colour(stronger, picture, "keep")) is picture
        for tone in ("revive", "neutral"):
            made = colour(stronger, colourful, tone)
            assert replace(made, saturation=1.0) == stronger and (push or made.saturation == 1)

    def test_colour_comes_back_with_contrast_and_does_not_outgrow_it(self) -> None:
        faded = (0.35 + 0.3 * prints()[2]).astype(np.float32)

        def strength(picture: np.ndarray) -> float:
            return float(np.sqrt(((picture - (picture @ LUMA)[..., None]) ** 2).mean()))

        stretch = replace(ToneTransform.identity(), matrix=2 * np.eye(3), offset=np.full(3, -0.5), amount=1.0)
        assert colour(stretch, faded, "revive") == stretch  # both are doubled
        grey = np.tile(LUMA, (3, 1))
        for times, wanted in ((1.05, 1.05), (2.0, RICHEST), (0.5, 0.5)):
            richer = replace(ToneTransform.identity(), matrix=grey + times * (np.eye(3) - grey), amount=1.0)
            after = apply_transform(faded, colour(richer, faded, "revive"))
            assert strength(after) == pytest.approx(wanted * strength(faded), rel=0.01)
            assert np.abs((after - faded) @ LUMA).max() < 1e-5  # brightness stays as it was

    @pytest.mark.parametrize(("share", "left"), [(0.9, 0.9), (0.5, 0.7), (0.0, 0.7)])
    def test_a_weaker_tint_is_let_through_and_none_is_not(self, share: float, left: float) -> None:
        sepia = prints()[1]
        bleach = replace(
            ToneTransform.identity(),
            matrix=share * np.eye(3) + (1 - share) * np.tile(LUMA, (3, 1)),
            amount=1.0,
        )
        revived = apply_transform(sepia, colour(bleach, sepia, "revive"))
        assert tinted(revived)[1] == pytest.approx(left * tinted(sepia)[1], rel=0.05)

    def test_a_thumbnail_keeps_the_mean(self) -> None:
        picture = np.random.default_rng(0).random((130, 300, 3), dtype=np.float32)
        small = thumbnail(picture)
        assert small.shape == (1, 3, 64, 64)
        assert np.abs(small.mean(axis=(0, 2, 3)) - picture.mean(axis=(0, 1))).max() < 2e-3

    def test_is_the_same_for_every_tile(self, model: Restorer) -> None:
        given = image.from_array(levels(200, 200))
        small, large = (model.restore(given, Settings(tile=tile, mask="none")).seconds for tile in (64, 128))
        assert set(small) == set(large)  # stages are the same; tone is decided once, before tiles exist
        assert np.allclose(model.transform(given.pixels).curves, model.transform(given.pixels.copy()).curves)


def test_the_weight_that_damage_had_in_training_is_undone(model: Restorer, monkeypatch: Any) -> None:
    given = image.from_array(levels(64, 64))
    weighted = model.detect(given).astype(np.float64)
    assert Local(model.engine, {**model.bundle.card, "damage_weight": 4.0}).prior == np.float32(np.log(4))
    monkeypatch.setattr(model._local, "prior", np.float32(np.log(4)))
    # Odds that were learned four times too high.
    odds = weighted / (1 - weighted) / 4
    np.testing.assert_allclose(model.detect(given), odds / (1 + odds), atol=1e-6)


def test_small_pictures_get_small_tiles(model: Restorer) -> None:
    side, multiple = model.tiling(4000, 3000)[0], model.bundle.card["multiple_of"]
    assert model.tiling(side // 2, 1)[0] == side // 2 and model.tiling(side // 2 + 1, 1)[0] == side
    assert model.tiling(1, side // 4)[0] == model.tiling(1, 1)[0] == side // 4
    assert (side // 4) % multiple == 0
    assert model.tiling(1, 1, Settings(tile=side)) == model.tiling(side, side)


def test_twenty_megapixels_stay_within_the_bound(tiny_bundle: Bundle) -> None:
    """Measured in a process of its own; the bound is the one that --max-memory computes with."""
    code = f"""
import numpy as np
from relume.bench.memory import peak_bytes
from relume import Restorer, Settings, image
from relume.tasks.restore import needed_bytes
given = image.from_array(np.zeros((4000, 5000, 3), np.uint8))
Restorer({str(tiny_bundle.path)!r}, engine="null").restore(given, Settings(tile=512))
used = peak_bytes()
bound = needed_bytes(20_000_000, Settings())
print(used / 2**30, bound / 2**30)
assert used < bound
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


def test_a_large_tile_stays_within_the_bound() -> None:
    """The embedded model in f32; with tiles of its own size the bound would be lower, and too low."""
    pytest.importorskip("openvino")
    code = """
import numpy as np
from relume.bench.memory import peak_bytes
from relume import Restorer, Settings, image
from relume.tasks.restore import needed_bytes
given, settings = image.from_array(np.zeros((1024, 1024, 3), np.uint8)), Settings(tile=1536)
Restorer(engine="openvino", precision="f32").restore(given, settings)
used = peak_bytes()
bounds = [needed_bytes(1024**2, each) for each in (Settings(), settings)]
print([value / 2**20 for value in (used, *bounds)])
assert bounds[0] < used < bounds[1]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(fidelity=0.0),
        Settings(preserve=True, steps=2),
        Settings(samples=2, steps=1, uncertainty=True),
        Settings(samples=6, steps=1),
        Settings(mask="twice"),
        Settings(mask="twice", samples=6, steps=1),
    ],
    ids=["plain", "sharp", "preserve", "uncertainty", "samples", "twice", "samples twice"],
)
def test_a_pixel_costs_no_more_than_is_computed_with(null: Restorer, settings: Settings) -> None:
    """From two sizes, so that what a tile costs falls out; damage that only copies show takes the most."""
    wanted = replace(settings, tile=256)

    def peak(height: int, width: int) -> int:
        given = image.from_array(levels(height, width))
        own = len(grid(height, width, *null.tiling(height, width, wanted))) * (2 if settings.preserve else 1)
        asked = 0

        def evaluate(x: np.ndarray, condition: np.ndarray, t: np.ndarray) -> np.ndarray:
            nonlocal asked
            asked += 1
            logits = np.full_like(x[:, :1], 10.0 if asked > own else -10.0)
            return np.concatenate([condition[:, :3], logits], axis=1)

        tracemalloc.start()
        try:
            null.restore(given, wanted, run=one_by_one(evaluate))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    pixels = 448 * 448
    each = (peak(448, 4 * 448) - peak(448, 2 * 448)) / (2 * pixels)
    assert each <= (needed_bytes(pixels, wanted) - needed_bytes(0, wanted)) / pixels


class Scratches:
    """A net for tests: what is white is damage; it answers with the state, darkened, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def prepare(self, *shapes: tuple[int, ...]) -> None:
        return

    def __call__(self, x: np.ndarray, condition: np.ndarray, t: np.ndarray) -> np.ndarray:
        self.calls += 1
        logit = np.where(condition[:, :3].min(axis=1, keepdims=True) > 0.99, 9, -9)
        return np.concatenate([x * (0.9 - 0.1 * t[0]), logit], axis=1, dtype=np.float32)


@pytest.mark.parametrize("given_mask", [True, False])
@pytest.mark.parametrize("options", [{}, {"steps": 4}, {"fidelity": 0.3}, {"samples": 2}], ids=str)
def test_tiles_that_preserve_shows_nothing_of_are_left_out(
    model: Restorer, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], given_mask: bool
) -> None:
    """The same bytes as when every tile runs, in fewer evaluations; the bound on the difference is 0."""
    picture = levels(200, 150).astype(np.float32) / 255 * 0.9
    picture[20:30, 25:27] = picture[62:66, 90:92] = 1  # the second lies where tiles meet
    given = image.from_array(picture)
    mask = (picture.min(axis=2) > 0.99).astype(np.float32) if given_mask else None
    settings = Settings(preserve=True, tone="keep", **options)

    class Everything(Local):
        def __call__(self, toned: Any, mask: Any, job: Job, *rest: Any, shown: Any = None) -> Any:
            return super().__call__(toned, mask, replace(job, answers=None), *rest)

    results = []
    for kind in (Local, Everything):
        net = Scratches()
        monkeypatch.setattr(model, "_local", kind(net, model.bundle.card))
        results.append((model.restore(given, settings, mask=mask), net.calls))
    (fewer, calls), (all_of_it, most) = results
    assert fewer.image.pixels.tobytes() == all_of_it.image.pixels.tobytes()
    assert fewer.mask.tobytes() == all_of_it.mask.tobytes()
    assert (fewer.image.pixels != given.pixels).any() and (fewer.image.pixels == given.pixels).any()
    tiles_in_all, chain = len(grid(200, 150, *model.tiling(200, 150))), settings.evaluations
    if given_mask or chain > 1:
        assert calls < tiles_in_all * chain
    assert most <= tiles_in_all * (chain + (not given_mask and chain > 1))


def test_a_chain_that_is_preserved_everywhere_costs_no_evaluation_more(
    model: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Scratches()
    monkeypatch.setattr(model, "_local", Local(net, model.bundle.card))
    white = image.from_array(np.ones((100, 100, 3), np.float32))
    model.restore(white, Settings(preserve=True, tone="keep", steps=4))
    assert net.calls == 4 * len(grid(100, 100, *model.tiling(100, 100)))
