r"""Recipes: the shares they declare, the order they keep, and the same damage on numpy and torch."""

from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from relume.degrade import DEGRADATIONS, RECIPES, recipe
from relume.degrade.degradation import stack_draws
from relume.degrade.dust import Dust
from relume.degrade.fading import Fading
from relume.degrade.jpeg import Jpeg
from relume.degrade.noise import Noise
from relume.degrade.recipes import Plan, Recipe, Stage, plan_mask
from relume.degrade.resample import Blur
from relume.degrade.scratches import Scratches
from relume.degrade.stains import UnevenFading
from relume.errors import UsageError

SHAPE = (3, 40, 56)
EVERY = pytest.mark.parametrize("name", RECIPES)


def scene(seed: int = 0) -> NDArray[np.float32]:
    rows, columns = np.mgrid[0 : SHAPE[1], 0 : SHAPE[2]] / SHAPE[1]
    picture = np.stack([0.7 * columns, rows, 0.5 + 0.4 * np.sin(9 * rows * columns)], axis=-1)
    picture += 0.03 * np.random.default_rng(seed).standard_normal(picture.shape)
    return np.clip(picture, 0, 1).astype(np.float32)


def names(plan: Plan) -> list[str]:
    return [damage.name for damage, _ in plan]


@lru_cache
def plans(name: str, count: int = 400) -> list[Plan]:
    tiny = (3, 12, 16)
    return [RECIPES[name].sample(tiny, np.random.default_rng([7, seed])) for seed in range(count)]


@EVERY
def test_a_recipe_is_found_by_its_name(name: str) -> None:
    assert recipe(name) is RECIPES[name]
    assert recipe(name).name == name


def test_an_unknown_recipe_names_those_that_exist() -> None:
    with pytest.raises(UsageError, match="old-photo"):
        recipe("new-photo")


@EVERY
def test_the_same_seed_gives_the_same_bytes(name: str) -> None:
    picture = scene()
    results = [[recipe(name)(picture, np.random.default_rng(s)) for s in range(6)] for _ in range(2)]
    for one, two in zip(*results, strict=True):
        assert one.picture.tobytes() == two.picture.tobytes()
        assert one.mask.tobytes() == two.mask.tobytes()
    assert len({one.picture.tobytes() for one in results[0]}) >= 5


@EVERY
def test_shape_and_range_in_one_and_three_channels(name: str) -> None:
    for channels in (1, 3):
        picture = scene()[..., :channels]
        for seed in range(6):
            damaged = recipe(name)(picture, np.random.default_rng(seed), severity=2.0)
            assert damaged.picture.shape == picture.shape
            assert damaged.mask.shape == picture.shape[:2]
            for values in damaged:
                assert values.dtype == np.float32
                assert values.min() >= 0 and values.max() <= 1


@EVERY
def test_severity_zero_changes_nothing(name: str) -> None:
    for seed in range(8):
        damaged = recipe(name)(scene(), np.random.default_rng(seed), severity=0)
        np.testing.assert_allclose(damaged.picture, scene(), rtol=0, atol=5e-6)
        assert not damaged.mask.any()


@EVERY
def test_the_share_of_clean_pictures_is_as_declared(name: str) -> None:
    declared = RECIPES[name].clean
    # An empty plan may also come about by every die falling badly.
    by_chance = 1.0
    for stage in RECIPES[name].stages:
        skipped = np.prod([1 - chance for _, chance in stage.choices])
        whole = RECIPES[name].whole if stage.structured else 0.0
        by_chance *= whole + (1 - whole) * skipped
    expected = declared + (1 - declared) * by_chance
    measured = np.mean([not plan for plan in plans(name)])
    assert abs(measured - expected) < 4 * np.sqrt(expected * (1 - expected) / 400) + 1e-9


@EVERY
def test_every_damage_comes_as_often_as_declared(name: str) -> None:
    recipe_ = RECIPES[name]
    expected: dict[str, float] = {}
    for stage in recipe_.stages:
        for kind, chance in stage.choices:
            whole = recipe_.whole if stage.structured else 0.0
            expected[kind.name] = expected.get(kind.name, 0) + (1 - recipe_.clean) * (1 - whole) * chance
    counts = {kind: 0 for kind in expected}
    for plan in plans(name):
        for kind in names(plan):
            counts[kind] += 1
    for kind, mean in expected.items():
        assert abs(counts[kind] / 400 - mean) < 4 * np.sqrt(max(mean, 0.05) / 400), kind


@EVERY
def test_stages_come_in_order(name: str) -> None:
    """Each plan can be read off the stages from left to right."""
    stages = [{kind.name for kind, _ in stage.choices} for stage in RECIPES[name].stages]
    for plan in plans(name, 100):
        place = 0
        for kind in names(plan):
            while place < len(stages) and kind not in stages[place]:
                place += 1
            assert place < len(stages), names(plan)


def test_unshuffled_stages_keep_their_order_and_shuffled_ones_do_not() -> None:
    choices = ((Fading, 1.0), (Blur, 1.0), (Noise, 1.0))
    fixed, shuffled = (Recipe("test", (Stage(choices, shuffled=value),)) for value in (False, True))
    orders = [
        {tuple(names(r.sample((3, 8, 8), np.random.default_rng(s)))) for s in range(60)}
        for r in (fixed, shuffled)
    ]
    assert orders[0] == {("fading", "blur", "noise")}
    assert len(orders[1]) == 6


def test_whole_pictures_carry_no_structured_damage() -> None:
    always = Recipe("test", (Stage(((Scratches, 1.0), (Dust, 1.0)), structured=True),), whole=0.5)
    lengths = [len(always.sample((3, 8, 8), np.random.default_rng(s))) for s in range(200)]
    assert set(lengths) == {0, 2}
    assert np.mean(np.array(lengths) == 0) == pytest.approx(0.5, abs=0.15)


def test_the_five_families_are_all_there() -> None:
    for plan in plans("five-families", 20):
        assert names(plan) == ["fading", "blur", "low-contrast", "noise", "scratches", "cracks"]


def test_old_photo_reaches_every_damage_but_those_that_fading_holds() -> None:
    """Lost contrast and moved black and white points are part of fading there; light that falls off is for
    the shading net to learn from, and sharpening is part of the pairs that the local net learns from."""
    seen = {kind for plan in plans("old-photo") for kind in names(plan)}
    assert seen == set(DEGRADATIONS) - {"low-contrast", "levels", "shading", "sharpen"}


def test_structure_leaves_tone_alone() -> None:
    assert not {"fading", "low-contrast"} & {kind for plan in plans("structure") for kind in names(plan)}


def test_the_mask_is_the_union_without_veils() -> None:
    size = SHAPE[1:]
    draw = [kind(1.0).sample(SHAPE, np.random.default_rng(2)) for kind in (Scratches, Dust, UnevenFading)]
    kinds = (Scratches(1.0), Dust(1.0), UnevenFading(1.0))
    plan: Plan = list(zip(kinds, draw, strict=True))
    union = np.maximum(draw[0]["alpha"][0], draw[1]["alpha"][0])
    np.testing.assert_array_equal(plan_mask(plan, size), union)
    np.testing.assert_array_equal(plan_mask([], size), np.zeros(size))
    np.testing.assert_array_equal(
        plan_mask([(Noise(1.0), Noise(1.0).sample(SHAPE, np.random.default_rng(0)))], size), 0
    )


def test_a_recipe_is_its_damages_one_after_the_other() -> None:
    picture = scene()
    plan = recipe("old-photo").sample(SHAPE, np.random.default_rng(3), severity=1.2)
    assert len(plan) > 3
    by_hand = picture.transpose(2, 0, 1)[None]
    for damage, draw in plan:
        by_hand = damage.apply(by_hand, stack_draws([draw]))
    damaged = recipe("old-photo")(picture, np.random.default_rng(3), severity=1.2)
    np.testing.assert_array_equal(np.clip(by_hand[0].transpose(1, 2, 0), 0, 1), damaged.picture)


def test_unit_sets_the_width_of_scratches() -> None:
    wide, narrow = (
        np.mean(
            [recipe("five-families")(scene(), np.random.default_rng(s), unit=unit).mask for s in range(12)]
        )
        for unit in (3.0, 0.75)
    )
    assert wide > 1.5 * narrow


@EVERY
def test_torch_batches_agree_with_numpy(name: str) -> None:
    """Within one level; behind JPEG, whose rounding may fall the other way in a block, for all but a few."""
    torch = pytest.importorskip("torch")
    from relume.degrade.batched import degrade_batch

    count = 16
    pictures = [scene(seed) for seed in range(count)]
    sampled = [recipe(name).sample(SHAPE, np.random.default_rng(seed)) for seed in range(count)]
    clean = torch.from_numpy(np.stack([p.transpose(2, 0, 1) for p in pictures]))
    before = clean.clone()
    together = degrade_batch(clean, sampled)
    assert torch.equal(clean, before)
    assert together.pictures.dtype == together.masks.dtype == torch.float32
    assert together.masks.shape == (count, 1, *SHAPE[1:])
    for seed in range(count):
        alone = recipe(name)(pictures[seed], np.random.default_rng(seed))
        np.testing.assert_array_equal(together.masks[seed, 0].numpy(), alone.mask)
        off = np.abs(together.pictures[seed].permute(1, 2, 0).numpy() - alone.picture) > 1 / 255
        if any(isinstance(damage, Jpeg) for damage, _ in sampled[seed]):
            assert off.mean() < 0.05
        else:
            assert not off.any()


def test_a_batch_without_plans_comes_back_as_it_was() -> None:
    torch = pytest.importorskip("torch")
    from relume.degrade.batched import degrade_batch

    clean = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    damaged = degrade_batch(clean, [[], []])
    assert torch.equal(damaged.pictures, clean)
    assert not damaged.masks.any()
