r"""The decoder run backwards, on decoders whose cocoercivity is known or can be measured."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from relume.invert import (
    adam,
    anderson,
    cocoercivity,
    fixed_point,
    forward_step,
    gradient,
    invert_decoder,
    krasnoselskii_mann,
    relaxation_bound,
)
from relume.invert.inversion import relative


def decibels(found, truth):
    return 20 * math.log10(relative(found - truth, truth) + 1e-300)


def linear(gain=1.0, seed=0):
    """D(z) = W z and E = gain · W⁺, so that E D = gain · I is 1/gain-cocoercive."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((64, 16)) / 8
    inverse = gain * np.linalg.pinv(weight)
    return (lambda x: x @ inverse.T), (lambda z: z @ weight.T), rng.standard_normal((3, 16))


def bent(seed=0):
    """x = tanh(0.6 W z) behind an encoder that is linear, and 15 % too strong."""
    rng = np.random.default_rng(seed)
    weight = 0.6 * rng.standard_normal((64, 16)) / 8
    inverse = 1.15 * np.linalg.pinv(weight)
    return (lambda x: x @ inverse.T), (lambda z: np.tanh(z @ weight.T)), rng.standard_normal((4, 16))


class Codec(nn.Module):
    """An orthogonal map behind a residual convolution; the encoder knows only the former."""

    def __init__(self, gain: float = 0.15) -> None:
        super().__init__()
        self.mix = nn.Conv2d(12, 12, 1, bias=False)
        nn.init.orthogonal_(self.mix.weight)
        self.bend = nn.Sequential(nn.Conv2d(12, 24, 3, padding=1), nn.SiLU(), nn.Conv2d(24, 12, 3, padding=1))
        self.gain = gain

    def decode(self, z):
        return nn.functional.pixel_shuffle(self.mix(z + self.gain * self.bend(z)), 2)

    def encode(self, x):
        return nn.functional.conv_transpose2d(nn.functional.pixel_unshuffle(x, 2), self.mix.weight)


@pytest.fixture
def codec():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Codec().double(), torch.randn(2, 12, 8, 8, dtype=torch.float64)


def test_a_linear_autoencoder_is_inverted_in_one_step():
    encode, decode, z = linear()
    x = decode(z)
    found = fixed_point(lambda z: encode(decode(z)), encode(x), 0.0 * z, iterations=2, tolerance=1e-12)
    assert found.converged and found.iterations == 2 and relative(found.x - z, z) < 1e-12


@pytest.mark.parametrize("gain", [0.5, 1.0, 4.0])
def test_twice_the_cocoercivity_is_the_longest_step(gain):
    encode, decode, z = linear(gain)
    run = partial(invert_decoder, encode, decode, decode(z), iterations=3000, tolerance=1e-9, log=True)
    short = run(solver=partial(fixed_point, step=1.9 / gain))
    assert short.converged and relative(short.x - z, z) < 1e-8
    if gain != 1.0:
        assert short.cocoercivity == pytest.approx(1 / gain, rel=1e-2)
        long = run(solver=partial(fixed_point, step=2.1 / gain))
        # It went away from the solution, so the encoder's own answer is still the best.
        assert not long.converged and long.residual == long.encoder_residual
        assert long.latent_residual > 0.1 * abs(gain - 1)


def test_a_bent_decoder_is_inverted_to_rounding():
    encode, decode, z = bent()
    run = partial(invert_decoder, encode, decode, decode(z), tolerance=1e-13, log=True)
    encoder = decibels(encode(decode(z)), z)
    assert -27 < encoder < -19
    plain = run(solver=partial(fixed_point, step=0.5), iterations=100)
    assert decibels(plain.x, z) < -250 and plain.converged and plain.cocoercivity > 0.5
    faster = run(solver=anderson, iterations=20)
    assert decibels(faster.x, z) < -250 and faster.converged
    scheduled = run(solver=adam, iterations=100)
    assert -90 < decibels(scheduled.x, z) < encoder - 30 and not scheduled.converged
    inertial = run(solver=krasnoselskii_mann, iterations=4000)
    assert decibels(inertial.x, z) < -200
    assert not run(solver=partial(fixed_point, step=3.0), iterations=100).converged


def test_the_inertial_iteration_needs_its_bound():
    encode, decode, z = linear(4.0)
    run = partial(invert_decoder, encode, decode, decode(z), iterations=4000, tolerance=1e-6)
    # λ is in units of the cocoercivity, which is 1/4 here.
    for cocoercive, expected in ((0.25, True), (400.0, False)):
        options = {"cocoercivity": cocoercive, "relaxation": 0.999 * relaxation_bound(0.9)}
        assert run(solver=partial(krasnoselskii_mann, **options)).converged == expected


def test_the_result_is_never_worse_than_the_encoders():
    encode, decode, z = bent()
    picture = decode(z)
    for solver in (adam, anderson, forward_step, partial(fixed_point, step=3.0), partial(adam, rate=10.0)):
        for iterations in (1, 5):
            found = invert_decoder(encode, decode, picture, solver=solver, iterations=iterations)
            assert found.encoder_residual == pytest.approx(
                relative(decode(encode(picture)) - picture, picture)
            )
            assert found.residual <= found.encoder_residual
            assert found.residual == pytest.approx(relative(decode(found.x) - picture, picture))
            assert found.iterations <= iterations


def test_a_picture_that_no_latent_decodes_to_is_told_by_its_residual():
    encode, decode, z = bent()
    picture = decode(z) + 0.3 * np.random.default_rng(1).standard_normal((4, 64))
    found = invert_decoder(encode, decode, picture, solver=anderson, iterations=200)
    # T is solved, and still the picture is not met.
    assert found.latent_residual < 1e-3 and found.residual > 0.1 and not found.converged


def test_a_convolutional_decoder_without_gradients(codec):
    net, z = codec
    with torch.no_grad():
        picture = net.decode(z)
        encoder = decibels(net.encode(picture), z)
    for solver, gain in ((forward_step, 60), (anderson, 100), (adam, 15)):
        found = invert_decoder(
            net.encode, net.decode, picture, solver=solver, iterations=60, tolerance=1e-9, log=True
        )
        assert decibels(found.x, z) < encoder - gain, solver
        assert found.cocoercivity > 0 and not found.x.requires_grad
    by_gradient = invert_decoder(net.encode, net.decode, picture, solver=gradient, iterations=20)
    assert not by_gradient.x.requires_grad and by_gradient.residual < by_gradient.encoder_residual
    assert all(parameter.grad is None for parameter in net.parameters())


def test_anderson_meets_the_gradient_baseline_in_a_tenth_of_its_evaluations(codec):
    net, z = codec
    with torch.no_grad():
        picture, start = net.decode(z), net.encode(net.decode(z))
    slow = gradient(net.decode, picture, start, iterations=100, tolerance=0.0)
    # One iteration is two networks forward here, and the decoder forward and backward there.
    quick = invert_decoder(
        net.encode, net.decode, picture, solver=anderson, iterations=100, tolerance=slow.residual
    )
    assert quick.converged and quick.iterations <= slow.iterations / 10
    assert decibels(quick.x, z) <= decibels(slow.x, z) + 1


def test_gradient_steps_go_on_where_the_encoder_is_blind():
    # The encoder sees half of the latent: T = 0 says nothing on the rest, the picture does.
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 32)) / 6)
    seen = torch.linalg.pinv(weight) @ torch.diag((torch.arange(8) < 4).double())
    z = torch.ones(1, 8, dtype=torch.float64)

    def decode(z):
        return torch.tanh(z @ weight)

    def encode(x):
        return x @ seen

    run = partial(invert_decoder, encode, decode, decode(z), solver=anderson, iterations=50)
    blind, hybrid = run(), run(gradient_steps=300, gradient_rate=0.05)
    assert blind.latent_residual < 1e-4 and blind.residual > 0.3
    assert hybrid.residual < blind.residual / 50
    assert hybrid.iterations == blind.iterations + 300 or hybrid.converged


@pytest.mark.parametrize(("dtype", "floor"), [(torch.float16, -45), (torch.bfloat16, -30)])
def test_half_precision_ends_at_its_own_rounding(codec, dtype, floor):
    net, z = codec
    net = net.to(dtype)
    picture = net.decode(z.to(dtype)).detach()
    found = invert_decoder(net.encode, net.decode, picture, solver=forward_step, iterations=60)
    assert found.x.dtype == dtype and decibels(found.x.double(), z) < floor


def test_the_cocoercivity_of_a_path():
    slopes = np.array([0.5, 2.0])
    points = [(z, slopes * z) for z in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.zeros(2))]
    assert cocoercivity(points) == pytest.approx(0.5)
    assert cocoercivity([(z, -z) for z, _ in points]) == pytest.approx(-1.0)
    assert math.isinf(cocoercivity(points[-1:])) and math.isinf(cocoercivity([points[1]] * 3))
