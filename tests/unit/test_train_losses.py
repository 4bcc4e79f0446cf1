r"""Losses against their formulas, and objectives that a net can follow."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from relume.degrade import DEGRADATIONS  # noqa: E402
from relume.diffusion import linear  # noqa: E402
from relume.nets import build  # noqa: E402
from relume.train import TRAINABLE  # noqa: E402
from relume.train.config import TrainConfig  # noqa: E402
from relume.train.losses import balanced_bce, gradient_l1, log_mse, spectral_l1  # noqa: E402
from relume.train.objectives import Restore, objective  # noqa: E402
from relume.train.pairs import PAIRS, Batches  # noqa: E402
from relume.train.photos import Photos  # noqa: E402

SMALL: dict[str, dict[str, Any]] = {
    "restorer": {"widths": (8, 12), "encoder": (1,), "middle": 1, "decoder": (1,), "time_width": 8},
    "shading": {"grid": 8, "widths": (6, 8), "blocks": 1},
    "tone": {"width": 4, "knots": 8, "channels": (4, 6)},
    "unet": {"base": 8, "multipliers": (1, 2), "groups": 4},
}


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    files = []
    for i in range(4):
        rows, columns = np.mgrid[0:48, 0:56] / 56
        waves = [
            0.5 + 0.4 * np.sin(rng.uniform(2, 12) * rows + rng.uniform(2, 12) * columns) for _ in range(3)
        ]
        files.append(folder / f"p_{i}.png")
        PilImage.fromarray((np.stack(waves, axis=-1) * 255).astype(np.uint8)).save(files[-1])
    return Photos(files)


# --- losses ----------------------------------------------------------------------------------------------

LOSSES: dict[str, Callable[..., Any]] = {
    "log_mse": log_mse,
    "gradient_l1": gradient_l1,
    "spectral_l1": spectral_l1,
}
EVERY = pytest.mark.parametrize("name", LOSSES)


def pictures(*, count: int = 2, height: int = 6, width: int = 8, dtype: Any = torch.float64) -> Any:
    return torch.rand(2, count, 3, height, width, dtype=dtype)


@EVERY
def test_losses_are_least_at_equality(name: str) -> None:
    a, b = pictures()
    at_equality = LOSSES[name](a, a)
    assert at_equality == pytest.approx(math.log(1e-4) if name == "log_mse" else 0, abs=1e-6)
    assert LOSSES[name](a, b) > at_equality
    assert LOSSES[name](a, b) == pytest.approx(float(LOSSES[name](b, a)), rel=1e-6)


@EVERY
def test_gradients_are_right(name: str) -> None:
    a, b = pictures(count=1, height=4, width=5)
    if name == "spectral_l1":  # computed in float32 whatever comes in
        a = a.float().requires_grad_()
        direction = torch.randn_like(a)
        (slope,) = torch.autograd.grad(spectral_l1(a, b), a)
        step = 1e-2
        numeric = (spectral_l1(a + step * direction, b) - spectral_l1(a - step * direction, b)) / (2 * step)
        assert float((slope * direction).sum()) == pytest.approx(float(numeric.detach()), rel=2e-2, abs=2e-3)
    else:
        assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, b), (a.requires_grad_(),))


def test_log_mse_is_the_mean_of_logarithms() -> None:
    a, b = pictures(count=3)
    errors = ((a - b) ** 2).numpy().reshape(3, -1).mean(1)
    assert float(log_mse(a, b)) == pytest.approx(np.log(errors + 1e-4).mean())


def test_weights_matter_by_their_ratio_only() -> None:
    a, b = pictures()
    weight = 0.2 + torch.rand(2, 1, 6, 8, dtype=torch.float64)
    by_hand = [float(((a - b)[i].square() * weight[i]).mean() / weight[i].mean()) for i in range(2)]
    assert float(log_mse(a, b, weight)) == pytest.approx(np.log(np.array(by_hand) + 1e-4).mean())
    assert float(log_mse(a, b, 7 * weight)) == pytest.approx(float(log_mse(a, b, weight)))
    assert float(log_mse(a, b, torch.ones_like(weight))) == pytest.approx(float(log_mse(a, b)))


def test_gradient_l1_sees_edges_and_no_tone() -> None:
    a, b = pictures()
    assert float(gradient_l1(a + 0.3, a)) == pytest.approx(0, abs=1e-12)
    assert float(gradient_l1(a + 0.3, b)) == pytest.approx(float(gradient_l1(a, b)))
    error = (a - b).numpy()
    by_hand = np.abs(np.diff(error, axis=3)).mean() + np.abs(np.diff(error, axis=2)).mean()
    assert float(gradient_l1(a, b)) == pytest.approx(by_hand)


def test_spectral_l1_keeps_to_parseval() -> None:
    """An orthonormal spectrum has the energy of the picture; shifts change no modulus."""
    a, b = pictures(height=8)
    error = (a - b).float()
    spectrum = torch.fft.fft2(error, norm="ortho").abs()
    assert float(spectrum.square().mean()) == pytest.approx(float(error.square().mean()), rel=1e-5)
    half = np.abs(np.fft.rfft2(error.numpy(), norm="ortho")).mean()
    assert float(spectral_l1(a, b)) == pytest.approx(half, rel=1e-5)
    assert float(spectral_l1(3 * a, 3 * b)) == pytest.approx(3 * half, rel=1e-5)
    rolled = torch.roll(a, (2, 3), (2, 3)), torch.roll(b, (2, 3), (2, 3))
    assert float(spectral_l1(*rolled)) == pytest.approx(half, rel=1e-5)


def test_a_missed_damage_costs_four_times_a_false_one() -> None:
    logit, one = torch.tensor([[1.5]]), torch.ones(1, 1)
    assert float(balanced_bce(-logit, one)) == pytest.approx(4 * float(balanced_bce(logit, 0 * one)))
    assert float(balanced_bce(torch.tensor([[0.0]]), one)) == pytest.approx(4 * math.log(2))
    assert float(balanced_bce(torch.tensor([[30.0]]), one)) == pytest.approx(0, abs=1e-6)


# --- pairs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS)
def test_batches_depend_on_seed_and_step_alone(photos: Photos, pair: str) -> None:
    def make(seed: int, process: int = 0) -> Batches:
        return Batches(photos, pair=pair, size=16, batch=3, seed=seed, process=process)

    data = make(0)
    data[3]  # what was asked before does not matter
    one, two = data[5], make(0)[5]
    even = {"even": (3, 3, 16, 16)} if pair in ("uneven", "shading") else {}
    assert {key: tuple(value.shape) for key, value in one.items()} == even | {
        "clean": (3, 3, 16, 16),
        "damaged": (3, 3, 16, 16),
        "faded": (3, 3, 16, 16),
        "mask": (3, 1, 16, 16),
        "noise": (3, 3, 16, 16),
        "dice": (3, 8),
    }
    for key, value in one.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, two[key])
        if key != "noise":
            assert value.min() >= 0 and value.max() <= 1
    for other in (make(1)[5], make(0, 1)[5], make(0)[6]):
        assert not torch.equal(other["noise"], one["noise"])
        assert not torch.equal(other["clean"], one["clean"])


def test_pairs_are_damaged_except_for_generation(photos: Photos) -> None:
    harm = {}
    for pair in PAIRS:
        batch = Batches(photos, pair=pair, size=16, batch=24, seed=0)[0]
        harm[pair] = (batch["damaged"] - batch["clean"]).abs().amax((1, 2, 3))
    assert not harm["generation"].any()
    for pair in ("photo", "tone", "uneven", "shading", "damaged"):
        assert float((harm[pair] > 0).float().mean()) >= 0.7


def test_a_third_of_the_photographs_is_black_and_white(photos: Photos) -> None:
    clean = torch.cat([Batches(photos, pair="tone", size=8, batch=50, seed=s)[0]["clean"] for s in range(3)])
    grey = (clean.amax(1) - clean.amin(1)).amax((1, 2)) < 1e-6
    assert float(grey.float().mean()) == pytest.approx(0.35, abs=0.13)


# --- objectives ------------------------------------------------------------------------------------------


def small(name: str, **changes: Any) -> TrainConfig:
    config = TRAINABLE[name]
    extra = {"conditional": False} if name == "generator" else {}
    return replace(config, config={**SMALL[config.net], **extra}, size=16, batch=8, **changes)


@pytest.mark.parametrize("name", [name for name in TRAINABLE if TRAINABLE[name].net in SMALL])
def test_every_recipe_learns_a_batch_by_heart(photos: Photos, name: str) -> None:
    config = small(name)
    batch = Batches(photos, pair=config.pair, size=config.size, batch=config.batch, seed=0)[0]
    net = build(config.net, config.config)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, betas=config.betas)
    losses = []
    for _ in range(25):
        loss, figures = objective(config.objective, config.settings)(net, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        assert all(
            value.ndim == 0 and math.isfinite(value) and not value.requires_grad for value in figures.values()
        )
    assert losses[-1] < losses[0] - 0.05 * abs(losses[0])
    assert min(losses[-5:]) < min(losses[:5])


@pytest.mark.parametrize("name", [name for name in TRAINABLE if TRAINABLE[name].net in SMALL])
def test_objectives_draw_nothing_themselves(photos: Photos, name: str) -> None:
    config = small(name)
    batch = Batches(photos, pair=config.pair, size=16, batch=4, seed=0)[0]
    net = build(config.net, config.config)
    before = {key: value.clone() for key, value in batch.items()}
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        losses.append(float(objective(config.objective, config.settings)(net, batch)[0].detach()))
    assert losses[0] == losses[1]
    assert all(torch.equal(before[key], batch[key]) for key in batch)


class _Spy(torch.nn.Module):
    """Keeps what it was given, and answers with what it was told to."""

    def __init__(self, answer: Any, config: Any = None) -> None:
        super().__init__()
        self.answer, self.config = answer, config

    def forward(self, *given: Any) -> Any:
        self.given = given
        return self.answer


def handmade(count: int, dice: Any) -> dict[str, Any]:
    clean, damaged = torch.rand(2, count, 3, 8, 8)
    mask = torch.zeros(count, 1, 8, 8)
    mask[:, :, 2:4, 2:4] = 1
    return {
        "clean": clean,
        "damaged": damaged,
        "mask": mask,
        "noise": torch.randn(count, 3, 8, 8),
        "dice": dice,
    }


def test_the_restorer_is_asked_for_the_regression_and_the_chain() -> None:
    count = 64
    batch = handmade(count, torch.rand(count, 8))
    spy = _Spy(torch.cat([batch["clean"], torch.zeros(count, 1, 8, 8)], dim=1))
    objective("restore", {})(spy, batch)
    x, condition, t = spy.given
    chained = batch["dice"][:, 1] < Restore().chain
    assert torch.equal(x[~chained], batch["damaged"][~chained])
    assert (t[~chained] == 1).all()
    assert torch.equal(condition[:, :3], batch["damaged"])
    assert set(t[chained].tolist()) == {0.25, 0.5, 0.75, 1.0}
    from relume.diffusion import residual_shift

    roots = residual_shift(4).sqrt_eta
    for i in torch.argwhere(chained)[:, 0].tolist():
        root = roots[round(4 * float(t[i])) - 1]
        expected = (
            (1 - root**2) * batch["clean"][i]
            + root**2 * batch["damaged"][i]
            + Restore().kappa * root * batch["noise"][i]
        )
        torch.testing.assert_close(x[i], expected, rtol=1e-5, atol=1e-5)


def test_the_mask_is_told_half_of_the_time_and_sometimes_too_wide() -> None:
    count = 200
    batch = handmade(count, torch.rand(count, 8))
    spy = _Spy(torch.zeros(count, 4, 8, 8))
    objective("restore", {})(spy, batch)
    areas = spy.given[1][:, 3].sum((1, 2))
    assert set(areas.tolist()) == {0.0, 4.0, 16.0}
    assert float((areas == 0).float().mean()) == pytest.approx(0.5, abs=0.12)


def test_a_perfect_answer_costs_least() -> None:
    batch = handmade(4, torch.rand(4, 8))
    logit = torch.where(batch["mask"] > 0.2, 20.0, -20.0)
    perfect, figures = objective("restore", {})(_Spy(torch.cat([batch["clean"], logit], dim=1)), batch)
    assert float(perfect) == pytest.approx(0.1 * math.log(1e-4), abs=1e-4)
    assert float(figures["psnr"]) == pytest.approx(80, abs=0.1)
    blind, _ = objective("restore", {})(_Spy(torch.cat([batch["clean"], -logit], dim=1)), batch)
    assert blind > perfect


def test_tone_is_read_off_all_damage_and_judged_on_fading_alone() -> None:
    knots = 8
    config = build("tone", {"width": 4, "knots": knots}).config
    batch = handmade(2, torch.rand(2, 8))
    batch["faded"] = batch["clean"].clone()
    spy = _Spy(torch.zeros(2, 3 * knots + 15), config)  # zeros keep the tone: the best answer here
    loss, figures = objective("tone", {})(spy, batch)
    assert torch.equal(spy.given[0], batch["damaged"])
    assert float(figures["l1"]) == pytest.approx(0, abs=1e-6) and float(figures["psnr"]) > 55
    batch["damaged"] = torch.rand_like(batch["damaged"])
    assert objective("tone", {})(spy, batch)[0] == loss
    for _ in range(10):
        other = _Spy(0.1 * torch.randn(2, 3 * knots + 15), config)
        assert objective("tone", {})(other, batch)[0] > loss
    batch["faded"] = 0.5 + 0.5 * batch["clean"]
    assert objective("tone", {})(spy, batch)[0] > loss + 0.1


def test_a_staircase_costs_more_than_a_curve() -> None:
    knots = 8
    config = build("tone", {"width": 4, "knots": knots}).config
    batch = handmade(2, torch.rand(2, 8))
    flat = torch.full_like(batch["clean"], 0.5)
    batch |= {"clean": flat, "faded": flat, "damaged": flat}
    # Both curves take 0.5 to 0.5; one of them by steps.
    smooth, steps = torch.zeros(2, 3 * knots + 15), torch.zeros(2, 3 * knots + 15)
    steps[:, : 3 * knots] = torch.log(torch.tensor([0.2, 1.8]).repeat(3 * knots // 2))
    costs = [objective("tone", {})(_Spy(one, config), batch)[0] for one in (smooth, steps)]
    assert costs[1] > costs[0] + 0.01


def test_shading_is_read_off_all_damage_and_judged_on_tone_alone() -> None:
    batch = handmade(2, torch.rand(2, 8))
    batch["even"] = batch["clean"].clone()
    batch["faded"] = 0.5 * batch["clean"] + 0.2
    inverse = torch.cat([torch.full((2, 3, 8, 8), math.log(2)), torch.full((2, 3, 8, 8), -0.4)], dim=1)
    aim, right = objective("shading", {}), _Spy(inverse)
    best, figures = aim(right, batch)
    assert torch.equal(right.given[0], batch["damaged"])
    assert float(figures["left"]) < 1e-4 and float(figures["psnr"]) > 50
    assert float(aim(_Spy(torch.zeros(2, 6, 8, 8)), batch)[1]["left"]) == pytest.approx(1, abs=1e-4)
    assert aim(_Spy(torch.zeros(2, 6, 8, 8)), batch)[0] > best + 0.1
    # Errors count in units of the contrast that they will be stretched with.
    flat = batch | {key: 0.1 * batch[key] + 0.4 for key in ("even", "faded")}
    shifted = torch.cat([torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.05)], dim=1)
    flat["faded"], same = flat["even"], batch | {"faded": batch["even"]}
    assert aim(_Spy(shifted), flat)[0] > 2 * aim(_Spy(shifted), same)[0]
    rough = 0.5 * inverse + 1e-3 * torch.randn_like(inverse)
    assert objective("shading", {"smooth": 1.0})(_Spy(rough), batch)[0] > aim(_Spy(rough), batch)[0]


def test_even_is_faded_without_what_is_uneven(photos: Photos) -> None:
    batch = Batches(photos, pair="shading", size=32, batch=64, seed=0)[0]
    uneven = (batch["faded"] - batch["even"]).abs().amax((1, 2, 3)) > 1e-3
    assert 0.4 < float(uneven.float().mean()) < 0.75  # the others have to be left alone
    assert float(((batch["even"] - batch["clean"]).abs().amax((1, 2, 3)) > 1e-3).float().mean()) > 0.3
    flat = Batches(photos, pair="shading", size=32, batch=24, seed=1)
    flat.make = lambda photos, size, rng: (
        np.full((3, size, size), 0.4, np.float32),
        PAIRS["shading"](photos, size, rng)[1],
    )
    spread = {key: value.flatten(2).std(dim=2).amax(1) for key, value in flat[0].items() if key != "dice"}
    assert float(spread["even"].max()) < 1e-6 and float((spread["faded"] > 1e-3).float().mean()) > 0.3


def test_faded_holds_the_damage_to_tone_and_no_other(photos: Photos) -> None:
    batch = Batches(photos, pair="tone", size=16, batch=64, seed=0)[0]
    faded = (batch["faded"] - batch["clean"]).abs().amax((1, 2, 3))
    assert 0.5 < float((faded > 1e-3).float().mean()) < 0.95  # the others have to be left alone
    rest = (batch["damaged"] - batch["faded"]).abs().amax((1, 2, 3))
    assert float((rest > 1e-3).float().mean()) > 0.6
    # A change of tone alone keeps equal colours equal, wherever they are: no noise, no scratch.
    flat = Batches(photos, pair="tone", size=16, batch=8, seed=1)
    flat.make = lambda photos, size, rng: (
        np.full((3, size, size), 0.4, np.float32),
        PAIRS["tone"](photos, size, rng)[1],
    )
    even = flat[0]
    spread = [even[key].flatten(2).std(dim=2).amax(1) for key in ("faded", "damaged")]
    assert float((spread[0] < 1e-6).float().mean()) >= 0.6 > float((spread[1] < 1e-6).float().mean())
    plain = Batches(photos, pair="generation", size=16, batch=4, seed=0)[0]
    assert torch.equal(plain["faded"], plain["clean"])


def test_most_crops_do_not_begin_where_a_block_of_a_jpeg_does(photos: Photos) -> None:
    data = Batches(photos, pair="photo", size=32, batch=64, seed=0)

    def saved(photos: Photos, size: int, rng: np.random.Generator) -> Any:
        jpeg = DEGRADATIONS["jpeg"](3.0)
        picture = rng.random((3, size, size), dtype=np.float32)
        return picture, [(jpeg, {"quality": np.full((1, 1, 1), 5, np.float32)})]

    data.make = saved
    batch = data[0]
    assert batch["clean"].shape == batch["damaged"].shape == (64, 3, 32, 32)
    steps = batch["damaged"].diff(dim=3).abs().mean((1, 2))  # (64, 31): across blocks they are larger
    grid = np.array([[float(step[phase::8].mean()) for phase in range(8)] for step in steps]).argmax(1)
    assert 0.15 < float((grid == 7).mean()) < 0.6 and len(set(grid.tolist())) == 8
    # What belongs together is cut at one place: without damage both are the same.
    data.make = lambda photos, size, rng: (rng.random((3, size, size), dtype=np.float32), [])
    assert torch.equal(data[0]["damaged"], data[0]["clean"])


def test_a_scanner_softens_marks_as_well_as_pictures_in_about_half_of_the_pairs(photos: Photos) -> None:
    """A net that only meets marks sharper than what they lie on looks for sharpness, and no scan has it."""
    soft, marked = 0, 0
    for seed in range(300):
        _, plan = PAIRS["photo"](photos, 32, np.random.default_rng(seed))
        marks = [place for place, (damage, _) in enumerate(plan) if damage.structured]
        if marks:
            marked += 1
            soft += any(damage.name in ("blur", "resample") for damage, _ in plan[marks[-1] + 1 :])
    assert marked > 150 and 0.4 < soft / marked < 0.75


def test_three_tenths_of_the_pairs_are_sharpened_after_all_marks(photos: Photos) -> None:
    """And some hold specks by the hundred."""
    sharp, dusty = 0, 0
    for seed in range(300):
        _, plan = PAIRS["photo"](photos, 32, np.random.default_rng(seed))
        names = [damage.name for damage, _ in plan]
        marks = [place for place, (damage, _) in enumerate(plan) if damage.structured]
        if "sharpen" in names:
            sharp += 1
            assert not marks or names.index("sharpen") > marks[-1]
        dusty += any(damage.name == "dust" and damage.severity >= 1.5 for damage, _ in plan)
    assert 0.23 < sharp / 300 < 0.38 and 0.03 < dusty / 300 < 0.16


def test_sharpening_alone_is_no_damage_and_what_it_made_of_grain_is(photos: Photos) -> None:
    """A net that was to undo it softened sound photographs."""
    data = Batches(photos, pair="photo", size=32, batch=1, seed=0)
    rng = np.random.default_rng(0)
    picture = np.full((3, 40, 40), 0.4, np.float32)
    picture[:, :, 20:] = 0.6
    planned = {name: (DEGRADATIONS[name](), {}) for name in ("sharpen", "noise", "blur")}
    planned = {name: (kind, kind.sample(picture.shape, rng)) for name, (kind, _) in planned.items()}

    def pair(*names: str) -> tuple[torch.Tensor, torch.Tensor]:
        data.make = lambda photos, size, rng: (picture, [planned[name] for name in names])
        return data[0]["damaged"], data[0]["clean"]

    damaged, target = pair("sharpen")
    assert torch.equal(damaged, target) and target.max() > 0.605
    damaged, grainy = pair("noise", "sharpen")
    assert torch.equal(grainy, target) and not torch.equal(damaged, target)
    # What a scanner made soft before is to be as it was.
    assert pair("blur", "sharpen")[1].max() == pytest.approx(0.6)


@pytest.mark.parametrize("conditional", [True, False])
def test_the_original_system_predicts_the_noise(conditional: bool) -> None:
    count = 40
    batch = handmade(count, torch.rand(count, 8))
    batch["dice"][0, 0], batch["dice"][1, 0] = 0.0, 1 - 2**-24
    config = build("unet", {**SMALL["unet"], "conditional": conditional}).config
    spy = _Spy(batch["noise"], config)
    loss, _ = objective("epsilon", {})(spy, batch)
    assert float(loss) == 0
    x, t, condition = spy.given
    assert float(t[0]) == pytest.approx(1 / 300) and float(t[1]) == 1
    schedule = linear(300)
    for i in range(count):
        level = schedule.at_time(float(t[i]))
        expected = level.alpha * (2 * batch["clean"][i] - 1) + level.sigma * batch["noise"][i]
        torch.testing.assert_close(x[i], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x[1], batch["noise"][1], rtol=0, atol=0.05)  # step 300 is noise
    if conditional:
        assert torch.equal(condition, 2 * batch["damaged"] - 1)
    else:
        assert condition is None
