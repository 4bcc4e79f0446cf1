r"""Every net keeps the contract, and what each one promises about itself holds."""

import math
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from relume.errors import UsageError  # noqa: E402
from relume.nets import (  # noqa: E402
    NETS,
    Autoencoder,
    AutoencoderConfig,
    BackgroundConfig,
    BackgroundNet,
    PatchConfig,
    PatchNet,
    Restorer,
    RestorerConfig,
    ShadingConfig,
    ShadingNet,
    ToneConfig,
    ToneNet,
    Translator,
    TranslatorConfig,
    UNet,
    UNetConfig,
    build,
)
from relume.nets.blocks import BLOCKS, RmsNorm, TimeFeatures  # noqa: E402
from relume.nets.shading import apply_shading  # noqa: E402
from relume.nets.tone import apply_tone  # noqa: E402
from relume.nets.unet import sinusoidal  # noqa: E402

SMALL: dict[str, dict[str, Any]] = {
    "autoencoder": {"latent": 6, "width": 8, "blocks": 1},
    "background": {"channels": 2, "widths": (6, 8), "uncertain": True},
    "patches": {"channels": 2, "widths": (4, 6, 8)},
    "restorer": {"widths": (8, 12, 16), "encoder": (1, 1), "middle": 1, "decoder": (1, 1), "time_width": 8},
    "shading": {"grid": 8, "widths": (6, 8), "blocks": 1},
    "tone": {"width": 4, "knots": 8, "channels": (4, 6)},
    "translator": {"latent": 3, "width": 8, "before": 1, "after": 1, "radius": 1},
    "unet": {"base": 8, "multipliers": (1, 2), "groups": 4},
}
EVERY = pytest.mark.parametrize("kind", NETS)


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


def inputs(kind: str, *, count: int = 2, height: int = 16, width: int = 24) -> tuple[Any, ...]:
    picture, time = torch.rand(count, 3, height, width), torch.rand(count)
    if kind == "restorer":
        return picture, torch.rand(count, 4, height, width), time
    if kind == "shading":
        return (torch.rand(count, 3, 16, 16),)
    if kind in ("background", "patches"):
        return (torch.randn(count, 2, height, width),)
    if kind == "translator":
        return torch.randn(count, 3, height, width), (torch.rand(count, 1, height, width) > 0.7).float()
    return (
        (picture,)
        if kind in ("autoencoder", "tone")
        else (picture, time, torch.rand(count, 3, height, width))
    )


def stirred(kind: str, config: dict[str, Any] | None = None, *, amount: float = 0.1) -> Any:
    """A net none of whose layers is zero any more."""
    net = build(kind, SMALL[kind] if config is None else config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(amount * torch.randn_like(parameter))
    return net.eval()


# --- the contract ----------------------------------------------------------------------------------------


@EVERY
def test_configs_are_frozen_and_survive_json(kind: str) -> None:
    import json

    config_type, net_type = NETS[kind]
    assert is_dataclass(config_type)
    assert set(SMALL[kind]) <= {field.name for field in fields(config_type)}
    net = build(kind, json.loads(json.dumps(SMALL[kind])))
    assert isinstance(net, net_type)
    assert net.config == config_type(**SMALL[kind])
    with pytest.raises(FrozenInstanceError):
        setattr(net.config, fields(config_type)[0].name, 1)
    again = build(kind, json.loads(json.dumps(asdict(net.config))))
    assert [v.shape for v in again.state_dict().values()] == [v.shape for v in net.state_dict().values()]


@EVERY
def test_wrong_settings_are_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="colour"):
        build(kind, {**SMALL[kind], "colour": 1})


def test_an_unknown_kind_names_those_that_exist() -> None:
    known = "autoencoder, background, patches, restorer, shading, tone, translator, unet"
    with pytest.raises(UsageError, match=known):
        build("transformer", {})


@EVERY
def test_the_same_seed_builds_the_same_net(kind: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(kind, SMALL[kind]).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@EVERY
def test_every_parameter_learns(kind: str) -> None:
    """With no layer at zero a loss on the output reaches every parameter, in finite numbers."""
    net = stirred(kind)
    net(*inputs(kind)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@EVERY
def test_a_picture_does_not_depend_on_its_batch(kind: str) -> None:
    net = stirred(kind)
    given = inputs(kind, count=3)
    with torch.inference_mode():
        together = net(*given)
        for i in range(3):
            torch.testing.assert_close(
                net(*(v[i : i + 1] for v in given))[0], together[i], rtol=1e-4, atol=1e-5
            )


@EVERY
def test_half_precision_weights_are_enough(kind: str) -> None:
    """Bundles hold fp16: a round trip through it moves the output by less than a level."""
    net = stirred(kind, amount=0.02)
    given = inputs(kind)
    with torch.inference_mode():
        before = net(*given)
        net.load_state_dict({name: value.half().float() for name, value in net.state_dict().items()})
        assert (net(*given) - before).abs().max() < 1 / 255


# --- blocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_keep_the_shape_and_are_differentiable(name: str) -> None:
    block = BLOCKS[name](2, 3).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    time = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert block(x, time).shape == x.shape
    assert torch.autograd.gradcheck(block, (x, time), fast_mode=True)
    assert not torch.equal(block(x, time), block(x, time + 1))


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_start_deaf_to_time(name: str) -> None:
    block = BLOCKS[name](4, 3)
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(block(x, torch.randn(1, 3)), block(x, torch.randn(1, 3)))


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_see_no_further_than_their_kernels(name: str) -> None:
    block = BLOCKS[name](4, 3)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x, time = torch.randn(1, 4, 21, 21, requires_grad=True), torch.randn(1, 3)
    block(x, time)[0, :, 10, 10].sum().backward()
    seen = torch.argwhere(x.grad[0].abs().sum(0) > 0)
    reach = {"naf": 1, "conv": 2}[name]
    assert seen.min() == 10 - reach and seen.max() == 10 + reach


def test_rms_norm_has_unit_root_mean_square_per_pixel() -> None:
    y = RmsNorm(6)(5 * torch.randn(2, 6, 4, 5))
    torch.testing.assert_close(y.square().mean(1), torch.ones(2, 4, 5), rtol=1e-4, atol=1e-4)


def test_time_features_tell_times_apart() -> None:
    features = TimeFeatures(8)(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert features.shape == (5, 8)
    assert torch.pdist(features).min() > 1e-3


# --- the restorer ----------------------------------------------------------------------------------------


def test_an_untrained_restorer_copies_the_damaged_picture() -> None:
    net = build("restorer", SMALL["restorer"])
    x, condition, t = inputs("restorer")
    out = net(x, condition, t)
    assert out.shape == (2, 4, 16, 24)
    assert torch.equal(out[:, :3], condition[:, :3])
    assert torch.equal(out[:, 3], torch.full_like(out[:, 3], -3.0))  # it sees no damage yet


@pytest.mark.parametrize("widths", [(8, 12), (8, 12, 16), (8, 8, 8, 8)])
def test_any_multiple_of_the_declared_number_will_do_and_nothing_less(widths: tuple[int, ...]) -> None:
    counts = (1,) * (len(widths) - 1)
    net = Restorer(RestorerConfig(widths=widths, encoder=counts, middle=1, decoder=counts, time_width=8))
    n = net.config.multiple_of
    assert n == 2 ** len(widths)
    for height, width in ((n, n), (n, 3 * n), (2 * n, n)):
        assert net(*inputs("restorer", height=height, width=width)).shape == (2, 4, height, width)
    with pytest.raises(RuntimeError):
        net(*inputs("restorer", height=n + n // 2, width=n))


def test_the_default_restorer_asks_for_sixteen_and_fits_into_a_bundle() -> None:
    config = RestorerConfig()
    assert config.multiple_of == 16
    with torch.device("meta"):
        parameters = sum(p.numel() for p in Restorer(config).parameters())
    assert 2 * parameters < 30e6  # fp16 bytes


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": (8, 16), "encoder": (1, 1), "decoder": (1,)},
        {"widths": (8, 16), "encoder": (1,), "decoder": ()},
        {"block": "attention"},
    ],
)
def test_a_restorer_that_is_no_u_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RestorerConfig(**wrong)


def test_both_blocks_serve_the_restorer() -> None:
    for block in BLOCKS:
        net = stirred("restorer", {**SMALL["restorer"], "block": block})
        assert net(*inputs("restorer")).shape == (2, 4, 16, 24)


def test_the_restorer_listens_to_all_it_is_given() -> None:
    net = stirred("restorer")
    given = inputs("restorer")
    with torch.inference_mode():
        base = net(*given)
        for i, value in enumerate(given):
            other = [*given]
            other[i] = value + 0.3
            assert (net(*other) - base).abs().max() > 1e-4
        masked = given[1].clone()
        masked[:, 3] = 0
        assert (net(given[0], masked, given[2]) - base).abs().max() > 1e-4


def reach(config: RestorerConfig) -> int:
    """How far a pixel can be seen: every convolution's radius, in pixels of the picture, and the strides."""
    radius = {"naf": 1, "conv": 2}[config.block]
    blocks = [*(a + b for a, b in zip(config.encoder, config.decoder, strict=True)), config.middle]
    cells = sum(2 ** (level + 1) * radius * count for level, count in enumerate(blocks))
    return 2 * 2 + cells + 2 * config.multiple_of  # stem and head, blocks, and the grids of the strides


def test_the_restorer_does_not_see_beyond_its_reach() -> None:
    net = stirred("restorer").double()
    far, size = reach(net.config), 96
    assert far < size // 2
    x, condition = torch.rand(1, 3, size, size).double(), torch.rand(1, 4, size, size).double()
    t = torch.tensor([0.6], dtype=torch.float64)
    other = condition.clone()
    other[:, :, :8, :8] = 1 - other[:, :, :8, :8]
    with torch.inference_mode():
        change = (net(x, other, t) - net(x, condition, t)).abs().amax((0, 1))
    assert change[:8, :8].max() > 0
    beyond = torch.ones_like(change, dtype=torch.bool)
    beyond[: 8 + far, : 8 + far] = False
    assert beyond.any()
    assert change[beyond].max() == 0


def test_the_restorer_commutes_with_shifts() -> None:
    """A pixel's value does not depend on where in the tile it lies: shifts by the stride go through."""
    net = stirred("restorer").double()
    n, far, size = net.config.multiple_of, reach(net.config), 128
    x, condition = torch.rand(1, 3, size, size + n).double(), torch.rand(1, 4, size, size + n).double()
    t = torch.tensor([1.0], dtype=torch.float64)
    with torch.inference_mode():
        left, right = net(x[..., :size], condition[..., :size], t), net(x[..., n:], condition[..., n:], t)
    a, b = left[..., far:-far, n + far : size - far], right[..., far:-far, far : size - far - n]
    assert a.numel() > 0
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


# --- the shading net -------------------------------------------------------------------------------------


def test_an_untrained_shading_net_changes_nothing() -> None:
    net, picture = build("shading", SMALL["shading"]), torch.rand(2, 3, 16, 16)
    points = net(picture)
    assert points.shape == (2, 6, 8, 8) and not points.any()
    torch.testing.assert_close(apply_shading(picture, points), picture, rtol=0, atol=1e-6)


def test_a_shading_field_multiplies_and_adds_by_channel() -> None:
    points = torch.zeros(1, 6, 8, 8)
    points[:, 1], points[:, 5] = math.log(2), 0.25
    picture = torch.rand(1, 3, 30, 20)
    made = apply_shading(picture, points)
    torch.testing.assert_close(made[:, 0], picture[:, 0])
    torch.testing.assert_close(made[:, 1], 2 * picture[:, 1])
    torch.testing.assert_close(made[:, 2], picture[:, 2] + 0.25)


def test_the_shading_net_knows_places() -> None:
    """The same colour everywhere gives another answer in a corner than in the middle."""
    points = stirred("shading")(torch.full((1, 3, 16, 16), 0.5))
    assert (points[..., 0, 0] - points[..., 4, 4]).abs().max() > 1e-3


def test_a_shading_grid_has_to_be_halved_often_enough() -> None:
    with pytest.raises(UsageError, match="halved"):
        build("shading", {"grid": 6, "widths": (4, 6, 8)})


# --- the tone net ----------------------------------------------------------------------------------------


def test_an_untrained_tone_net_changes_nothing() -> None:
    net, picture = build("tone", SMALL["tone"]), torch.rand(2, 3, 20, 28)
    parameters = net(picture)
    assert parameters.shape == (2, 3 * 8 + 15)
    assert not parameters.any()
    torch.testing.assert_close(apply_tone(picture, parameters, 8), picture, rtol=0, atol=1e-6)


def test_levels_are_the_quantiles_of_the_reduced_thumbnail() -> None:
    net, picture = build("tone", {**SMALL["tone"], "points": True}), torch.rand(2, 3, 32, 64)
    levels = net.points.levels(picture).numpy()
    small = picture.numpy().reshape(2, 3, 16, 2, 32, 2).mean((3, 5)).reshape(2, 3, -1)
    planes = np.concatenate([small, small.mean(1, keepdims=True)], axis=1)
    for place, share in ((0, 0.0), (4, 0.05), (8, 0.5), (12, 0.95), (16, 1.0)):
        found = np.quantile(planes, share, axis=2, method="nearest")
        np.testing.assert_allclose(levels[..., place], found, atol=4e-3)


def test_points_alone_undo_a_loss_of_contrast() -> None:
    """With all of its closed answer taken, and nothing else, black and white come back."""
    net = build("tone", {**SMALL["tone"], "points": True})
    torch.nn.init.ones_(net.points.share.bias)
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    flat = 0.3 + 0.4 * ramp
    found = apply_tone(flat, net(flat), 8)
    assert (flat - ramp).abs().max() > 0.25
    torch.testing.assert_close(found, ramp, rtol=0, atol=0.03)


def test_tone_needs_no_certain_size() -> None:
    net = stirred("tone")
    for height, width in ((16, 16), (17, 33), (64, 48)):
        assert net(torch.rand(1, 3, height, width)).shape == (1, 3 * 8 + 15)


def test_tone_answers_to_the_tone() -> None:
    net, picture = stirred("tone"), torch.rand(1, 3, 32, 32)
    assert (net(picture) - net(0.5 * picture)).abs().max() > 1e-3


def reference_tone(picture: np.ndarray, parameters: np.ndarray, knots: int) -> np.ndarray:
    """The formula again, by interpolation between the curve's knots."""
    result = np.empty_like(picture)
    for i, p in enumerate(parameters):
        curves = []
        for c in range(3):
            slopes = np.exp(p[c * knots : (c + 1) * knots])
            heights = p[3 * knots + c] + np.concatenate([[0], np.cumsum(slopes) / knots])
            curves.append(np.interp(picture[i, c], np.linspace(0, 1, knots + 1), heights))
        matrix = np.eye(3) + p[3 * knots + 3 : 3 * knots + 12].reshape(3, 3)
        result[i] = np.tensordot(matrix, np.stack(curves), axes=1) + p[3 * knots + 12 :][:, None, None]
    return result


@pytest.mark.parametrize("knots", [1, 5, 16])
def test_apply_tone_is_its_formula(knots: int) -> None:
    rng = np.random.default_rng(knots)
    picture, parameters = (
        rng.uniform(-0.1, 1.1, (3, 3, 9, 11)),
        0.4 * rng.standard_normal((3, 3 * knots + 15)),
    )
    ours = apply_tone(torch.from_numpy(picture), torch.from_numpy(parameters), knots).numpy()
    np.testing.assert_allclose(ours, reference_tone(picture, parameters, knots), atol=1e-6)


def test_curves_rise_whatever_the_net_says() -> None:
    knots = 8
    parameters = torch.zeros(20, 3 * knots + 15)
    parameters[:, : 3 * knots] = 2 * torch.randn(20, 3 * knots)
    ramp = torch.linspace(0, 1, 200).expand(20, 3, 1, 200)
    assert (apply_tone(ramp, parameters, knots).diff(dim=3) > 0).all()


def test_tone_is_the_same_for_every_pixel_of_one_colour() -> None:
    picture = torch.rand(1, 3, 4, 6)
    parameters = 0.3 * torch.randn(1, 3 * 8 + 15)
    whole = apply_tone(picture, parameters, 8)
    torch.testing.assert_close(apply_tone(picture[..., 1:3, 2:5], parameters, 8), whole[..., 1:3, 2:5])


def test_the_gradient_of_tone_is_right() -> None:
    parameters = (0.2 * torch.randn(2, 3 * 4 + 15, dtype=torch.float64)).requires_grad_()
    picture = 0.05 + 0.9 * torch.rand(2, 3, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: apply_tone(picture, p, 4), (parameters,), fast_mode=True)


# --- the U-Net -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditional", [True, False])
def test_the_unet_asks_for_what_it_was_built_for(conditional: bool) -> None:
    net = UNet(UNetConfig(**SMALL["unet"], conditional=conditional))
    x, t, condition = inputs("unet")
    right, wrong = ((condition,), ()) if conditional else ((), (condition,))
    assert net(x, t, *right).shape == x.shape
    with pytest.raises(UsageError, match="condition"):
        net(x, t, *wrong)


def test_the_unet_works_at_every_multiple() -> None:
    net = build("unet", {"base": 8, "multipliers": (1, 1, 2), "groups": 4})
    assert net.config.multiple_of == 4
    for height, width in ((4, 4), (8, 12)):
        assert net(*inputs("unet", height=height, width=width)).shape == (2, 3, height, width)


def test_an_untrained_unet_predicts_nothing() -> None:
    assert not build("unet", SMALL["unet"])(*inputs("unet")).any()


def test_the_unet_hears_time_and_condition_once_no_layer_is_zero() -> None:
    net = stirred("unet")
    x, t, condition = inputs("unet")
    with torch.inference_mode():
        base = net(x, t, condition)
        assert (net(x, t + 0.1, condition) - base).abs().max() > 1e-4
        assert (net(x, t, condition + 0.1) - base).abs().max() > 1e-4
        assert (net(x + 0.1, t, condition) - base).abs().max() > 1e-4


def test_neighbouring_steps_of_three_hundred_are_told_apart() -> None:
    features = sinusoidal(torch.arange(1, 301) / 300, 32)
    assert features.shape == (300, 32)
    assert (features.diff(dim=0).norm(dim=1) > 0.3).all()
    torch.testing.assert_close(features.square().sum(1), torch.full((300,), 16.0))


def test_config_classes_are_the_listed_ones() -> None:
    assert {kind: pair for kind, pair in NETS.items()} == {
        "autoencoder": (AutoencoderConfig, Autoencoder),
        "background": (BackgroundConfig, BackgroundNet),
        "patches": (PatchConfig, PatchNet),
        "restorer": (RestorerConfig, Restorer),
        "shading": (ShadingConfig, ShadingNet),
        "tone": (ToneConfig, ToneNet),
        "translator": (TranslatorConfig, Translator),
        "unet": (UNetConfig, UNet),
    }


def test_the_unet_attends_without_the_matrix_of_scores() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    net, given, found = stirred("unet"), inputs("unet"), []
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
        with sdpa_kernel(backend):  # an error where that one cannot be used
            found.append(net(*given))
    torch.testing.assert_close(*found)
