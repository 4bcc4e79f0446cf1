r"""Objectives and their settings: first principles, oracles, and what a recipe refuses."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from relume.diffusion import gaussian_noise, linear  # noqa: E402
from relume.errors import TrainingError, UsageError  # noqa: E402
from relume.nets import build  # noqa: E402
from relume.train import TRAINABLE  # noqa: E402
from relume.train.checkpoint import save_checkpoint  # noqa: E402
from relume.train.losses import weighted_l1  # noqa: E402
from relume.train.objectives import Distil, PredictNoise, Restore, objective  # noqa: E402

COUNT = 48
SMALL = {"widths": (8, 12), "encoder": (1,), "middle": 1, "decoder": (1,), "time_width": 8}
UNET = {"base": 8, "multipliers": (1, 2), "groups": 4}
# sqrt(η) = 0.1 b^(3 (i/3)^0.3) with b³ = 9.9: the published schedule of four levels.
ROOTS = np.array([0.1 * 9.9 ** ((i / 3) ** 0.3) for i in range(4)])


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


class Answering(torch.nn.Module):
    """Answers by a function of what it was given, and keeps it."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer
        self.given: list[Any] = []

    def forward(self, *given: Any) -> Any:
        self.given = [*self.given, given]
        return self.answer(*given)


def batch(count: int = COUNT) -> dict[str, Any]:
    clean, damaged = torch.rand(2, count, 3, 8, 8)
    return {
        "clean": clean,
        "damaged": damaged,
        "mask": torch.rand(count, 1, 8, 8) ** 3,
        "noise": torch.randn(count, 3, 8, 8),
        "dice": torch.rand(count, 8),
    }


def numpy64(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value.double().numpy() for name, value in given.items()}


def each(values: Any) -> Any:
    return np.asarray(values)[:, None, None, None]


# --- the default ------------------------------------------------------------------------------------------


def test_the_default_asks_and_costs_what_its_formulas_say() -> None:
    """State, condition, time and loss of the restorer's recipe, written down again in float64."""
    given = batch()
    told = torch.randn(COUNT, 4, 8, 8)
    net = Answering(lambda x, condition, t: told)
    recipe = TRAINABLE["photo"]
    loss, _ = objective(recipe.objective, recipe.settings)(net, given)
    b, out = numpy64(given), told.double().numpy()
    level = np.minimum((b["dice"][:, 0] * 4).astype(int), 3)
    chained = each(b["dice"][:, 1] < np.float32(0.3))
    root = each(ROOTS[level])
    shifted = (1 - root**2) * b["clean"] + root**2 * b["damaged"] + 0.25 * root * b["noise"]
    truth = (b["mask"] > np.float32(0.2)).astype(float)
    padded = np.pad(truth, ((0, 0), (0, 0), (1, 1), (1, 1)))
    grown = np.max([padded[..., i : i + 8, j : j + 8] for i in range(3) for j in range(3)], axis=0)
    known = np.where(each(b["dice"][:, 2] < 0.5), grown, truth) * each(b["dice"][:, 3] < 0.5)
    x, condition, t = (value.double().numpy() for value in net.given[0])
    np.testing.assert_allclose(x, np.where(chained, shifted, b["damaged"]), atol=2e-6)
    np.testing.assert_array_equal(condition, np.concatenate([b["damaged"], known], axis=1))
    np.testing.assert_array_equal(t, np.where(chained[:, 0, 0, 0], (level + 1) / 4, 1.0))
    assert set(t[chained[:, 0, 0, 0]]) == {0.25, 0.5, 0.75, 1.0}
    error, logit = out[:, :3] - b["clean"], out[:, 3:]
    weight = 1 + 1.5 * truth
    squares = (error**2 * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))
    fidelity = np.log(squares + 1e-4).mean()
    edges = np.abs(np.diff(error, axis=3)).mean() + np.abs(np.diff(error, axis=2)).mean()
    entropy = (4 * truth * np.log1p(np.exp(-logit)) + (1 - truth) * np.log1p(np.exp(logit))).mean()
    assert float(loss) == pytest.approx(0.1 * fidelity + edges + 0.05 * entropy, rel=2e-6)


# --- settings of the restorer -----------------------------------------------------------------------------

PROCESSES = [
    {"start": start, "predicts": predicts, "kappa": kappa}
    for start in ("damaged", "noise")
    for predicts in ("residual", "clean", "velocity")
    for kappa in (0.0, 0.7)
]


def oracle(aim: Restore, clean: Any) -> Any:
    """A net that answers so that the clean picture is behind it, by the formulas of the docstring."""

    def answer(x: Any, condition: Any, t: Any) -> Any:
        root = torch.tensor(ROOTS[(4 * t).round().int().numpy() - 1]).float()[:, None, None, None]
        r = {
            "residual": clean - condition[:, :3],
            "clean": clean - 0.5,
            "velocity": (x - clean) / root,
        }[aim.predicts]
        return torch.cat([condition[:, :3] + r, torch.zeros_like(r[:, :1])], dim=1)

    return Answering(answer)


@pytest.mark.parametrize("settings", PROCESSES, ids=str)
def test_the_truth_behind_the_answer_is_found_in_training_and_by_every_chain(
    settings: dict[str, Any],
) -> None:
    given, aim = batch(), objective("restore", {**settings, "chain": 0.6, "detection": 0.0})
    assert isinstance(aim, Restore)
    net = oracle(aim, given["clean"])
    assert float(aim(net, given)[0]) == pytest.approx(0.1 * math.log(1e-4), abs=2e-5)
    drawn = gaussian_noise(0, tuple(given["clean"].shape))
    for steps in (1, 2, 3, 4):
        for noise in (None, lambda k: torch.from_numpy(drawn(k))):
            net = oracle(aim, given["clean"])
            found = aim.answer(net, given["damaged"], steps=steps, noise=noise)
            assert len(net.given) == steps
            torch.testing.assert_close(found, given["clean"], rtol=0, atol=5e-6)
    with pytest.raises(UsageError):
        aim.answer(net, given["damaged"], steps=5)


def seen(settings: dict[str, Any], given: dict[str, Any]) -> tuple[Any, Any, Any]:
    net = Answering(lambda x, condition, t: torch.zeros(COUNT, 4, 8, 8))
    objective("restore", settings)(net, given)
    return net.given[0]


def test_settings_decide_what_the_net_sees() -> None:
    given = batch()
    x, condition, t = seen({"chain": 0.0}, given)
    assert torch.equal(x, given["damaged"]) and (t == 1).all()
    assert condition[:, 3].any()
    assert not seen({"mask_input": False}, given)[1][:, 3].any()
    x, _, t = seen({"chain": 1.0}, given)
    assert not (x == given["damaged"]).flatten(1).all(1).any()
    assert {0.25, 0.5, 0.75, 1.0} == set(t.tolist())
    other = {**given, "noise": -given["noise"], "damaged": 1 - given["damaged"]}
    for settings, same in (({"kappa": 0.0}, "noise"), ({"start": "noise"}, "damaged")):
        once = seen({**settings, "chain": 1.0}, given)[0]
        assert torch.equal(once, seen({**settings, "chain": 1.0}, {**given, same: other[same]})[0])
        assert not torch.equal(once, seen({**settings, "chain": 1.0}, other)[0])


def test_the_loss_is_the_sum_of_its_weighted_terms() -> None:
    given = batch()
    told = torch.rand(COUNT, 4, 8, 8)
    none = {"log_mse": 0.0, "gradient": 0.0, "detection": 0.0}

    def cost(**settings: float) -> float:
        net = Answering(lambda x, condition, t: told)
        return float(objective("restore", {**none, **settings})(net, given)[0])

    error = (told[:, :3] - given["clean"]).double().numpy()
    truth = (given["mask"] > 0.2).double().numpy()

    def l1(damage: float) -> float:
        weight = 1 + damage * truth
        return float((np.abs(error) * weight / weight.mean((1, 2, 3), keepdims=True)).mean())

    spectrum = np.fft.rfft2(error, norm="ortho")
    assert cost(l1=1.0) == pytest.approx(l1(1.5), rel=1e-5)
    assert cost(l1=1.0, damage=4.0) == pytest.approx(l1(4.0), rel=1e-5) != pytest.approx(l1(1.5), rel=1e-5)
    assert cost(fourier=1.0) == pytest.approx(np.abs(spectrum).mean(), rel=1e-5)
    parts = [cost(l1=0.3), cost(fourier=0.2), cost(log_mse=0.1), cost(gradient=2.0)]
    whole = cost(l1=0.3, fourier=0.2, log_mse=0.1, gradient=2.0)
    assert whole == pytest.approx(sum(parts), rel=1e-5) and min(map(abs, parts)) > 0.01
    assert cost(l1=1.0, detection=0.5) > cost(l1=1.0)


def test_weighted_l1_weighs_by_ratio_and_has_the_right_gradient() -> None:
    a, b = torch.rand(2, 2, 3, 4, 5, dtype=torch.float64)
    weight = 0.2 + torch.rand(2, 1, 4, 5, dtype=torch.float64)
    assert float(weighted_l1(a, b, weight)) == pytest.approx(float(weighted_l1(a, b, 7 * weight)))
    assert float(weighted_l1(a, b, torch.ones_like(weight))) == pytest.approx(float((a - b).abs().mean()))
    assert torch.autograd.gradcheck(lambda x: weighted_l1(x, b, weight), (a.requires_grad_(),))


def test_the_founding_net_can_be_asked_for_the_same() -> None:
    given, net = batch(4), build("unet", UNET)
    aim = Restore()
    torch.testing.assert_close(
        aim.answer(net, given["damaged"], steps=4), given["damaged"]
    )  # it adds nothing
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(8):
        loss, figures = aim(net, given)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.02 and "bce" not in figures


@pytest.mark.parametrize(
    "settings",
    [
        {"start": "grey"},
        {"predicts": "eps"},
        {"chain": 1.1},
        {"kappa": -1.0},
        {"fourier": -0.1},
        {"log_mse": 0.0, "gradient": 0.0},
        {"damage": -0.5},
        {"colour": 1.0},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        objective("restore", settings)


def test_unknown_objectives_and_missing_teachers_are_refused() -> None:
    for kind, settings in (
        ("guess", {}),
        ("distil", {}),
        ("epsilon", {"predicts": "residual"}),
        ("epsilon", {"drop": 1.0}),
    ):
        with pytest.raises(UsageError):
            objective(kind, settings)


# --- noise, velocity, picture -----------------------------------------------------------------------------


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_what_the_original_system_may_predict_holds_the_picture(predicts: Any) -> None:
    given = batch()
    clean, noise = 2 * given["clean"] - 1, given["noise"]
    index = (given["dice"][:, 0] * 300).long().clamp(max=299)
    a, s = (torch.tensor(v).float()[index][:, None, None, None] for v in (linear().alphas, linear().sigmas))
    told = {"eps": noise, "v": a * noise - s * clean, "x0": clean}[predicts]
    net = Answering(lambda x, t, condition: told)
    net.config = build("unet", UNET).config
    aim = PredictNoise(predicts)
    assert float(aim(net, given)[0]) == pytest.approx(0, abs=1e-12)
    assert float(aim(net, {**given, "noise": -noise})[0]) > 0.1 or predicts == "x0"


def test_a_share_of_the_conditions_is_dropped_and_the_others_are_as_they_were() -> None:
    given = batch(4)
    given["dice"][:, 1] = torch.tensor([0.1, 0.3, 0.2, 0.9])
    net = Answering(lambda x, t, condition: x)
    net.config = build("unet", UNET).config
    for drop in (0.0, 0.25):
        PredictNoise(drop=drop)(net, given)
    seen = [condition for _, _, condition in net.given]
    whole = 2 * given["damaged"] - 1
    assert torch.equal(seen[0], whole)
    assert not seen[1][[0, 2]].any() and torch.equal(seen[1][[1, 3]], whole[[1, 3]])
    net.config = build("unet", {**UNET, "conditional": False}).config
    with pytest.raises(UsageError, match="no condition to drop"):
        PredictNoise(drop=0.25)(net, given)


# --- distillation -----------------------------------------------------------------------------------------


def teacher(folder: Path, **changes: Any) -> str:
    """A checkpoint whose net and average differ, and are no identities."""
    net = build("restorer", SMALL)
    for value in net.parameters():
        torch.nn.init.normal_(value, std=0.1)
    average = {name: value.detach() + 0.01 for name, value in net.state_dict().items()}
    facts = {"net": "restorer", "config": SMALL, "objective": "restore", "settings": {}, **changes}
    made = save_checkpoint(
        folder, step=1, net=net, average=average, optimizer=torch.optim.AdamW(net.parameters()), facts=facts
    )
    return str(made)


def test_a_student_that_answers_as_its_teacher_does_in_four_steps_has_nothing_to_learn(
    tmp_path: Path,
) -> None:
    from relume.train.checkpoint import averaged

    path, given = teacher(tmp_path), batch(4)
    net, _, _ = averaged(Path(path))
    restore = Restore()
    with torch.no_grad():
        one, four = (restore.answer(net, given["damaged"], steps=steps) for steps in (1, 4))
    assert float((one - four).abs().mean()) > 1e-3  # else there is nothing to distil
    logit = torch.where(given["mask"] > 0.2, 30.0, -30.0)

    def cost(answer: Any, **settings: Any) -> float:
        student = Answering(lambda x, condition, t: torch.cat([answer, logit], dim=1))
        loss, _ = Distil(path, **settings)(student, given)
        x, condition, t = student.given[0]
        assert torch.equal(x, given["damaged"]) and (t == 1).all() and not condition[:, 3].any()
        return float(loss)

    least = 0.1 * math.log(1e-4)
    assert cost(four) == pytest.approx(least, abs=1e-5) and cost(one) > least + 1e-3
    assert cost(one, steps=1) == pytest.approx(least, abs=1e-5)
    assert cost(given["clean"], truth=1.0) == pytest.approx(least, abs=1e-5)
    between = 0.25 * cost(one, truth=1.0) + 0.75 * cost(one)
    assert cost(one, truth=0.25) == pytest.approx(between, rel=1e-5)


def test_a_student_learns_and_its_teacher_does_not(tmp_path: Path) -> None:
    path, given = teacher(tmp_path), batch(4)
    aim, student = Distil(path), build("restorer", SMALL)
    optimizer = torch.optim.AdamW(student.parameters(), lr=5e-3)
    losses = []
    for _ in range(10):
        loss, _ = aim(student, given)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.02
    again = float(Distil(path)(student, given)[0].detach())
    assert float(aim(student, given)[0].detach()) == again  # the teacher is as it was on disk
    assert torch.equal(aim.answer(student, given["damaged"]), Restore().answer(student, given["damaged"]))


def test_only_restorers_teach(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="learned to restore"):
        Distil(teacher(tmp_path, objective="epsilon"))(build("restorer", SMALL), batch(1))
    with pytest.raises(TrainingError, match="no checkpoint"):
        Distil(str(tmp_path / "none"))(build("restorer", SMALL), batch(1))
    for wrong in ({"steps": 5}, {"truth": 1.5}):
        with pytest.raises(UsageError):
            replace(Distil("any"), **wrong)
