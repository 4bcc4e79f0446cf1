r"""Light made even: splines, fields, whom they are trusted by, and in what order a photograph is toned."""

from typing import Any

import numpy as np
import pytest

from relume.degrade import DEGRADATIONS
from relume.errors import UsageError
from relume.image.spline import spline_matrix
from relume.tasks import Settings
from relume.tasks.shading import DOUBT, TRUST, ShadingField, apply_field, trusted
from relume.tasks.toning import Toning


def picture(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def field(seed: int = 0, grid: int = 8) -> ShadingField:
    return ShadingField(np.random.default_rng(seed).normal(0, 0.2, (6, grid, grid)).astype(np.float32))


# --- splines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("points", "grid"), [(64, 32), (7, 32), (1000, 4), (5, 1)])
def test_rows_of_a_spline_matrix_are_weights(points: int, grid: int) -> None:
    matrix = spline_matrix(points, grid)
    assert matrix.shape == (points, grid) and matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


def test_a_spline_agrees_with_scipys() -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    grid, points = 9, 180
    control = np.random.default_rng(0).normal(size=grid)
    padded = np.concatenate([np.repeat(control[:1], 2), control, np.repeat(control[-1:], 2)])
    knots = np.arange(len(padded) + 4) - 2.0  # control point i belongs to place i − 2
    places = (np.arange(points) + 0.5) / points * grid - 0.5
    want = interpolate.BSpline(knots, padded, 3)(places + 2)
    np.testing.assert_allclose(spline_matrix(points, grid) @ control, want, atol=2e-6)


# --- fields ----------------------------------------------------------------------------------------------


def test_a_field_agrees_with_the_net_that_was_trained() -> None:
    torch = pytest.importorskip("torch")
    from relume.nets.shading import apply_shading

    given, found = picture(33, 21), field()
    want = apply_shading(
        torch.from_numpy(given.transpose(2, 0, 1)[None].copy()), torch.from_numpy(found.points[None])
    )
    got = apply_field(given, found, rows=7)
    assert np.abs(got - want[0].clamp(0, 1).numpy().transpose(1, 2, 0)).max() < 1e-5


def test_no_field_gives_the_picture_itself_and_half_of_one_half_of_the_change() -> None:
    given = picture()
    assert apply_field(given, ShadingField.identity()) is given
    whole, half = (apply_field(given, ShadingField(field().points, amount)) for amount in (1.0, 0.5))
    np.testing.assert_allclose(half, 0.5 * (given + whole), atol=1e-6)


def test_small_changes_are_not_made_and_large_ones_are() -> None:
    small = np.full((64, 64, 3), 0.5, np.float32)
    points = np.zeros((6, 4, 4), np.float32)
    for added, amount in ((0.9 * DOUBT, 0.0), ((DOUBT + TRUST) / 2, 0.5), (1.1 * TRUST, 1.0)):
        points[3:] = added
        assert trusted(ShadingField(points.copy()), small).amount == pytest.approx(amount, abs=1e-3)


def test_a_smooth_field_is_kept_and_a_plaid_is_not() -> None:
    coarse = field(1)
    fine = spline_matrix(32, 8) @ coarse.points @ spline_matrix(32, 8).T
    np.testing.assert_allclose(ShadingField(fine).smooth(8).points, coarse.points, atol=1e-5)
    plaid = 0.1 * np.where(np.arange(32) % 4 < 2, 1.0, -1.0).astype(np.float32)
    woven = ShadingField(np.broadcast_to(plaid[:, None] + plaid, (6, 32, 32)))
    given = np.full((64, 64, 3), 0.5, np.float32)
    before, after = (np.abs(apply_field(given, each) - given).mean() for each in (woven, woven.smooth()))
    assert after < 0.3 * before  # what is left lies at the border, where two cells are no wave


# --- toning ----------------------------------------------------------------------------------------------


class Fake:
    """An engine that keeps what it was asked and answers with what it was told to."""

    def __init__(self, answer: np.ndarray) -> None:
        self.answer, self.asked = answer, []  # type: ignore[var-annotated]

    def __call__(self, *arrays: np.ndarray) -> Any:
        self.asked.append(arrays[0])
        return self.answer


def brighter() -> Fake:
    points = np.zeros((1, 6, 32, 32), np.float32)
    points[:, :3] = np.log(2)
    return Fake(points)


def toning(tone: Fake | None, shading: Fake | None) -> Toning:
    return Toning(tone, shading)  # type: ignore[arg-type]


def test_tone_is_read_off_the_picture_whose_light_is_even() -> None:
    dark, tone = 0.4 * picture(128, 128), Fake(np.zeros((1, 63), np.float32))
    made = toning(tone, brighter())(dark)
    np.testing.assert_allclose(made, 2 * dark, atol=1e-5)
    assert tone.asked[0].shape == (1, 3, 64, 64)
    assert tone.asked[0].mean() == pytest.approx(2 * dark.mean(), rel=1e-3)


@pytest.mark.parametrize(
    "settings", [Settings(shading="keep"), Settings(preserve=True), Settings(tone="keep")], ids=str
)
def test_light_is_kept_where_that_is_asked_for(settings: Settings) -> None:
    given, shading = picture(), brighter()
    assert toning(Fake(np.zeros((1, 63), np.float32)), shading)(given, settings) is given
    assert not shading.asked


def test_a_grey_print_stays_grey_and_colours_may_be_evened() -> None:
    rng = np.random.default_rng(3)
    up = spline_matrix(32, 4)
    uneven = Fake((up @ rng.normal(0, 0.4, (1, 6, 4, 4)) @ up.T).astype(np.float32))
    grey = np.repeat(rng.random((50, 70, 1), dtype=np.float32) * 0.5, 3, axis=2)
    made = toning(None, uneven)(grey)
    assert np.abs(made - grey).mean() > 0.02 and np.ptp(made, axis=2).max() < 1e-5
    before = 0.5 * picture(128, 128)
    colourful = toning(None, uneven)(before) / np.maximum(before, 1e-3)
    assert np.ptp(colourful, axis=2).mean() > 0.1
    half = field().neutral(0.5).points.reshape(2, 3, 8, 8)
    np.testing.assert_allclose(
        np.ptp(half, axis=1), 0.5 * np.ptp(field().points.reshape(2, 3, 8, 8), axis=1), rtol=1e-5
    )


def test_a_mirrored_photograph_gets_the_mirrored_field() -> None:
    class Reads:
        """As a net that sees something: its gains are the thumbnail's own, and the left half is favoured."""

        def __call__(self, asked: np.ndarray) -> np.ndarray:
            gains = asked[:, :, ::2, ::2] * np.linspace(1, 0, 32, dtype=np.float32)
            return np.concatenate([gains, np.zeros_like(gains)], axis=1)

    given = 0.8 * picture(64, 64)
    model = Toning(None, Reads())  # type: ignore[arg-type]
    made = model(given)
    assert np.abs(made - given).mean() > 0.02
    np.testing.assert_allclose(model(given[:, ::-1]), made[:, ::-1], atol=2e-6)


def test_only_a_photograph_that_changes_is_asked_about_twice() -> None:
    sound, dark = Fake(np.full((1, 6, 32, 32), 0.2 * DOUBT, np.float32)), brighter()
    given = 0.4 * picture(128, 128)
    assert toning(None, sound)(given) is given and len(sound.asked) == 1
    toning(None, dark)(given)
    assert len(dark.asked) == 2
    np.testing.assert_array_equal(dark.asked[1], dark.asked[0][..., ::-1])


def test_a_model_may_lack_either_net() -> None:
    given = 0.4 * picture()
    assert toning(None, None)(given) is given
    np.testing.assert_allclose(toning(None, brighter())(given), 2 * given, atol=1e-5)


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match="even, keep"):
        Settings(shading="flat")  # type: ignore[arg-type]


# --- the damage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(24))
def test_shading_is_slow_and_never_black(seed: int) -> None:
    draw = DEGRADATIONS["shading"](1.0).sample((3, 96, 128), np.random.default_rng(seed))
    gain, veil = draw["gain"], draw["veil"]
    assert gain.min() > 0.2 and gain.max() <= 1 and veil.min() >= 0
    assert (gain + veil).max() <= 1 + 1e-5  # white stays within the range
    assert np.ptp(gain) + np.ptp(veil) > 0.02
    steps = [np.abs(np.diff(plane, axis=axis)).max() for plane in (gain, veil) for axis in (1, 2)]
    assert max(steps) < 0.2


def test_shading_of_severity_nought_is_none() -> None:
    given = picture()
    made = DEGRADATIONS["shading"](0.0)(given, np.random.default_rng(0))
    np.testing.assert_array_equal(made.picture, given)
