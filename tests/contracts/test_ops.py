r"""Every operation in every way is its reference: in value, in gradient, in any layout and precision."""

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.autograd import gradcheck  # noqa: E402

from relume.errors import EngineUnavailable, UsageError  # noqa: E402
from relume.ops import OPS, kernels  # noqa: E402

WAYS = [pytest.param(op, name, id=f"{op.name}-{name}") for op in OPS.values() for name in op.ways]
EVERY = pytest.mark.parametrize(("op", "way"), WAYS)

# Shapes of the tensors, and the settings. The second of each is longer than a block of the kernels.
EXAMPLES: dict[str, list[tuple[list[tuple[int, ...]], dict[str, Any]]]] = {
    "group-norm-silu": [
        ([(2, 4, 3, 2), (4,), (4,)], {"groups": 2}),
        ([(2, 8, 23, 29), (2, 8), (2, 8)], {"groups": 4, "eps": 1e-3}),
        ([(1, 8, 5, 7), (8,), (8,)], {"groups": 8}),
        ([(3, 8, 5, 7), (8,), (8,)], {"groups": 2}),
        ([(1, 8, 5, 7), (1, 8), (1, 8)], {"groups": 1}),
    ],
    "gelu": [([(3, 4)], {}), ([(5, 7, 61)], {}), ([()], {})],
    "attention": [
        ([(2, 5, 3), (2, 4, 3), (2, 4, 2)], {}),
        ([(2, 3, 70, 20), (2, 3, 45, 20), (2, 3, 45, 33)], {}),
        ([(40, 8), (1, 8), (1, 8)], {}),
    ],
    "conv3x3": [
        ([(1, 2, 5, 4), (2, 2, 3, 3)], {}),
        ([(2, 5, 13, 17), (7, 5, 3, 3)], {"padding": 0}),
        ([(1, 3, 12, 6), (2, 3, 3, 3)], {"padding": 2}),
        ([(1, 1, 1, 1), (1, 1, 3, 3)], {}),
    ],
}
WRONG: dict[str, list[tuple[list[tuple[int, ...]], dict[str, Any]]]] = {
    "group-norm-silu": [
        ([(2, 6, 3, 2), (6,), (6,)], {"groups": 4}),
        ([(2, 6, 3, 2), (3,), (3,)], {"groups": 3}),
        ([(2, 6, 3, 2), (2, 6), (6,)], {"groups": 3}),
        ([(2, 6, 3), (6,), (6,)], {"groups": 3}),
    ],
    "gelu": [],
    "attention": [
        ([(2, 5, 3), (2, 4, 2), (2, 4, 2)], {}),
        ([(2, 5, 3), (1, 4, 3), (1, 4, 3)], {}),
        ([(2, 5, 3), (2, 0, 3), (2, 0, 3)], {}),
    ],
    "conv3x3": [
        ([(1, 2, 5, 4), (2, 3, 3, 3)], {}),
        ([(1, 2, 5, 4), (2, 2, 5, 5)], {}),
        ([(1, 2, 2, 4), (2, 2, 3, 3)], {"padding": 0}),
    ],
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def device_of(way: str) -> str:
    """A kernel runs where there is a GPU, else by the interpreter."""
    if way != "triton":
        return "cpu"
    pytest.importorskip("triton")
    return "cpu" if kernels.interpreted() else "cuda"


def drawn(shapes: list[tuple[int, ...]], device: str, dtype: Any = torch.float64, seed: int = 0) -> list[Any]:
    maker = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=maker, dtype=torch.float64) for shape in shapes]
    return [each.to(device, dtype).requires_grad_() for each in made]


def both(op: Any, way: str, tensors: list[Any], settings: Any) -> Iterator[tuple[Any, Any]]:
    """Value and gradients of the way and of the reference, for a gradient that is not constant."""
    found = []
    for run in (op.ways[way], op.reference):
        out = run(*tensors, **settings)
        found.append([out, *torch.autograd.grad((out * out.detach().cos()).sum(), tensors)])
    return zip(*found, strict=True)


@EVERY
def test_value_and_gradient_are_those_of_the_reference(op: Any, way: str) -> None:
    device = device_of(way)
    for shapes, settings in EXAMPLES[op.name]:
        tensors = drawn(shapes, device)
        copies = [each.detach().clone() for each in tensors]
        for ours, theirs in both(op, way, tensors, settings):
            assert ours.dtype == theirs.dtype
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
        assert all(map(torch.equal, tensors, copies)), "an argument was changed"


@EVERY
def test_the_gradient_is_that_of_the_value(op: Any, way: str) -> None:
    shapes, settings = EXAMPLES[op.name][0]
    tensors = drawn(shapes, device_of(way), seed=1)
    # The interpreter is slow: there one random direction is asked instead of each in turn.
    assert gradcheck(lambda *given: op.ways[way](*given, **settings), tensors, fast_mode=way == "triton")


@EVERY
def test_a_gradient_is_given_only_where_it_is_wanted(op: Any, way: str) -> None:
    shapes, settings = EXAMPLES[op.name][0]
    tensors = drawn(shapes, device_of(way), seed=2)
    whole = torch.autograd.grad(op.ways[way](*tensors, **settings).sum(), tensors)
    for index, wanted in enumerate(tensors):
        given = [each if each is wanted else each.detach() for each in tensors]
        alone = torch.autograd.grad(op.ways[way](*given, **settings).sum(), wanted)
        torch.testing.assert_close(alone[0], whole[index], rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert not op.ways[way](*tensors, **settings).requires_grad


@EVERY
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 5e-5), (torch.float16, 3e-2), (torch.bfloat16, 0.15)]
)
def test_precision_is_kept(op: Any, way: str, dtype: Any, tolerance: float) -> None:
    device = device_of(way)
    if (op.name, way, dtype, device) == ("attention", "triton", torch.bfloat16, "cpu"):
        pytest.skip("Triton's interpreter multiplies matrices of bfloat16 as if they were integers")
    for shapes, settings in EXAMPLES[op.name][:2]:
        tensors = [each.detach() for each in drawn(shapes, device, dtype)]
        out = op.ways[way](*tensors, **settings)
        truth = op.reference(*(each.double() for each in tensors), **settings)
        assert out.dtype == dtype
        away = (out.double() - truth).abs().max() / truth.abs().max()
        assert away < tolerance


@EVERY
def test_layout_does_not_matter(op: Any, way: str) -> None:
    shapes, settings = EXAMPLES[op.name][1]
    plain = drawn(shapes, device_of(way))
    turned = [each.detach().mT.contiguous().mT.requires_grad_() if each.dim() > 1 else each for each in plain]
    assert not all(each.is_contiguous() for each in turned)
    for ours, theirs in zip(both(op, way, turned, settings), both(op, way, plain, settings), strict=True):
        torch.testing.assert_close(ours[0], theirs[1], rtol=1e-11, atol=1e-11)


@EVERY
def test_what_does_not_fit_is_said(op: Any, way: str) -> None:
    device = device_of(way)
    for shapes, settings in WRONG[op.name]:
        for run in (op.ways[way], op.reference):
            with pytest.raises(UsageError):
                run(*drawn(shapes, device), **settings)


def test_a_kernel_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, settings = EXAMPLES["gelu"][0]
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(kernels, "version", lambda: "3.9")
    with pytest.raises(EngineUnavailable, match="another way"):
        OPS["gelu"].ways["triton"](*drawn(shapes, "cpu"), **settings)
    monkeypatch.setattr(kernels, "version", lambda: None)
    with pytest.raises(EngineUnavailable, match="pip install triton"):
        OPS["gelu"].ways["triton"](*drawn(shapes, "cpu"), **settings)
