r"""The nets and losses of pix2pix: what each sees, and what each costs."""

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from relume.errors import UsageError  # noqa: E402
from relume.nets import build  # noqa: E402
from relume.train.fourier import FOURIER, amplitude, banded, complex_l1, focal, plane_mean, spectrum  # noqa: E402
from relume.train.losses import judged_true, told_apart  # noqa: E402

EVERY = pytest.mark.parametrize("name", FOURIER)


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


def count(net: Any) -> float:
    return sum(p.numel() for p in net.parameters()) / 1e6


def test_an_untrained_generator_says_that_the_light_is_even() -> None:
    net = build("background", {"widths": (8, 12, 16)})
    assert net.config.multiple_of == 8
    assert not net(torch.randn(2, 1, 24, 40)).any()
    assert net(torch.randn(2, 1, 24, 40)).shape == (2, 1, 24, 40)
    assert build("background", {"widths": (8,), "uncertain": True})(torch.zeros(1, 1, 8, 8)).shape[1] == 2
    with torch.device("meta"):
        assert build("background", {}).config.multiple_of == 32
    wrongs = ({"widths": ()}, {"dropout": 1.0}, {"attention": 5}, {"attention": -1}, {"blocks": -1})
    for wrong in (*wrongs, {"finer": -1}):
        with pytest.raises(UsageError, match="background net"):
            build("background", wrong)


def test_a_generator_can_make_any_pixel_of_its_output_right() -> None:
    """The first skip carries the raw image itself: fine patterns need not pass the bottleneck."""
    net = build("background", {"widths": (8, 12)})
    x, target = torch.randn(1, 1, 16, 16), torch.randn(1, 1, 16, 16)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    first = None
    for _ in range(150):
        loss = (net(x) - 0.5 * x - 0.1 * target.mean()).square().mean()
        first = loss.item() if first is None else first
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05 * first


def test_an_older_net_has_no_blocks_and_no_attention() -> None:
    old, new = (
        build("background", {"widths": (8, 32, 16), **more}) for more in ({}, {"blocks": 1, "attention": 1})
    )
    assert old.state_dict().keys() < new.state_dict().keys()
    assert not any(name.startswith(("encoder", "decoder")) for name in old.state_dict())
    assert not new(torch.randn(1, 1, 16, 24)).any()
    with pytest.raises(UsageError, match="multiples of 32"):
        build("background", {"widths": (8, 77, 16), "attention": 1})


def test_a_finer_level_adds_what_half_of_the_size_cannot_show() -> None:
    shape = {"channels": 2, "widths": (8, 12), "uncertain": True}
    coarse, net = build("background", shape), build("background", {**shape, "finer": 6})
    assert (coarse.config.multiple_of, net.config.multiple_of) == (4, 8)
    torch.nn.init.normal_(coarse.out.weight)
    net.load_state_dict(coarse.state_dict(), strict=False)
    x = torch.randn(2, 2, 16, 24)
    x[:, 1] = 0
    half = torch.nn.functional.avg_pool2d(x, 2)
    wanted = torch.nn.functional.interpolate(coarse(half), scale_factor=2.0, mode="bilinear")
    assert wanted.any()
    torch.testing.assert_close(net(x), wanted)
    # Nothing of a board of single pixels is left at half of the size; the level learns it all the same.
    x[:, :1] = (torch.arange(16)[:, None] + torch.arange(24)) % 2 * 2.0 - 1
    assert not torch.nn.functional.avg_pool2d(x[:, :1], 2).any()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(150):
        loss = (net(x)[:, :1] - 0.3 * x[:, :1]).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.05 * losses[0]


def test_attention_sees_every_place_and_no_order_of_them() -> None:
    net = build("background", {"widths": (32, 64, 8), "attention": 1})
    (attention,) = net.encoder[1]
    for layer in (attention.qkv, attention.project):
        torch.nn.init.normal_(layer.weight, std=0.3)
    x = torch.randn(2, 64, 3, 5, requires_grad=True)
    out = attention(x)
    order = torch.randperm(15)
    shuffled = attention(x.flatten(2)[:, :, order].unflatten(2, (3, 5)))
    torch.testing.assert_close(shuffled.flatten(2), out.flatten(2)[:, :, order])
    (seen,) = torch.autograd.grad(out[0, :, 0, 0].sum(), x)
    assert (seen[0].abs().sum(0) > 0).all() and not seen[1].any()


def test_dropout_is_off_outside_of_training() -> None:
    net = build("background", {"widths": (8, 12), "dropout": 0.5})
    torch.nn.init.normal_(net.out.weight)
    x = torch.randn(1, 1, 16, 16)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_a_patch_is_seventy_pixels_and_the_judge_has_its_known_size() -> None:
    judge = build("patches", {})
    assert count(judge) == pytest.approx(2.76, abs=0.03)
    x = torch.randn(1, 2, 128, 128, requires_grad=True)
    logits = judge(x)
    assert logits.shape == (1, 1, 14, 14)
    logits[0, 0, 7, 7].backward()
    seen = x.grad[0].abs().sum(0) > 0
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70
    assert int(columns.max() - columns.min()) + 1 == 70


def test_the_half_plane_stands_for_the_whole() -> None:
    for width in (16, 17):
        field = torch.randn(2, 1, 12, width)
        whole = torch.fft.fft2(field - field.mean((-2, -1), keepdim=True), norm="ortho").abs()
        half = spectrum(field, window=False).abs()
        assert plane_mean(half, width).item() == pytest.approx(whole.mean().item(), rel=1e-5)
        square = plane_mean(half.square(), width).item()  # Parseval
        assert square == pytest.approx(field.var((-2, -1), unbiased=False).mean().item(), rel=1e-5)


@EVERY
def test_equal_fields_cost_nothing_and_the_mean_is_not_looked_at(name: str) -> None:
    x = torch.randn(2, 1, 32, 32)
    assert FOURIER[name](x, x).item() < 3e-6
    assert FOURIER[name](x + 5, x).item() < 3e-4
    assert FOURIER[name](x, torch.randn(2, 1, 32, 32)).item() > 0.05


@EVERY
def test_gradients_are_finite_where_there_is_nothing_to_transform(name: str) -> None:
    for target in (torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32), torch.randn(1, 1, 32, 32)):
        x = torch.zeros(1, 1, 32, 32, requires_grad=True)
        FOURIER[name](x, target).backward()
        assert torch.isfinite(x.grad).all()


@EVERY
def test_descending_brings_the_fields_together(name: str) -> None:
    target = torch.randn(1, 1, 24, 24)
    x = (target + 0.5 * torch.randn(1, 1, 24, 24)).requires_grad_()
    before = FOURIER[name](x, target).item()
    optimiser = torch.optim.Adam([x], 3e-2)
    for _ in range(60):
        loss = FOURIER[name](x, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.6 * before


@EVERY
def test_half_precision_fields_are_transformed_in_single(name: str) -> None:
    x, y = torch.randn(2, 1, 1, 30, 28).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = FOURIER[name](x, y)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(FOURIER[name](x.float(), y.float()).item(), rel=0.05)


def test_amplitude_is_blind_to_phase_and_complex_is_not() -> None:
    x = torch.randn(1, 1, 32, 32)
    turned = -x  # every phase by π
    assert amplitude(turned, x).item() < 1e-4
    assert complex_l1(turned, x).item() > 0.3
    assert amplitude(2 * x, x).item() == pytest.approx(math.log(2), rel=0.02)
    assert complex_l1(1.5 * x, x).item() == pytest.approx(0.5 * complex_l1(0 * x, x).item(), rel=1e-3)


def test_focal_without_focus_is_the_mean_square_error_under_the_window() -> None:
    x, y = torch.randn(2, 1, 1, 32, 32)
    window = torch.hann_window(32)[:, None] * torch.hann_window(32)
    d = x - y
    mse = ((d - d.mean()) * window).square().mean()
    assert focal(x, y, alpha=0).item() == pytest.approx(mse.item(), abs=0.01)
    assert focal(x, y, alpha=1).item() < focal(x, y, alpha=0).item()


def test_bands_weigh_what_they_are_asked_to() -> None:
    line = torch.arange(256) / 256
    y = torch.zeros(1, 1, 256, 256)
    waves = {f: torch.cos(2 * math.pi * f * line).expand(1, 1, 256, 256) for f in (2, 20, 100)}
    for place, (_, wave) in enumerate(waves.items()):
        weights = [0.0, 0.0, 0.0]
        weights[place] = 1.0
        own = banded(wave, y, weights=tuple(weights)).item()
        others = banded(wave, y, weights=tuple(1.0 - w for w in weights)).item()
        assert own > 5 * others


def test_adversarial_losses_are_zero_for_the_best_answers() -> None:
    one, zero = torch.ones(2, 1, 5, 5), torch.zeros(2, 1, 5, 5)
    assert judged_true(one) == 0 and judged_true(zero) == 1
    assert told_apart(one, zero) == 0 and told_apart(zero, one) == 1
    assert told_apart(0.5 * one, 0.5 * one).item() == pytest.approx(0.25)
