r"""Latent translation: a mask hides what it covers, pictures come back, two kinds of latents grow alike."""

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from relume.cli.train import _setting  # noqa: E402
from relume.errors import TrainingError, UsageError  # noqa: E402
from relume.nets import Autoencoder, AutoencoderConfig, Translator, TranslatorConfig, build  # noqa: E402
from relume.nets.translator import PartialNonLocal, latent_mask  # noqa: E402
from relume.train.checkpoint import averaged, initialise, save_checkpoint  # noqa: E402
from relume.train.objectives import Autoencode, Translate, objective  # noqa: E402

CODER = {"latent": 6, "width": 24, "blocks": 1}
TRANSLATOR = {"latent": 6, "width": 8, "before": 1, "after": 1, "radius": 1}


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


def stirred(net: Any) -> Any:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.double()


def patterns(count: int, *, side: int = 16) -> Any:
    """Smooth coloured waves, each of another direction and length: (N,3,S,S) in [0,1]."""
    grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).float()
    way = torch.randn(count, 3, 2) * 0.25
    phase = 6.3 * torch.rand(count, 3, 1, 1)
    return 0.5 + 0.3 * torch.sin(torch.einsum("ncd,dij->ncij", way, grid) + phase)


def worn(pictures: Any) -> Any:
    """With grain, the same in all colours."""
    return pictures + 0.15 * torch.randn_like(pictures[:, :1])


# --- the partial non-local block --------------------------------------------------------------------------


@pytest.fixture
def block() -> Any:
    return stirred(PartialNonLocal(5, 1)).double()


def place() -> tuple[Any, Any]:
    """A latent and a mask with whole cells, half cells and single places."""
    mask = torch.zeros(1, 1, 12, 16, dtype=torch.float64)
    mask[..., 2:7, 3:9] = 1
    mask[..., 9, 12] = 1
    return torch.randn(1, 5, 12, 16, dtype=torch.float64), mask


def test_without_a_mask_the_block_is_the_identity(block: Any) -> None:
    x, mask = place()
    assert torch.equal(block(x, torch.zeros_like(mask)), x)


@pytest.mark.parametrize("content", [0.0, 1e3, math.inf, math.nan])
def test_what_is_masked_has_no_say_at_all(block: Any, content: float) -> None:
    x, mask = place()
    other = torch.where(mask > 0, torch.full_like(x, content), x)
    assert torch.equal(block(other, mask), block(x, mask))
    moved = x.clone()
    moved[..., 1, 4] += 1  # an unmasked place beside the hole does have one
    assert (block(moved, mask) - block(x, mask)).abs()[mask.expand_as(x) > 0].max() > 1e-3


def test_no_gradient_reaches_what_is_masked(block: Any) -> None:
    x, mask = place()
    x.requires_grad_()
    block(x, mask).square().sum().backward()
    assert not x.grad[mask.expand_as(x) > 0].any()
    assert x.grad[mask.expand_as(x) == 0].all()


def test_weights_sum_to_one_and_are_zero_where_nothing_is_known(block: Any) -> None:
    x, mask = place()
    weights, _ = block.attention(x, mask)
    torch.testing.assert_close(weights.sum(3), torch.ones_like(weights[..., 0]))
    blind = torch.nn.functional.avg_pool2d(mask, 2) == 1
    assert blind.sum() == 4  # rows 2 to 5 and columns 4 to 7
    keys = torch.nn.functional.unfold(blind.double(), 3, padding=1)[0].T  # cells × keys
    outside = torch.nn.functional.unfold(torch.ones_like(blind).double(), 3, padding=1)[0].T == 0
    assert not weights[0].transpose(1, 2)[(keys > 0) | outside].any()
    assert (weights[0].transpose(1, 2)[(keys == 0) & ~outside] > 0).all()


def test_the_block_computes_its_formula(block: Any) -> None:
    """One masked place, by loops over the cells near it."""
    x, mask = place()
    row, column = 4, 3
    cells, around = [], []
    for i in range(row // 2 - 1, row // 2 + 2):
        for j in range(column // 2 - 1, column // 2 + 2):
            known = mask[0, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] == 0
            values = x[0, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2][:, known]
            if values.numel():
                cells.append(values.mean(1))
                around += list(values.T)

    def seen(layer: Any, value: Any) -> Any:
        return layer(block.norm(value[None, :, None, None]))[0, :, 0, 0]

    asking = seen(block.query, torch.stack(around).mean(0))
    logits = torch.stack([asking @ seen(block.key, cell) for cell in cells]) / math.sqrt(5)
    weights = torch.softmax(logits, dim=0)
    filled = sum(w * seen(block.value, cell) for w, cell in zip(weights, cells, strict=True))
    wanted = block.out(filled[None, :, None, None])[0, :, 0, 0]
    torch.testing.assert_close(block(x, mask)[0, :, row, column], wanted, rtol=1e-9, atol=1e-9)


def test_where_all_is_masked_the_answer_is_zero(block: Any) -> None:
    x, mask = place()
    assert not block(x, torch.ones_like(mask)).any()


def test_a_translator_does_not_see_beyond_its_reach_and_commutes_with_shifts() -> None:
    net = stirred(Translator(TranslatorConfig(**TRANSLATOR)))
    z = torch.randn(1, 6, 40, 42, dtype=torch.float64)
    mask = (torch.rand(1, 1, 40, 42) > 0.6).double()
    other = z.clone()
    other[..., :4, :4] += 1
    with torch.inference_mode():
        change = (net(other, mask) - net(z, mask)).abs().amax((0, 1))
        left, right = net(z[..., :40], mask[..., :40]), net(z[..., 2:], mask[..., 2:])
    far = 1 + 2 + 4 + 2 + 1  # stem, block, cells, block, head
    assert change[:4, :4].min() > 0 and not change[4 + far :].any() and not change[:, 4 + far :].any()
    torch.testing.assert_close(left[..., 10:-10, 12:-10], right[..., 10:-10, 10:-12], rtol=0, atol=1e-11)


def test_an_untrained_translator_changes_nothing() -> None:
    net = build("translator", TRANSLATOR)
    z = torch.randn(1, 6, 8, 8)
    assert torch.equal(net(z, torch.ones(1, 1, 8, 8)), z)


def test_a_place_that_damage_touches_is_masked_and_no_other() -> None:
    mask = torch.zeros(1, 1, 16, 24)
    mask[0, 0, 5, 11], mask[0, 0, 12, 0] = 0.9, 0.1  # a faint one is none
    wanted = torch.zeros(1, 1, 4, 6)
    wanted[0, 0, 1, 2] = 1
    assert torch.equal(latent_mask(mask, (4, 6)), wanted)


# --- the autoencoder --------------------------------------------------------------------------------------


def learned(aim: Autoencode, *, judge: tuple[int, ...] = (), steps: int = 200) -> Any:
    """A short training on patterns; the genuine ones are worn."""
    torch.manual_seed(1)
    net = Autoencoder(AutoencoderConfig(**CODER, judge=judge))
    rule = torch.optim.AdamW(net.parameters(), lr=4e-3, betas=(0.9, 0.99))
    for _ in range(steps):
        clean = patterns(16)
        batch = {"clean": clean, "damaged": clean, "noise": torch.randn_like(clean)}
        if judge:
            batch["real"] = worn(patterns(8))
        loss, _ = aim(net, batch)
        rule.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        rule.step()
    return net.eval()


def test_a_coder_is_its_halves_and_codes_a_place_by_its_neighbourhood() -> None:
    net = stirred(Autoencoder(AutoencoderConfig(**CODER)))
    x = torch.rand(1, 3, 64, 68, dtype=torch.float64)
    with torch.inference_mode():
        latent = net.encode(x)
        assert latent.shape == (1, 6, 16, 17)
        assert torch.equal(net(x), net.decode(latent))
        torch.testing.assert_close(
            net.encode(x[..., 4:])[..., 4:], latent[..., 5:], rtol=0, atol=1e-11
        )  # a tile beside it, but for three places of border: the stem and a block of two convolutions


def test_a_picture_comes_back_better_than_from_the_means_of_its_cells() -> None:
    """Six numbers for sixteen pixels of three colours, on patterns it has not seen."""
    net, x = learned(Autoencode()), patterns(32)
    with torch.inference_mode():
        error = (net(x) - x).square().mean()
    means = torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(x, 4), scale_factor=4)
    assert error < 0.5 * (means - x).square().mean()


def test_the_cycle_term_is_the_square_of_what_encoding_after_decoding_changes() -> None:
    net, x = Autoencoder(AutoencoderConfig(**CODER)), patterns(4)
    batch = {"clean": x, "damaged": x, "noise": torch.randn_like(x)}
    with torch.inference_mode():
        costs = [float(Autoencode(cycle=weight, noise=0.3)(net, batch)[0]) for weight in (0.0, 2.0)]
        z = net.encode(x)
        cells = batch["noise"].view(4, 3, 4, 4, 4, 4).permute(0, 1, 3, 5, 2, 4).reshape(4, 48, 4, 4)
        moved = z + 0.3 * cells[:, :6]
        wanted = (net.encode(net.decode(moved)) - moved).square().mean()
    assert costs[1] - costs[0] == pytest.approx(2 * float(wanted), rel=1e-4)


def frechet(a: Any, b: Any) -> float:
    """Between Gaussians fitted to the latents' differences of neighbours, over the variance of the first."""
    a, b = (z.diff(dim=3).movedim(1, 3).flatten(0, 2).double() for z in (a, b))
    one, two = torch.cov(a.T), torch.cov(b.T)
    mixed = torch.linalg.eigvals(one @ two).real.clamp(min=0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + one.trace() + two.trace() - 2 * mixed
    return float(distance / one.trace())


def test_the_adversarial_term_brings_two_kinds_of_latents_nearer() -> None:
    found = []
    for weight in (0.0, 0.5):
        net = learned(Autoencode("damaged", adversarial=weight, prior=1e-2), judge=(16,))
        x, y = (
            pictures.mean(1, keepdim=True).expand(-1, 3, -1, -1)
            for pictures in (patterns(96), worn(patterns(96)))
        )
        with torch.inference_mode():
            found.append(frechet(net.encode(x), net.encode(y)))
    assert found[1] < 0.5 * found[0]


def test_the_judge_learns_from_one_term_and_the_encoder_from_the_other() -> None:
    net = Autoencoder(AutoencoderConfig(**CODER, judge=(4,)))
    z = torch.randn(2, 6, 8, 8, requires_grad=True)
    net.judged(z, learning=True).sum().backward()
    assert z.grad is None and all(p.grad is not None for p in net.judge.parameters())
    net.zero_grad(set_to_none=True)
    net.judged(z, learning=False).sum().backward()
    assert z.grad is not None and all(p.grad is None for p in net.judge.parameters())
    assert torch.equal(net.judged(z, learning=True), net.judged(z, learning=False))
    with pytest.raises(UsageError, match="judge"):
        Autoencoder(AutoencoderConfig(**CODER)).judged(z, learning=True)


def test_genuine_photographs_that_are_missing_are_asked_for() -> None:
    net = Autoencoder(AutoencoderConfig(**CODER, judge=(4,)))
    x = patterns(2)
    with pytest.raises(TrainingError, match="--old"):
        Autoencode("damaged")(net, {"clean": x, "damaged": x, "noise": torch.randn_like(x)})


@pytest.mark.parametrize("wrong", [{"of": "old"}, {"prior": -1.0}, {"log_mse": 0.0, "gradient": 0.0}])
def test_wrong_settings_of_autoencoding_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        objective("autoencode", wrong)


# --- translation ------------------------------------------------------------------------------------------


def saved(folder: Path, kind: str, config: dict[str, Any]) -> tuple[Path, Any]:
    net = build(kind, config)
    average = {name: value + 0.03 * torch.randn_like(value) for name, value in net.state_dict().items()}
    facts = {"net": kind, "config": config}
    path = save_checkpoint(
        folder, step=1, net=net, average=average, optimizer=torch.optim.AdamW(net.parameters()), facts=facts
    )
    return path, averaged(path)[0]


@pytest.fixture
def coders(tmp_path: Path) -> dict[str, tuple[Path, Any]]:
    return {name: saved(tmp_path / name, "autoencoder", CODER) for name in ("old", "clean")}


def test_a_translation_is_encoded_by_one_and_decoded_by_the_other(coders: dict[str, Any]) -> None:
    aim = Translate(old=str(coders["old"][0]), clean=str(coders["clean"][0]))
    x = patterns(2)
    with torch.inference_mode():
        found = aim.answer(build("translator", TRANSLATOR), x)
        wanted = coders["clean"][1].decode(coders["old"][1].encode(x))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_the_loss_is_nothing_for_the_latent_of_the_clean_picture(coders: dict[str, Any]) -> None:
    """And half of the pictures bring their mask, whole."""
    clean, damaged = patterns(2, side=32), torch.rand(2, 3, 32, 32)
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 8, 8] = 1
    given: list[Any] = []

    class Knowing(torch.nn.Module):
        def forward(self, latent: Any, told: Any) -> Any:
            given.append(told)
            return coders["clean"][1].encode(clean)

    dice = torch.zeros(2, 8)
    dice[1, 3] = 0.9
    batch = {"clean": clean, "damaged": damaged, "mask": mask, "dice": dice}
    aim = Translate(old=str(coders["old"][0]), clean=str(coders["clean"][0]), picture=0.0, latent=1.0)
    assert float(aim(Knowing(), batch)[0].detach()) < 1e-6
    assert float(aim(build("translator", TRANSLATOR), batch)[0].detach()) > 0.05
    assert given[0][0].sum() == 1 and not given[0][1].any()


def test_nothing_but_the_translator_learns(coders: dict[str, Any]) -> None:
    aim = Translate(old=str(coders["old"][0]), clean=str(coders["clean"][0]))
    net, x = build("translator", TRANSLATOR), patterns(2)
    batch = {"clean": x, "damaged": worn(x), "mask": torch.zeros(2, 1, 16, 16), "dice": torch.ones(2, 8)}
    aim(net, batch)[0].backward()
    assert net.head.weight.grad.abs().max() > 0
    assert not any(p.requires_grad for coder in aim._coders for p in coder.parameters())


def test_a_translation_says_what_it_lacks(coders: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--setting old="):
        objective("translate", {})
    other, _ = saved(tmp_path / "other", "translator", TRANSLATOR)
    x = patterns(1)
    with pytest.raises(TrainingError, match="another net"):
        Translate(old=str(other), clean=str(coders["clean"][0])).answer(build("translator", TRANSLATOR), x)
    narrow, _ = saved(tmp_path / "narrow", "autoencoder", {**CODER, "latent": 4})
    with pytest.raises(TrainingError, match="latents of 6 and 4 channels"):
        Translate(old=str(coders["old"][0]), clean=str(narrow)).answer(build("translator", TRANSLATOR), x)


def test_a_coder_with_a_judge_starts_from_one_without(coders: dict[str, Any]) -> None:
    path, before = coders["clean"]
    net = build("autoencoder", {**CODER, "judge": (4,)})
    fresh = {name: value.clone() for name, value in net.judge.state_dict().items()}
    average = {name: value.clone() for name, value in net.state_dict().items()}
    assert initialise(path, net=net, average=average) == ["judge"]
    x = patterns(1)
    with torch.inference_mode():
        assert torch.equal(net(x), before(x))
    assert all(torch.equal(fresh[name], value) for name, value in net.judge.state_dict().items())


def test_settings_on_the_command_line_are_json_where_they_can_be() -> None:
    assert _setting("old=runs/a=b.safetensors") == ("old", "runs/a=b.safetensors")
    assert _setting("cycle=0.5") == ("cycle", 0.5) and _setting("mask_input=false") == ("mask_input", False)
    import argparse

    with pytest.raises(argparse.ArgumentTypeError):
        _setting("cycle")
