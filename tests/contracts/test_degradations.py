r"""Every damage in the list keeps the contract, and does what its name says."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from relume.degrade import DEGRADATIONS, Degradation, Linear
from relume.degrade.degradation import stack_draws
from relume.errors import UsageError

Picture = NDArray[np.float32]
SHAPE = (3, 72, 96)
EVERY = pytest.mark.parametrize("name", DEGRADATIONS)
STRUCTURED = pytest.mark.parametrize("name", [n for n, kind in DEGRADATIONS.items() if kind.structured])
LINEAR = pytest.mark.parametrize("name", [n for n, kind in DEGRADATIONS.items() if issubclass(kind, Linear)])
LEVEL = 1 / 255


def scene(channels: int = 3, *, height: int = SHAPE[1], width: int = SHAPE[2], seed: int = 0) -> Picture:
    """Colour, edges, texture, pure black and pure white."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / min(height, width)
    picture = np.stack([0.7 * columns, rows, 0.5 + 0.4 * np.sin(9 * rows * columns)], axis=-1)
    picture[height // 4 : height // 2, width // 4 : width // 2] = (0.9, 0.2, 0.1)
    picture += 0.04 * rng.standard_normal(picture.shape)
    picture[:6, :6], picture[-6:, -6:] = 0, 1
    return np.clip(picture, 0, 1).astype(np.float32)[..., :channels]


def batch(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture.transpose(2, 0, 1))[None]


@EVERY
def test_the_list_knows_a_damage_by_its_own_name(name: str) -> None:
    assert DEGRADATIONS[name].name == name
    assert issubclass(DEGRADATIONS[name], Degradation)
    assert DEGRADATIONS[name].__doc__


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("severity", [0.3, 1.0, 3.0])
def test_shape_type_and_range_are_kept(name: str, channels: int, severity: float) -> None:
    picture = scene(channels)
    before = picture.copy()
    for seed in range(4):
        damaged = DEGRADATIONS[name](severity)(picture, np.random.default_rng(seed))
        assert damaged.picture.shape == picture.shape
        assert damaged.mask.shape == picture.shape[:2]
        assert damaged.picture.dtype == damaged.mask.dtype == np.float32
        for values in damaged:
            assert values.min() >= 0 and values.max() <= 1  # NaN fails too
    np.testing.assert_array_equal(picture, before)


@EVERY
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 40), (33, 8)])
def test_tiny_and_narrow_pictures_are_damaged_too(name: str, size: tuple[int, int]) -> None:
    for seed in range(3):
        damaged = DEGRADATIONS[name](3.0)(np.full((*size, 3), 0.5, np.float32), np.random.default_rng(seed))
        assert damaged.picture.shape == (*size, 3)
        assert np.isfinite(damaged.picture).all()


@EVERY
def test_severity_zero_changes_nothing(name: str) -> None:
    picture = scene()
    for seed in range(5):
        damaged = DEGRADATIONS[name](0)(picture, np.random.default_rng(seed))
        # Powers and means in float32 round; all else, JPEG too, is left out altogether.
        np.testing.assert_allclose(
            damaged.picture, picture, rtol=0, atol=2e-6 if name in ("fading", "low-contrast") else 0
        )
        assert not damaged.mask.any()


@EVERY
def test_severity_one_changes_something_and_the_seed_decides_what(name: str) -> None:
    picture, damage = scene(), DEGRADATIONS[name](1.0)
    results = [damage(picture, np.random.default_rng(seed)) for seed in range(8)]
    again = [damage(picture, np.random.default_rng(seed)) for seed in range(8)]
    for one, two in zip(results, again, strict=True):
        assert one.picture.tobytes() == two.picture.tobytes()
        assert one.mask.tobytes() == two.mask.tobytes()
    assert sum(bool(np.any(result.picture != picture)) for result in results) >= 7
    assert len({result.picture.tobytes() for result in results}) >= 7


@EVERY
def test_damage_grows_with_severity(name: str) -> None:
    picture = scene()

    def harm(severity: float) -> float:
        damaged = (DEGRADATIONS[name](severity)(picture, np.random.default_rng(s)).picture for s in range(16))
        return float(np.mean([np.mean((one - picture) ** 2) for one in damaged]))

    assert 0 < harm(0.25) < harm(1.0) < harm(2.0) * 1.02  # those bounded by 1 stay where they are


@EVERY
def test_drawing_does_not_look_at_the_picture_and_applying_draws_nothing(name: str) -> None:
    damage = DEGRADATIONS[name](1.0)
    draw = stack_draws([damage.sample(SHAPE, np.random.default_rng(5))])
    picture = scene()
    by_hand = np.clip(damage.apply(batch(picture), draw)[0].transpose(1, 2, 0), 0, 1)
    np.testing.assert_array_equal(by_hand, damage(picture, np.random.default_rng(5)).picture)


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
def test_numpy_and_torch_agree(name: str, channels: int) -> None:
    torch = pytest.importorskip("torch")
    from relume.degrade.batched import degrade_batch

    shape = (channels, *SHAPE[1:])
    damage = DEGRADATIONS[name](1.3)
    pictures = [scene(channels, seed=seed) for seed in range(4)]
    plans = [[(damage, damage.sample(shape, np.random.default_rng(seed)))] for seed in range(4)]
    together = degrade_batch(torch.from_numpy(np.concatenate([batch(p) for p in pictures])), plans)
    for seed, picture in enumerate(pictures):
        alone = damage(picture, np.random.default_rng(seed))
        ours = together.pictures[seed].permute(1, 2, 0).numpy()
        assert np.abs(ours - alone.picture).max() <= 1e-5 < LEVEL
        if name != "uneven-fading":  # a veil has no place to repair: plans leave it out of the mask
            np.testing.assert_array_equal(together.masks[seed, 0].numpy(), alone.mask)


@LINEAR
@pytest.mark.parametrize("seed", range(4))
def test_linear_damages_are_linear_and_have_a_true_adjoint(name: str, seed: int) -> None:
    damage = DEGRADATIONS[name](1.0)
    assert isinstance(damage, Linear)
    draw = stack_draws([damage.sample(SHAPE, np.random.default_rng(seed))])
    draw = {key: value.astype(np.float64) for key, value in draw.items()}
    rng = np.random.default_rng(100 + seed)
    x, y = rng.standard_normal((2, 1, *SHAPE))
    a = damage.apply(x, draw)
    assert np.vdot(a, y) == pytest.approx(np.vdot(x, damage.adjoint(y, draw)), rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(
        damage.apply(2 * x - 3 * y, draw), 2 * a - 3 * damage.apply(y, draw), atol=1e-10
    )


@LINEAR
def test_the_adjoint_holds_in_single_precision(name: str) -> None:
    damage = DEGRADATIONS[name](1.0)
    assert isinstance(damage, Linear)
    draw = stack_draws([damage.sample(SHAPE, np.random.default_rng(3))])
    x, y = np.random.default_rng(0).random((2, 1, *SHAPE), dtype=np.float32)
    left, right = np.vdot(damage.apply(x, draw), y), np.vdot(x, damage.adjoint(y, draw))
    assert left == pytest.approx(right, rel=1e-4)


def test_some_damages_are_linear() -> None:
    assert {"blur", "resample"} <= {n for n, kind in DEGRADATIONS.items() if issubclass(kind, Linear)}


@LINEAR
def test_linear_damages_keep_a_flat_picture_flat(name: str) -> None:
    flat = np.full((40, 56, 3), 0.4, np.float32)
    for seed in range(6):
        np.testing.assert_allclose(
            DEGRADATIONS[name](1.5)(flat, np.random.default_rng(seed)).picture, flat, atol=1e-5
        )


@STRUCTURED
def test_pixels_outside_of_the_mask_are_untouched(name: str) -> None:
    picture, outside = scene(), 0
    for seed in range(12):
        damaged = DEGRADATIONS[name](1.0)(picture, np.random.default_rng(seed))
        free = damaged.mask == 0
        outside += int(free.sum())
        np.testing.assert_array_equal(damaged.picture[free], picture[free])
    if name != "uneven-fading":
        assert outside > 0


@STRUCTURED
def test_structured_damages_leave_a_mask(name: str) -> None:
    """One in twenty may miss the picture: a speck by chance, a scratch that begins beyond the border."""
    masks = [DEGRADATIONS[name](1.0)(scene(), np.random.default_rng(s)).mask for s in range(60)]
    assert np.mean([mask.max() > 0.05 for mask in masks]) >= 0.95


@STRUCTURED
def test_the_mask_is_the_opacity(name: str) -> None:
    """Where the mask is m, black and white end (1 - m) apart: y = x (1 - m) + paint."""
    damage = DEGRADATIONS[name](1.0)
    black = damage(np.zeros((64, 64, 3), np.float32), np.random.default_rng(4))
    white = damage(np.ones((64, 64, 3), np.float32), np.random.default_rng(4))
    np.testing.assert_allclose((white.picture - black.picture).mean(2), 1 - black.mask, atol=1e-5)


@pytest.mark.parametrize("name", [n for n, kind in DEGRADATIONS.items() if not kind.structured])
def test_damage_without_a_place_has_an_empty_mask(name: str) -> None:
    assert not DEGRADATIONS[name](1.0)(scene(), np.random.default_rng(0)).mask.any()


@pytest.mark.parametrize("severity", [-0.1, 3.1, float("nan")])
def test_severity_is_checked(severity: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 3"):
        DEGRADATIONS["blur"](severity)


@pytest.mark.parametrize("unit", [0.0, -1.0, float("nan")])
def test_unit_is_checked(unit: float) -> None:
    with pytest.raises(UsageError, match="positive"):
        DEGRADATIONS["blur"](1.0, unit=unit)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((8, 8), np.float32), "shape"),
        (np.zeros((8, 8, 4), np.float32), "shape"),
        (np.zeros((3, 8, 8), np.float32), "shape"),
        (np.zeros((8, 8, 3), np.uint8), "uint8"),
    ],
)
def test_what_is_no_picture_is_refused(picture: NDArray[np.generic], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DEGRADATIONS["noise"](1.0)(picture, np.random.default_rng(0))


# --- what each family does -------------------------------------------------------------------------------


def mean_effect(name: str, measure: Callable[[Picture], float], seeds: int = 30) -> float:
    """The mean of ``measure`` over damaged pictures, over that of the clean one."""
    picture = scene()
    damaged = (DEGRADATIONS[name](1.0)(picture, np.random.default_rng(s)).picture for s in range(seeds))
    return float(np.mean([measure(one) for one in damaged])) / measure(picture)


def saturation(picture: Picture) -> float:
    return float((picture.max(2) - picture.min(2)).mean())


def gradient_energy(picture: Picture) -> float:
    return float(np.square(np.diff(picture, axis=0)).mean() + np.square(np.diff(picture, axis=1)).mean())


def test_fading_takes_saturation_and_contrast() -> None:
    assert mean_effect("fading", saturation) < 0.75
    assert mean_effect("fading", lambda p: float(p.std())) < 0.9


def test_fading_to_sepia_turns_grey_to_brown() -> None:
    grey = np.full((8, 8, 3), 0.5, np.float32)
    faded = np.stack([DEGRADATIONS["fading"](1.0)(grey, np.random.default_rng(s)).picture for s in range(80)])
    red, green, blue = faded.mean((0, 1, 2))
    assert red > green > blue


@pytest.mark.parametrize("name", ["blur", "resample"])
def test_blur_and_resampling_lower_the_energy_of_edges(name: str) -> None:
    assert mean_effect(name, gradient_energy) < 0.8
    assert mean_effect(name, lambda p: float(p.mean())) == pytest.approx(1, abs=0.01)


def test_sharpening_raises_the_energy_of_edges_and_keeps_the_mean_of_flat_parts() -> None:
    assert mean_effect("sharpen", gradient_energy) > 1.3
    flat = np.full((32, 32, 3), 0.4, np.float32)
    for seed in range(5):
        sharp = DEGRADATIONS["sharpen"](1.0)(flat, np.random.default_rng(seed)).picture
        assert np.abs(sharp - flat).max() < 1e-6
    step = np.repeat(np.where(np.arange(64) < 32, 0.3, 0.6)[None, :, None], 64, axis=0).repeat(3, axis=2)
    seam = DEGRADATIONS["sharpen"](1.0)(step.astype(np.float32), np.random.default_rng(0)).picture[32, :, 0]
    assert seam.max() > 0.6 + 0.01 and seam.min() < 0.3 - 0.01  # lighter and darker than either side


def test_low_contrast_keeps_the_mean() -> None:
    assert mean_effect("low-contrast", lambda p: float(p.std())) < 0.85
    assert mean_effect("low-contrast", lambda p: float(p.mean())) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["noise", "speckle"])
def test_noise_adds_variance_and_keeps_the_mean(name: str) -> None:
    flat = np.full((64, 64, 3), 0.5, np.float32)
    residuals = [DEGRADATIONS[name](1.0)(flat, np.random.default_rng(s)).picture - flat for s in range(30)]
    assert np.mean([r.std() for r in residuals]) > 4 * LEVEL
    assert abs(np.mean(residuals)) < 1.5 * LEVEL


def test_noise_holds_salt_and_pepper() -> None:
    flat = np.full((64, 64, 3), 0.5, np.float32)
    damaged = [DEGRADATIONS["noise"](1.0)(flat, np.random.default_rng(s)).picture for s in range(30)]
    spotted = [one for one in damaged if (one == 1).any() and (one == 0).any()]
    assert 0.15 < len(spotted) / len(damaged) < 0.7
    for one in spotted:  # a spot is one pixel in every channel
        assert ((one == 1).all(2) == (one == 1).any(2)).mean() > 0.99


def test_speckle_leaves_black_alone_and_grows_with_light() -> None:
    ramp = np.broadcast_to(np.array([0.0, 0.2, 0.6], np.float32)[:, None, None], (3, 2000, 3)).copy()
    draws = [DEGRADATIONS["speckle"](1.0)(ramp, np.random.default_rng(s)).picture for s in range(6)]
    assert not any(one[0].any() for one in draws)
    dark, light = (np.mean([one[row].std() for one in draws]) for row in (1, 2))
    assert light / dark == pytest.approx(3, rel=0.2)


def test_jpeg_makes_blocks() -> None:
    """Steps across the borders of the 8×8 blocks grow against steps within them."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((96, 96)), 6)
    smooth = np.repeat(((smooth - smooth.min()) / np.ptp(smooth))[..., None], 3, axis=2).astype(np.float32)
    steps = np.zeros(8)
    for seed in range(10):
        damaged = DEGRADATIONS["jpeg"](1.6)(smooth, np.random.default_rng(seed)).picture
        columns = np.abs(np.diff(damaged[..., 1], axis=1)).mean(0)
        steps += np.array([columns[i::8].mean() for i in range(8)])
    assert steps[7] > 1.15 * np.delete(steps, 7).mean()


def masks(name: str, seeds: int, *, side: int = 160, severity: float = 1.0) -> list[Picture]:
    flat = np.full((side, side, 3), 0.5, np.float32)
    return [DEGRADATIONS[name](severity)(flat, np.random.default_rng(s)).mask for s in range(seeds)]


def largest_component(mask: Picture) -> NDArray[np.intp]:
    labels, count = ndimage.label(mask > 0.1, structure=np.ones((3, 3)))
    sizes = ndimage.sum_labels(mask > 0.1, labels, range(1, count + 1))
    return np.argwhere(labels == 1 + int(np.argmax(sizes)))


def test_scratches_are_long_and_thin() -> None:
    """A quarter cross most of the picture, half nearly half of it: some end within, and paint may break."""
    lengths, widths = [], []
    for mask in masks("scratches", 40, severity=0.5):
        if (mask > 0.1).any():
            component = largest_component(mask)
            lengths.append(np.ptp(component, axis=0).max() / len(mask))
            widths.append(len(component) / (1 + np.ptp(component, axis=0).max()))
    assert np.quantile(lengths, 0.75) > 0.7 and np.median(lengths) > 0.4
    assert np.median(widths) < 5


def test_scratches_are_straight() -> None:
    """A component's spread across its main direction is a small part of that along it."""
    ratios = []
    for mask in masks("scratches", 40, severity=0.3):
        if (mask > 0.1).sum() > 60:
            along = np.linalg.svd(np.cov(largest_component(mask).T))[1]
            ratios.append(np.sqrt(along[1] / along[0]))
    assert len(ratios) > 20
    assert np.median(ratios) < 0.08


def test_cracks_branch() -> None:
    """A thinned crack has points from which three or more arms go; a line has none."""
    from skimage.morphology import skeletonize

    def arms(mask: Picture) -> int:
        skeleton = skeletonize(mask > 0.25)
        neighbours = ndimage.convolve(skeleton.astype(int), np.ones((3, 3), int), mode="constant") - 1
        return int((skeleton & (neighbours >= 3)).sum())

    cracks = [arms(mask) for mask in masks("cracks", 16)]
    assert np.mean([n > 0 for n in cracks]) > 0.7
    assert np.mean(cracks) > 5
    assert np.median([np.ptp(largest_component(m), axis=0).max() / len(m) for m in masks("cracks", 16)]) > 0.3


def test_cracks_show_the_paper() -> None:
    flat = np.full((160, 160, 3), 0.3, np.float32)
    shown = []
    for seed in range(60):
        damaged = DEGRADATIONS["cracks"](1.0)(flat, np.random.default_rng(seed))
        if (opaque := damaged.mask > 0.8).any():
            shown.append(damaged.picture[opaque].mean())
    bright, dark = np.mean(np.array(shown) > 0.5), np.mean(np.array(shown) < 0.2)
    assert bright > 0.45 and 0.05 < dark < bright  # mostly the paper, sometimes dirt in the crack


def test_dust_is_many_small_specks() -> None:
    counts, areas = [], []
    for mask in masks("dust", 20, side=240):
        labels, count = ndimage.label(mask > 0.1)
        counts.append(count)
        areas += ndimage.sum_labels(mask > 0.1, labels, range(1, count + 1)).tolist()
    assert np.mean(counts) > 5
    assert np.median(areas) < 60


def test_folds_cross_the_picture() -> None:
    crossed = [np.ptp(np.argwhere(mask > 0.03), axis=0).max() / len(mask) for mask in masks("folds", 20)]
    assert np.mean(np.array(crossed) > 0.9) > 0.8


def test_tears_eat_into_the_border_and_spare_the_middle() -> None:
    gone = np.mean([mask > 0.9 for mask in masks("tears", 60)], axis=0)
    border = np.concatenate([gone[:6].ravel(), gone[-6:].ravel(), gone[:, :6].ravel(), gone[:, -6:].ravel()])
    assert border.mean() > 0.1
    assert gone[60:100, 60:100].mean() < 0.02


def test_uneven_fading_is_weak_and_wide() -> None:
    veils = masks("uneven-fading", 20)
    assert np.mean([veil.max() for veil in veils]) < 0.6
    assert np.mean([(veil > 0.02).mean() for veil in veils]) > 0.3
    assert np.mean([np.abs(np.diff(veil, axis=0)).mean() for veil in veils]) < 0.02


def test_widths_scale_with_the_picture() -> None:
    """The same damage on a scan of twice the size covers about the same share of it."""
    small = np.mean([(m > 0.1).mean() for m in masks("scratches", 24, side=300)])
    large = np.mean([(m > 0.1).mean() for m in masks("scratches", 24, side=600)])
    assert large / small == pytest.approx(1, rel=0.35)
