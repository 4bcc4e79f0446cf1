r"""Every solver in the list: what it returns is what it says, and it never says more."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from relume.errors import UsageError
from relume.invert import SOLVERS, fixed_point, forward_step, krasnoselskii_mann, relaxation_bound
from relume.invert.inversion import relative, rms

EVERY = pytest.mark.parametrize("name", SOLVERS)
ITERATIONS = 2000
# A proof by a careful bound walks slowly; a relaxation of one half is fine for this symmetric F.
OPTIONS = {"krasnoselskii-mann": {"inertia": 0.3, "relaxation": 0.4}, "adam": {"rate": 0.1}}


def gentle(x):
    """Monotone, Lipschitz and cocoercive: every method can invert it."""
    return 0.8 * x + 0.1 * x**3 / (1 + x * x)


def solve(name, forward, y, x, **given):
    return SOLVERS[name](forward, y, x, **{"iterations": ITERATIONS, **OPTIONS.get(name, {}), **given})


def arrays(seed=0, dtype=torch.float64):
    y, x = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 3, 4, 5))).to(dtype)
    return y, x


@EVERY
def test_the_residual_is_that_of_the_result(name):
    y, x = arrays()
    for tolerance in (1e-2, 1e-6):
        found = solve(name, gentle, y, x, tolerance=tolerance)
        again = relative(gentle(found.x) - y, y)
        assert found.residual == pytest.approx(again, rel=1e-9)
        assert found.converged == (again <= tolerance)
        reachable = 1e-2 if name in ("adam", "gradient") else 1e-6
        assert found.converged or tolerance < reachable


@EVERY
@pytest.mark.parametrize(
    "forward",
    [
        lambda x: 0.0 * x,  # y is out of reach
        lambda x: 0.5 * x * x + 1.0,  # and here for the values below 1
        lambda x: -8.0 * x,  # a step against the residual goes the wrong way
        lambda x: x / (x - x),  # nan
        lambda x: (200.0 * x) ** 3,  # every step leads out of the numbers
    ],
)
def test_no_solver_says_that_it_converged_when_it_has_not(name, forward):
    y, x = arrays(1)
    found = solve(name, forward, y, x, tolerance=1e-6, iterations=200)
    again = relative(forward(found.x) - y, y)
    assert found.converged == (again <= 1e-6)
    assert found.residual == again or found.residual == pytest.approx(again)
    assert not found.converged or name in ("gradient", "anderson", "persistent")


@EVERY
def test_iterations_are_evaluations_and_keep_their_limit(name):
    y, x = arrays()
    for limit in (1, 7, 50):
        seen = []

        def forward(x, seen=seen):
            seen.append(x)
            return gentle(x)

        found = solve(name, forward, y, x, tolerance=0.0, iterations=limit)
        assert found.iterations == len(seen) <= limit
        assert len(seen) == limit or limit == 50
        assert found.residual <= relative(gentle(x) - y, y)


@EVERY
def test_a_solution_is_recognised_at_once(name):
    _, x = arrays()
    found = solve(name, gentle, gentle(x), x)
    assert found.iterations == 1 and found.residual == 0.0 and found.converged
    assert torch.equal(found.x, x)


@EVERY
def test_numpy_and_torch_agree(name):
    y, x = arrays()
    theirs = solve(name, gentle, y, x, iterations=30, tolerance=0.0)
    assert isinstance(theirs.x, torch.Tensor) and not theirs.x.requires_grad
    if name == "gradient":
        with pytest.raises(UsageError, match="torch"):
            solve(name, gentle, y.numpy(), x.numpy())
        return
    ours = solve(name, gentle, y.numpy(), x.numpy(), iterations=30, tolerance=0.0)
    assert isinstance(ours.x, np.ndarray) and ours.iterations == theirs.iterations
    np.testing.assert_allclose(theirs.x.numpy(), ours.x, rtol=0, atol=1e-9)


@EVERY
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float16, 2e-2), (torch.bfloat16, 0.1)]
)
def test_precision_is_kept(name, dtype, tolerance):
    y, x = arrays(dtype=dtype)
    options = {"epsilon": 1e-4} if name in ("adam", "gradient") else {}
    found = solve(name, gentle, y, x, iterations=500, tolerance=tolerance, **options)
    assert found.x.dtype == dtype and found.converged


@EVERY
def test_gradients_are_taken_only_where_they_are_asked_for(name):
    weight = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    y, x = arrays()
    tracked = []

    def forward(x):
        value = weight * x
        tracked.append(value.requires_grad)
        return value

    found = solve(name, forward, y, x, iterations=20)
    assert set(tracked) == {name == "gradient"} and not found.x.requires_grad and weight.grad is None


# What single solvers promise.


@pytest.mark.parametrize("slope", [4.0, 0.5])
def test_a_constant_step_converges_below_twice_the_cocoercivity_and_diverges_above(slope):
    # F(x) = s x is 1/s-cocoercive.
    x, y = np.ones(3), np.full(3, 2.0)
    below = fixed_point(lambda x: slope * x, y, x, step=1.98 / slope, iterations=5000, tolerance=1e-12)
    above = fixed_point(lambda x: slope * x, y, x, step=2.02 / slope, iterations=5000, tolerance=1e-12)
    assert below.converged and not above.converged
    assert above.residual == pytest.approx(relative(slope * x - y, y))


def test_the_forward_step_mends_a_step_that_is_too_long():
    x, y = np.ones(3), np.full(3, 2.0)
    steep = np.array([40.0, 4.0, 1.0])
    assert not fixed_point(lambda x: steep * x, y, x, tolerance=1e-9, iterations=1000).converged
    assert forward_step(lambda x: steep * x, y, x, tolerance=1e-9, iterations=1000).converged


def test_anderson_needs_fewer_evaluations_than_the_forward_step():
    steep = np.linspace(0.05, 1.0, 12)
    found = {
        name: SOLVERS[name](lambda x: steep * x, np.ones(12), np.zeros(12), tolerance=1e-8, iterations=3000)
        for name in ("forward-step", "anderson")
    }
    assert all(each.converged for each in found.values())
    assert found["anderson"].iterations < found["forward-step"].iterations / 3


def test_persistence_finds_what_one_solver_misses():
    """On a map with many flat places; by the sum of its parts it gets no more evaluations than they do."""

    def rugged(x):
        return x + 0.5 * np.sin(6 * x)

    solved = {"anderson": 0, "persistent": 0}
    for seed in range(30):
        truth, start = np.random.default_rng(seed).standard_normal((2, 12))
        for name in solved:
            found = SOLVERS[name](rugged, rugged(truth), start, tolerance=1e-8, iterations=1000)
            assert found.iterations <= 1000
            assert found.residual == relative(rugged(found.x) - rugged(truth), rugged(truth))
            solved[name] += found.converged
    assert solved["anderson"] < solved["persistent"] >= 28


@pytest.mark.parametrize("inertia", [0.0, 0.5, 0.9])
def test_the_inertial_iteration_converges_below_its_bound(inertia):
    slopes = np.linspace(0.05, 1.0, 6)  # 1-cocoercive
    run = partial(krasnoselskii_mann, lambda x: slopes * x, np.ones(6), np.zeros(6), inertia=inertia)
    found = run(relaxation=0.99 * relaxation_bound(inertia), iterations=60_000, tolerance=1e-9)
    assert found.converged


def test_the_bound_is_the_published_one():
    assert relaxation_bound(0.9) == pytest.approx(0.0058139, abs=1e-7)
    share = relaxation_bound(0.9)
    assert share * (1 - 0.9 + 2 * 0.9**2) == pytest.approx((1 - 0.9) ** 2)
    with pytest.raises(UsageError, match="inertia"):
        krasnoselskii_mann(gentle, np.ones(2), np.ones(2), inertia=1.0)


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e-7])
def test_a_norm_in_half_precision_neither_overflows_nor_vanishes(scale):
    values = (scale * torch.ones(400, 400)).to(torch.float16)
    assert rms(values) == pytest.approx(float(values[0, 0]), rel=1e-2)
    assert rms(torch.zeros(3)) == 0.0 and math.isinf(relative(np.array([np.nan]), np.ones(1)))
