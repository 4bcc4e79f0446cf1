r"""``torchrun -m relume train``: several processes learn one net, each from pictures of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")

import psutil
from safetensors import safe_open

from relume.train.checkpoint import samples

RUN = ("-m", "relume", "train", "xray-coarse", "--batch", "1", "--size", "32", "--device", "cpu")
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
MORE = ("--precision", "f32", "--workers", "0", "--look-every", "99")


def _free() -> str:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def _command(out: Path, processes: int, steps: int) -> list[str]:
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", _free())
    return [sys.executable, *launch, *RUN, *MORE, "--out", str(out), "--steps", str(steps)]


def _train(out: Path, processes: int, steps: int) -> str:
    done = subprocess.run(
        _command(out, processes, steps), capture_output=True, text=True, timeout=300, env=ONE_THREAD
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


@pytest.mark.parametrize("rank", [0, 1])
def test_one_process_that_is_asked_to_stop_stops_all_after_the_same_step(tmp_path: Path, rank: int) -> None:
    """Otherwise the others would wait for its gradients, and nothing would be kept."""
    log = tmp_path / "log.jsonl"
    run = subprocess.Popen(
        _command(tmp_path, 2, 100_000),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=ONE_THREAD,
    )
    try:
        end = time.monotonic() + 240
        while not (log.is_file() and log.read_text()):
            assert run.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        workers = psutil.Process(run.pid).children()
        (asked,) = (each for each in workers if each.environ()["RANK"] == str(rank))
        asked.send_signal(signal.SIGTERM)
        told = run.communicate(timeout=120)[1]
    finally:
        run.kill()
    assert told.count("stopped after step") == 1 and told.count("relume: interrupted") == 2
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        facts, step = json.loads(file.metadata()["facts"]), int(file.metadata()["step"])
    assert f"stopped after step {step}:" in told and samples(step, facts) == 2 * step
