r"""What single operations promise: exact matrices, little memory, and a choice by measurement."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.autograd.graph import saved_tensors_hooks  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from relume import kept, machine  # noqa: E402
from relume.errors import UsageError  # noqa: E402
from relume.ops import ATTENTION, GROUP_NORM_SILU, Op, fastest, matrices, trade, winograd  # noqa: E402
from relume.ops.attention import SCORES  # noqa: E402
from relume.ops.op import forget  # noqa: E402

SIZES = (2, 4, 6)


def normal(*shape: int, seed: int = 0, dtype: Any = torch.float64) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def times(matrix: Any, vector: Any) -> list[Fraction]:
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


@pytest.mark.parametrize("m", SIZES)
def test_the_matrices_are_exact(m: int) -> None:
    a, g, b = matrices(m)
    n = m + 2
    assert [len(a), len(a[0]), len(g), len(g[0]), len(b), len(b[0])] == [m, n, n, 3, n, n]
    for tap in range(3):
        for place in range(n):
            unit_g, unit_d = (
                [Fraction(i == own) for i in range(size)] for own, size in ((tap, 3), (place, n))
            )
            spectrum = [x * y for x, y in zip(times(g, unit_g), times(b, unit_d), strict=True)]
            assert times(a, spectrum) == [Fraction(place == i + tap) for i in range(m)]


def test_the_matrices_of_four_are_the_published_ones() -> None:
    a, g, b = matrices(4)
    assert a == [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    assert b[0] == [4, 0, -5, 0, 1, 0] and b[1] == [0, -4, -4, 1, 1, 0] and b[5] == [0, 4, 0, -5, 0, 1]
    assert g[0] == [Fraction(1, 4), 0, 0] and g[1] == [Fraction(-1, 6)] * 3 and g[5] == [0, 0, 1]
    assert g[3] == [Fraction(1, 24), Fraction(1, 12), Fraction(1, 6)]


def test_other_tiles_are_refused() -> None:
    with pytest.raises(UsageError, match="2, 4, 6"):
        winograd(normal(1, 1, 4, 4), normal(1, 1, 3, 3), m=3)


@pytest.mark.parametrize("m", SIZES)
def test_as_many_multiplications_are_saved_as_it_says(m: int) -> None:
    x, weight = normal(1, 5, 24, 24), normal(7, 5, 3, 3)
    with FlopCounterMode(display=False) as direct:
        torch.nn.functional.conv2d(x, weight, padding=1)
    n, tiles = m + 2, (24 // m) ** 2
    products = n * n * tiles * 5 * 7
    assert Fraction(direct.get_total_flops() // 2, products) == trade(m).multiplications
    assert Fraction(n * n * tiles, 24 * 24) == trade(m).intermediates
    with FlopCounterMode(display=False) as counted:
        winograd(x, weight, m=m)
    spectral = [count for name, count in counted.get_flop_counts()["Global"].items() if "bmm" in str(name)]
    assert sum(spectral) >= 2 * products


def test_the_error_grows_with_the_tile() -> None:
    errors = []
    for m in SIZES:
        x, weight = normal(2, 64, 24, 24), normal(8, 64, 3, 3, seed=1)
        truth = torch.nn.functional.conv2d(x, weight, padding=1)
        exact = winograd(x, weight, m=m)
        single = winograd(x.float(), weight.float(), m=m)
        assert (exact - truth).abs().max() < 1e-12 * truth.abs().max()
        errors.append(((single - truth).norm() / truth.norm()).item())
    assert 1e-8 < errors[0] < errors[1] < errors[2] < 1e-4


@pytest.mark.parametrize("way", ["partial", "sdpa"])
def test_attention_bears_logits_of_ten_thousand(way: str) -> None:
    q, k, v = 100 * normal(2, 33, 4), 100 * normal(2, 47, 4, seed=1), normal(2, 47, 4, seed=2)
    assert (q @ k.mT).abs().max() > 2e4
    torch.testing.assert_close(ATTENTION.ways[way](q, k, v), ATTENTION.reference(q, k, v), rtol=0, atol=1e-12)


def test_the_library_is_called_so_that_it_is_fused() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = normal(2, 8, 5, dtype=torch.float32).mT
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # an error where that one cannot be used
        out = ATTENTION.ways["sdpa"](q, q, q)
    torch.testing.assert_close(out, ATTENTION.reference(q, q, q))


def test_the_scores_are_made_in_parts_and_not_kept() -> None:
    n, d = 700, 8
    q, k, v = (normal(1, n, d, seed=seed).requires_grad_() for seed in range(3))
    assert n * n > 5 * SCORES
    kept_by = {name: saved(way, q, k, v) for name, way in (("partial", ATTENTION.ways["partial"]),)}
    kept_by["reference"] = saved(ATTENTION.reference, q, k, v)
    assert kept_by["partial"] == 4 * n * d + 2 * n
    assert kept_by["reference"] > n * n


def saved(way: Any, *tensors: Any, **settings: Any) -> int:
    """The values that wait for the gradient, each storage once."""
    found: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        found[tensor.untyped_storage().data_ptr()] = (
            tensor.untyped_storage().nbytes() // tensor.element_size()
        )
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        way(*tensors, **settings)
    return sum(found.values())


def test_the_norm_keeps_its_input_and_two_numbers_a_group() -> None:
    x, weight, bias = (normal(*shape).requires_grad_() for shape in ((2, 8, 16, 16), (8,), (8,)))
    ways = GROUP_NORM_SILU.ways
    counts = {name: saved(ways[name], x, weight, bias, groups=4) for name in ("torch", "saving")}
    assert counts["saving"] <= x.numel() + 2 * 8 + 2 * 2 * 4
    assert counts["torch"] >= 2 * x.numel()


def test_the_norm_bears_a_mean_that_is_far_from_zero() -> None:
    x = normal(1, 4, 16, 16) + 1e3
    weight, bias = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    truth = GROUP_NORM_SILU.reference(x, weight, bias, groups=2)
    single = (each.float() for each in (x, weight, bias))
    away = (GROUP_NORM_SILU.ways["saving"](*single, groups=2) - truth).abs().max()
    assert away < 1e-3


class Clock:
    """A time that only the calls move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def way(self, name: str, seconds: float) -> Any:
        def run(x: Any) -> Any:
            self.calls.append(name)
            self.now += seconds
            return 2 * x

        return run


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    monkeypatch.setenv("RELUME_HOME", str(tmp_path))
    forget()
    yield Clock()
    forget()


def doubling(clock: Clock, slow: float, quick: float) -> Op:
    return Op("doubling", lambda x: 2 * x, {"a": clock.way("a", slow), "b": clock.way("b", quick)})


def test_the_fastest_way_is_measured_once_and_kept(clock: Clock, tmp_path: Path) -> None:
    x = torch.ones(3)
    assert fastest(doubling(clock, 2.0, 1.0), x, clock=clock) == "b"
    assert clock.calls == ["a", *["a", "b"] * 6], "the value, one warm-up, then interleaved rounds"
    assert len(list((tmp_path / "cache" / "ops").iterdir())) == 1
    turned = doubling(clock, 1.0, 2.0)
    assert fastest(turned, x, clock=clock) == "b" and len(clock.calls) == 13
    forget()
    assert fastest(turned, x, clock=clock) == "b" and len(clock.calls) == 13, "another process reads it"
    assert torch.equal(turned(x), 2 * x) and clock.calls[13:] == ["b"]


def test_another_shape_type_layout_or_gradient_is_measured_anew(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    op, x = doubling(clock, 1.0, 2.0), torch.ones(2, 3)
    others = [torch.ones(3, 3), x.double(), x.T.contiguous().T, x.clone().requires_grad_()]
    for count, each in enumerate([x, *others], start=1):
        assert fastest(op, each, clock=clock) == "a" and len(clock.calls) == 13 * count
    assert others[-1].grad is None
    with torch.no_grad():
        fastest(op, others[-1], clock=clock)
    assert len(clock.calls) == 65, "without a gradient it is the first again"
    monkeypatch.setattr(machine, "processor", lambda: "another")
    fastest(op, x, clock=clock)
    assert len(clock.calls) == 78


def failing(x: Any) -> Any:
    raise OSError("no compiler")


@pytest.mark.parametrize("other", [failing, lambda x: 2.05 * x, lambda x: 2 * x + float("nan")])
def test_a_way_that_fails_or_answers_otherwise_is_not_chosen(clock: Clock, other: Any) -> None:
    x, state = torch.ones(100), torch.random.get_rng_state()
    ways = {"a": clock.way("a", 1.0), "other": other}
    for _ in range(2):
        forget()
        assert fastest(Op("doubling", lambda x: 2 * x, ways), x, clock=clock) == "a"
    assert len(clock.calls) == 7, "and that is kept"
    assert torch.equal(torch.random.get_rng_state(), state) and bool((x == 1).all())


def test_tensors_that_do_not_fit_are_said_by_the_choice() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        ATTENTION(normal(1, 4, 3), normal(1, 4, 2), normal(1, 4, 2))


@pytest.mark.parametrize(
    "seconds", [{"a": 1.0}, {"a": None, "b": 1.0}, {"a": 1.0, "b": -1.0}, {"a": "1", "b": 2.0}, [1.0], None]
)
def test_what_is_no_measurement_counts_as_none(clock: Clock, tmp_path: Path, seconds: Any) -> None:
    op, x = doubling(clock, 1.0, 2.0), torch.ones(3)
    fastest(op, x, clock=clock)
    (path,) = (tmp_path / "cache" / "ops").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": seconds}))
    forget()
    assert fastest(op, x, clock=clock) == "a" and len(clock.calls) == 26
    path.write_bytes(b"\xff")
    forget()
    assert fastest(op, x, clock=clock) == "a" and len(clock.calls) == 39


def test_a_folder_that_cannot_be_written_is_no_error(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "place", lambda *args, **rest: (_ for _ in ()).throw(OSError()))
    op, x = doubling(clock, 1.0, 2.0), torch.ones(3)
    assert fastest(op, x, clock=clock) == fastest(op, x, clock=clock) == "a" and len(clock.calls) == 13
