r"""Muon: orthogonal steps for kernels, Adam's for the rest."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from relume.train.muon import Muon, orthogonalised, shares  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield


@pytest.mark.parametrize("shape", [(32, 48), (48, 32), (64, 64), (17, 300)])
def test_directions_stay_and_their_strengths_become_alike(shape: tuple[int, int]) -> None:
    """Against the singular value decomposition; strengths a hundredfold apart end within a factor of two."""
    u, _, v = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    strengths = torch.logspace(0, -2, min(shape), dtype=torch.float64)
    found = orthogonalised((u * strengths @ v).float()).double()
    turned = u.T @ found @ v.T
    assert torch.diagonal(turned).min() > 0.5 and torch.diagonal(turned).max() < 1.3
    aside = turned - torch.diag(torch.diagonal(turned))
    assert aside.norm() < 0.15 * turned.norm()  # bfloat16


def test_a_step_does_not_depend_on_the_size_of_the_gradient() -> None:
    matrix = torch.randn(32, 64)
    assert torch.allclose(orthogonalised(matrix), orthogonalised(1000 * matrix), atol=0.03)


def test_a_kernel_moves_as_far_as_by_adam() -> None:
    """The root mean square of a step is 0.2 of the rate, which is about what Adam's is in training."""
    kernel = nn.Parameter(torch.zeros(64, 32, 3, 3))
    optimizer = Muon([kernel], lr=0.01)
    kernel.grad = torch.randn(kernel.shape)
    optimizer.step()
    assert kernel.detach().square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.2)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
def test_kernels_go_as_the_matrices_of_torch_do() -> None:
    """``torch.optim.Muon`` takes matrices alone: a kernel, written as one, takes the same steps."""
    start = torch.randn(48, 32, 3, 3)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1).clone())
    settings: dict[str, Any] = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    pair = Muon([ours], **settings), torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **settings)
    for _ in range(7):
        ours.grad = torch.randn(start.shape)
        theirs.grad = ours.grad.flatten(1)
        for optimizer in pair:
            optimizer.step()
    moved = (theirs - start.flatten(1)).square().mean().sqrt().item()
    apart = (ours.flatten(1) - theirs).square().mean().sqrt().item()
    assert apart < 0.05 * moved  # sums are rounded to bfloat16 in another order


@pytest.mark.parametrize(
    "shape", [(64, 1, 3, 3), (16, 64, 3, 3), (64, 4, 2, 2), (64, 64), (64,), (1, 64, 1, 1)]
)
def test_what_is_no_matrix_goes_by_adam(shape: tuple[int, ...]) -> None:
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    settings: dict[str, Any] = {"lr": 0.02, "betas": (0.9, 0.99), "weight_decay": 0.1}
    pair = Muon([ours], **settings), torch.optim.AdamW([theirs], **settings)
    for _ in range(7):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in pair:
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_memory_layout_changes_nothing() -> None:
    gradient = torch.randn(32, 48, 3, 3)
    moved = []
    for layout in (torch.contiguous_format, torch.channels_last):
        kernel = nn.Parameter(torch.ones(32, 48, 3, 3).to(memory_format=layout))
        kernel.grad = gradient.to(memory_format=layout)
        Muon([kernel], lr=0.1, weight_decay=0.1).step()
        moved.append(kernel.detach().contiguous())
    assert torch.equal(*moved)


def test_a_closure_is_asked_once() -> None:
    kernel = nn.Parameter(torch.ones(4))
    optimizer = Muon([kernel], lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = kernel.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert torch.all(kernel < 1)


TOGETHER = """
import sys, torch, relume.train.muon as muon
from torch import nn, distributed
turned = []
plain = muon.orthogonalised
muon.orthogonalised = lambda matrix: turned.append(matrix.shape) or plain(matrix)
rank = int(sys.argv[1])
if rank >= 0:
    distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
torch.manual_seed(0)
shapes = [(32, 24, 3, 3), (64, 32, 3, 3), (48, 40, 1, 1), (24, 24, 3, 3), (32, 1, 3, 3), (40,)]
parameters = [nn.Parameter(torch.randn(shape)) for shape in shapes]
optimizer = muon.Muon(parameters, lr=0.01, weight_decay=0.1)
for _ in range(3):
    for number, parameter in enumerate(parameters):
        parameter.grad = torch.randn(parameter.shape)
    optimizer.step()
states = [value for state in optimizer.state.values() for value in state.values()]
torch.save([[each.detach() for each in parameters], states, len(turned)], sys.argv[3])
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch knows no processes")
def test_processes_share_the_kernels_and_take_the_steps_of_one(tmp_path: Path) -> None:
    def run(rank: int) -> "subprocess.Popen[str]":
        told = [str(rank), str(tmp_path / "meeting"), str(tmp_path / f"{rank}.pt")]
        return subprocess.Popen([sys.executable, "-c", TOGETHER, *told], stderr=subprocess.PIPE, text=True)

    for each in [run(rank) for rank in (-1, 0, 1)]:
        said = each.communicate(timeout=240)[1]
        assert each.returncode == 0, said[-2000:]
    alone, first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (-1, 0, 1))
    for other in (first, second):
        for part in (0, 1):
            assert all(torch.equal(a, b) for a, b in zip(alone[part], other[part], strict=True))
    assert alone[2] == 4 * 3 == first[2] + second[2] and min(first[2], second[2]) >= 3


def test_shares_are_about_as_dear_as_each_other() -> None:
    costs = [int(each) for each in torch.randint(1, 1000, (108,))]
    for processes in (1, 2, 3, 8):
        owners = shares(costs, processes)
        loads = [
            sum(c for c, owner in zip(costs, owners, strict=True) if owner == each)
            for each in range(processes)
        ]
        assert sum(loads) == sum(costs) and max(loads) - min(loads) <= max(costs)
    assert shares([], 2) == [] and shares([3], 4) == [0]
