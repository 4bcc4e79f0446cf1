r"""``torchrun -m relume train``: several processes learn one net, each from pictures of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")

from safetensors import safe_open

from relume.train.checkpoint import samples

RUN = ("-m", "relume", "train", "xray-coarse", "--batch", "1", "--size", "32", "--device", "cpu")
MORE = ("--precision", "f32", "--workers", "0", "--look-every", "99")


def _free() -> str:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def _train(out: Path, processes: int, steps: int) -> str:
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", _free())
    command = [sys.executable, *launch, *RUN, *MORE]
    done = subprocess.run(
        [*command, "--out", str(out), "--steps", str(steps)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def test_two_processes_learn_one_net_and_go_on(tmp_path: Path) -> None:
    told = _train(tmp_path / "two", 2, 1)
    assert told.count("step 1/1") == 1 and told.count("trained:") == 1, "one of them reports"
    _train(tmp_path / "one", 1, 1)
    gradients, facts = [], {}
    for name in ("two", "one"):
        with safe_open(tmp_path / name / "checkpoint.safetensors", framework="pt") as file:
            facts[name] = json.loads(file.metadata()["facts"])
            gradients.append(file.get_tensor("optimizer.out.bias.exp_avg"))
    assert (gradients[0] != gradients[1]).any(), "the second one's picture counts"
    assert [samples(1, facts[name]) for name in ("two", "one")] == [2, 1]
    assert samples(5, {"batch": 3}) == 15
    assert "goes on after step 1 of 2" in _train(tmp_path / "two", 1, 2)
    with safe_open(tmp_path / "two" / "checkpoint.safetensors", framework="pt") as file:
        assert samples(2, json.loads(file.metadata()["facts"])) == 3, (
            "two in the first step, one in the second"
        )
