r"""The loop: interrupted and resumed is uninterrupted, to the bit; and what else a run promises."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from threadpoolctl import threadpool_info, threadpool_limits  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from relume.errors import TrainingError, UsageError  # noqa: E402
from relume.nets import build  # noqa: E402
from relume.train import TRAINABLE, Run, TrainConfig, train  # noqa: E402
from relume.train import loop as loop_module  # noqa: E402
from relume.train.checkpoint import (  # noqa: E402
    initialise,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from relume.train.loop import with_steps  # noqa: E402

CONFIG = TrainConfig(
    net="restorer",
    config={"widths": (8, 12), "encoder": (1,), "middle": 1, "decoder": (1,), "time_width": 8},
    objective="restore",
    pair="photo",
    size=16,
    batch=2,
    steps=6,
    lr=1e-2,
    warmup=2,
    decay=0.5,
)
# What a child process needs to say to train the same: dataclasses print as they are made.
CHILD = "import os, signal, sys, torch; torch.set_num_threads(1); from pathlib import Path, PosixPath\n"
CHILD += "from relume.train import Run, TrainConfig, train; from relume.train import loop\n"


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)
        PilImage.fromarray(pixels).resize((88, 80)).save(folder / f"photo-{i}_0.png")
    return folder


def run(data: Path, out: Path, **changes: Any) -> Run:
    return replace(
        Run(data, out, device="cpu", precision="f32", workers=0, save_every=2, look_every=1000), **changes
    )


def quiet(line: str) -> None:
    """Hears nothing."""


def same(one: Path, two: Path) -> bool:
    a, b = load_file(one), load_file(two)
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def step_of(checkpoint: Path) -> int:
    with safe_open(checkpoint, framework="pt") as file:
        return int(file.metadata()["step"])


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train(CONFIG, run(data, tmp_path_factory.mktemp("whole")), report=quiet)


def interrupted_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGINT) -> None:
    """From now on the loop is sent a signal while it computes that step."""
    compute = loop_module._step

    def signalled(config: TrainConfig, now: int, *rest: Any) -> Any:
        if now == step:
            signal.raise_signal(number)
        return compute(config, now, *rest)

    monkeypatch.setattr(loop_module, "_step", signalled)


# --- resuming --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_bit(
    data: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    lines: list[str] = []
    with monkeypatch.context() as patched:
        interrupted_at(patched, 2, number)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, run(data, tmp_path, save_every=1000), report=lines.append)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None and step_of(checkpoint) == 3  # the step is finished first
    assert "stopped after step 3" in lines[-1]
    assert not same(checkpoint, uninterrupted)
    assert same(train(CONFIG, run(data, tmp_path), report=lines.append), uninterrupted)
    assert any("goes on after step 3 of 6" in line for line in lines)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_run_goes_on_to_the_bit(data: Path, tmp_path: Path, uninterrupted: Path) -> None:
    """``kill -9`` in the fifth step, with processes that make pairs; the checkpoint is that of the fourth."""
    code = CHILD + textwrap.dedent(
        f"""
        compute = loop._step
        def killed(config, step, *rest):
            if step == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return compute(config, step, *rest)
        loop._step = killed
        train({CONFIG!r}, {run(data, tmp_path, workers=2)!r})
        """
    )
    # No pipes: its orphaned workers would hold them open until they notice, some seconds later.
    with (tmp_path / "errors").open("w") as errors:
        done = subprocess.run([sys.executable, "-c", code], stdout=errors, stderr=errors, timeout=120)
    assert done.returncode == -signal.SIGKILL, (tmp_path / "errors").read_text()
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None and step_of(checkpoint) == 4
    assert same(train(CONFIG, run(data, tmp_path), report=quiet), uninterrupted)


def test_half_a_checkpoint_is_none(data: Path, tmp_path: Path, uninterrupted: Path) -> None:
    """What a process leaves that was killed while it wrote does not stand in the way."""
    (tmp_path / "checkpoint.partial").write_bytes(uninterrupted.read_bytes()[:100])
    assert latest_checkpoint(tmp_path) is None
    assert same(train(CONFIG, run(data, tmp_path), report=quiet), uninterrupted)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_sigterm_to_the_whole_group_saves_and_ends(data: Path, tmp_path: Path) -> None:
    """As a terminal's Ctrl-C or a service manager does it: parent and workers get the signal together."""
    code = (
        CHILD + f"train({replace(CONFIG, steps=10**6)!r}, {run(data, tmp_path, workers=2, save_every=3)!r})"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 90
        while latest_checkpoint(tmp_path) is None and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        earlier = step_of(tmp_path / "checkpoint.safetensors")
        os.killpg(child.pid, signal.SIGTERM)
        out, errors = child.communicate(timeout=30)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    assert errors.strip().endswith("KeyboardInterrupt"), errors
    assert "worker" not in errors
    stopped = step_of(tmp_path / "checkpoint.safetensors")
    assert stopped >= earlier and f"stopped after step {stopped}:" in out
    with pytest.raises(ProcessLookupError):  # no worker outlives its parent
        os.killpg(child.pid, 0)


def test_the_second_signal_does_what_it_always_does(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = loop_module._step
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it

    def impatient(config: TrainConfig, now: int, *rest: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return compute(config, now, *rest)

    monkeypatch.setattr(loop_module, "_step", impatient)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, run(data, tmp_path), report=quiet)
    finally:
        signal.signal(signal.SIGINT, before)
    assert latest_checkpoint(tmp_path) is None


def test_training_in_a_thread_needs_no_signals(data: Path, tmp_path: Path, uninterrupted: Path) -> None:
    found: list[Path] = []
    thread = threading.Thread(target=lambda: found.append(train(CONFIG, run(data, tmp_path), report=quiet)))
    thread.start()
    thread.join(60)
    assert found and same(found[0], uninterrupted)


def test_pairs_made_by_other_processes_are_the_same_pairs(
    data: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    assert same(train(CONFIG, run(data, tmp_path, workers=2), report=quiet), uninterrupted)


def test_bf16_resumes_to_the_bit_too_and_a_process_may_use_both(
    data: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = run(data, tmp_path / "whole", precision="bf16")
    whole = train(CONFIG, half, report=quiet)
    assert not same(whole, uninterrupted)
    with monkeypatch.context() as patched:
        interrupted_at(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, replace(half, out=tmp_path / "parts"), report=quiet)
    assert same(train(CONFIG, replace(half, out=tmp_path / "parts"), report=quiet), whole)
    assert {value.dtype for value in load_file(whole).values()} == {torch.float32}


def test_muon_resumes_to_the_bit_too(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = replace(CONFIG, optimizer="muon", config={**CONFIG.config, "widths": (24, 32)})
    whole = train(wide, run(data, tmp_path / "whole"), report=quiet)
    assert any(key.endswith(".momentum") for key in load_file(whole))
    with monkeypatch.context() as patched:
        interrupted_at(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            train(wide, run(data, tmp_path / "half"), report=quiet)
    with pytest.raises(TrainingError, match="another optimizer"):
        train(replace(wide, optimizer="adamw"), run(data, tmp_path / "half"), report=quiet)
    assert same(train(wide, run(data, tmp_path / "half"), report=quiet), whole)
    with pytest.raises(UsageError, match="adamw, muon"):
        replace(CONFIG, optimizer="sgd")


def test_a_run_of_before_objectives_had_settings_goes_on(
    data: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        interrupted_at(patched, 3)
        facts = loop_module._facts
        without = lambda config: {  # noqa: E731
            k: v for k, v in facts(config).items() if k not in ("settings", "optimizer")
        }
        patched.setattr(loop_module, "_facts", without)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, run(data, tmp_path), report=quiet)
    with pytest.raises(TrainingError, match="another settings"):
        train(replace(CONFIG, settings={"chain": 0.0}), run(data, tmp_path), report=quiet)
    assert same(train(CONFIG, run(data, tmp_path), report=quiet), uninterrupted)


def test_another_seed_is_another_run(data: Path, tmp_path: Path, uninterrupted: Path) -> None:
    assert not same(train(replace(CONFIG, seed=1), run(data, tmp_path), report=quiet), uninterrupted)


def test_changed_settings_are_refused_by_name(data: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, steps=1), run(data, tmp_path), report=quiet)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    for changes in ({"lr": 2e-2}, {"seed": 5}, {"size": 24, "batch": 4}, {"exclude": ("x_",)}):
        with pytest.raises(TrainingError, match=" and | ".join(changes)) as caught:
            train(replace(CONFIG, **changes), run(data, tmp_path), report=quiet)
        assert all(key in str(caught.value) for key in changes) and "--out" in str(caught.value)
    with pytest.raises(TrainingError, match="another net"):
        train(replace(CONFIG, config={**CONFIG.config, "widths": (8, 16)}), run(data, tmp_path), report=quiet)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_run_can_be_prolonged_before_the_rate_falls(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six steps were planned; after three, where the rate would have begun to fall, it became eight."""
    with monkeypatch.context() as patched:
        interrupted_at(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, run(data, tmp_path / "parts"), report=quiet)
    longer = with_steps(CONFIG, 8)
    whole = train(longer, run(data, tmp_path / "whole"), report=quiet)
    assert same(train(longer, run(data, tmp_path / "parts"), report=quiet), whole)


def test_a_finished_run_is_left_as_it_is(data: Path, tmp_path: Path) -> None:
    checkpoint = train(with_steps(CONFIG, 2), run(data, tmp_path), report=quiet)
    before = checkpoint.read_bytes()
    assert train(with_steps(CONFIG, 2), run(data, tmp_path), report=quiet) == checkpoint
    assert checkpoint.read_bytes() == before


def test_a_run_may_start_from_the_weights_of_another(data: Path, tmp_path: Path, uninterrupted: Path) -> None:
    started = train(
        replace(CONFIG, steps=1, lr=0.0, ema=0.0),
        run(data, tmp_path / "new", init=uninterrupted),
        report=quiet,
    )
    old, new = load_file(uninterrupted), load_file(started)
    weights = [key for key in old if key.startswith("net.")]
    assert weights and all(torch.equal(old[key.replace("net.", "average.")], new[key]) for key in weights)


@pytest.mark.parametrize("block", ["naf", "conv"])
def test_a_grown_net_begins_as_the_smaller_one(tmp_path: Path, block: str) -> None:
    def made(**more: Any) -> tuple[Any, dict[str, Any]]:
        net = build("restorer", {**CONFIG.config, "block": block, **more})
        return net, {name: value.detach().clone() for name, value in net.state_dict().items()}

    small, average = made()
    with torch.no_grad():
        for value in (*small.parameters(), *average.values()):
            value.copy_(torch.randn(value.shape) / 4)
    optimizer = torch.optim.AdamW(small.parameters())
    path = save_checkpoint(tmp_path, step=1, net=small, average=average, optimizer=optimizer, facts={})
    grown, started = made(middle=3, encoder=(2,))
    assert initialise(path, net=grown, average=started) == ["encoder.0.1", "middle.1", "middle.2"]
    small.load_state_dict(average)
    pictures = torch.rand(1, 3, 16, 16), torch.rand(1, 4, 16, 16), torch.rand(1)
    torch.testing.assert_close(grown(*pictures), small(*pictures))
    assert all(torch.equal(value, started[name]) for name, value in grown.state_dict().items())
    grown(*pictures).square().mean().backward()
    learning = dict(grown.named_parameters())
    key = "middle.2.project1.weight" if block == "naf" else "middle.2.conv2.weight"
    assert learning[key].grad.abs().max() > 0
    for other in ({"widths": (8, 16)}, {"middle": 0}):
        with pytest.raises(TrainingError, match="belongs to another net"):
            net, values = made(**other)
            initialise(path, net=net, average=values)


def test_a_tone_net_grows_by_black_and_white_points(tmp_path: Path) -> None:
    shape = {"width": 8, "knots": 4, "channels": (4, 6)}
    small = build("tone", shape)
    with torch.no_grad():
        for value in small.parameters():
            value.copy_(torch.randn(value.shape) / 4)
    average = {name: value.detach().clone() for name, value in small.state_dict().items()}
    optimizer = torch.optim.AdamW(small.parameters())
    path = save_checkpoint(tmp_path, step=1, net=small, average=average, optimizer=optimizer, facts={})
    grown = build("tone", {**shape, "points": True})
    assert initialise(path, net=grown, average=dict(grown.state_dict())) == ["points"]
    pictures = torch.rand(2, 3, 18, 24)
    torch.testing.assert_close(grown(pictures), small(pictures))
    grown(pictures).square().mean().backward()
    assert grown.points.share.weight.grad.abs().max() > 0


# --- what a run leaves -----------------------------------------------------------------------------------


def test_a_run_leaves_a_log_a_config_and_a_grid(data: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    train(replace(CONFIG, steps=3), run(data, tmp_path), report=lines.append)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert entries[0]["step"] == 3
    assert {"loss", "grad", "psnr", "lr", "samples_per_s"} <= set(entries[0])
    assert {"held_out_psnr", "held_out_psnr_damaged", "held_out_ssim", "held_out_ssim_damaged"} <= set(
        entries[1]
    )
    assert all(np.isfinite(value) for entry in entries for value in entry.values())
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 3
    with PilImage.open(tmp_path / "samples-0000003.png") as grid:
        assert grid.size == (16 * 16, 3 * 16)
    assert any("5 photographs to learn from, 1 held out" in line for line in lines)
    assert any("min left" in line for line in lines)


def test_a_resumed_log_says_each_step_once(data: Path, tmp_path: Path) -> None:
    train(with_steps(CONFIG, 2), run(data, tmp_path), report=quiet)
    with (tmp_path / "log.jsonl").open("a") as file:  # of steps whose checkpoint was never written
        file.write(json.dumps({"step": 4, "loss": 9.0}) + "\n" + '{"step": 5, "lo')
    train(with_steps(CONFIG, 4), run(data, tmp_path), report=quiet)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [entry for entry in entries if "loss" in entry]
    assert [entry["step"] for entry in losses] == [2, 4]
    assert all(entry["loss"] != 9.0 for entry in losses)


def test_checkpoints_hold_no_pickle(uninterrupted: Path) -> None:
    """A safetensors file is a length, JSON, and numbers; nothing in it is run."""
    content = uninterrupted.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    facts = json.loads(header.pop("__metadata__")["facts"])
    assert facts == json.loads(json.dumps(loop_module._facts(CONFIG))) | {
        "samples": CONFIG.steps * CONFIG.batch
    }
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(content) - 8 - size
    assert {entry["dtype"] for entry in header.values()} == {"F32"}
    names = set(build(CONFIG.net, CONFIG.config).state_dict())
    assert {key.removeprefix("average.") for key in header if key.startswith("average.")} == names
    assert {key.removeprefix("net.") for key in header if key.startswith("net.")} == names
    assert not [
        path for path in uninterrupted.parent.rglob("*") if path.suffix in (".pt", ".pth", ".pkl", ".bin")
    ]


def test_a_checkpoint_comes_back_to_the_bit_in_the_layout_of_the_net(tmp_path: Path) -> None:
    def fresh() -> Any:
        net = build(CONFIG.net, CONFIG.config).to(memory_format=torch.channels_last)
        return (
            net,
            {k: v.clone() for k, v in net.state_dict().items()},
            torch.optim.AdamW(net.parameters(), lr=1e-2),
        )

    net, average, optimizer = fresh()
    net(torch.rand(1, 3, 8, 8), torch.rand(1, 4, 8, 8), torch.rand(1)).square().mean().backward()
    optimizer.step()
    path = save_checkpoint(tmp_path, step=1, net=net, average=average, optimizer=optimizer, facts={"a": [1]})
    other, other_average, other_optimizer = fresh()
    assert load_checkpoint(path, net=other, average=other_average, optimizer=other_optimizer) == (
        1,
        {"a": [1]},
    )
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizer.state[a][key], other_optimizer.state[b][key])
            assert optimizer.state[a][key].stride() == other_optimizer.state[b][key].stride()
    assert all(torch.equal(average[key], other_average[key]) for key in average)


def test_what_is_no_checkpoint_is_refused_in_one_line(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "checkpoint.safetensors"
    for write in (
        lambda: target.write_bytes(b""),
        lambda: target.write_bytes(b"\x80\x04 not safetensors"),
        lambda: save_file({"net.x": torch.ones(1)}, target),
    ):
        write()
        with pytest.raises(TrainingError, match="no readable checkpoint") as caught:
            train(CONFIG, run(data, tmp_path), report=quiet)
        assert "\n" not in str(caught.value)


# --- what a recipe says ----------------------------------------------------------------------------------


def test_the_average_is_the_exponential_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a ← d a + (1 - d) w with d = min(ema, (1 + step) / (10 + step)), from the first weights on."""
    weights: list[dict[str, Any]] = []
    compute = loop_module._step

    def watched(config: TrainConfig, step: int, forward: Any, optimizer: Any, net: Any, *rest: Any) -> Any:
        if not weights:
            weights.append({name: value.clone().double() for name, value in net.state_dict().items()})
        figures = compute(config, step, forward, optimizer, net, *rest)
        weights.append({name: value.clone().double() for name, value in net.state_dict().items()})
        return figures

    monkeypatch.setattr(loop_module, "_step", watched)
    config = replace(CONFIG, ema=0.25)
    result = load_file(train(config, run(data, tmp_path), report=quiet))
    expected = weights[0]
    for step, now in enumerate(weights[1:]):
        d = min(0.25, (1 + step) / (10 + step))
        expected = {name: d * expected[name] + (1 - d) * now[name] for name in now}
    for name, value in expected.items():
        torch.testing.assert_close(result[f"average.{name}"].double(), value, rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(result[f"average.{name}"], result[f"net.{name}"]) for name in expected)


def test_gradients_are_clipped_and_the_rate_reaches_the_optimiser(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    step = torch.optim.AdamW.step

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        parameters = [p for group in self.param_groups for p in group["params"]]
        norm = torch.linalg.vector_norm(
            torch.stack([p.grad.norm() for p in parameters if p.grad is not None])
        )
        seen.append((float(norm), self.param_groups[0]["lr"]))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    config = replace(CONFIG, clip=0.01)
    train(config, run(data, tmp_path), report=quiet)
    assert [norm for norm, _ in seen] == pytest.approx([0.01] * 6, rel=1e-3)
    assert [rate for _, rate in seen] == [config.rate(step) for step in range(6)]


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    config = replace(CONFIG, steps=1000, lr=2.0, warmup=100, decay=0.3)
    rates = np.array([config.rate(step) for step in range(1000)])
    np.testing.assert_allclose(rates[:100], 2.0 * np.arange(1, 101) / 100)
    np.testing.assert_allclose(rates[100:700], 2.0)
    np.testing.assert_allclose(np.diff(rates[700:]), -2.0 / 300)
    assert 0 < rates[-1] <= 2.0 / 300 + 1e-12 and config.rate(1000) == 0 and config.rate(2000) == 0
    assert replace(config, warmup=0, decay=0.0).rate(0) == replace(config, decay=0.0).rate(999) == 2.0


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_recipe_names_what_exists(name: str) -> None:
    from relume.train.objectives import OBJECTIVES, objective
    from relume.train.pairs import PAIRS
    from relume.train.sources import SOURCES

    config = TRAINABLE[name]
    if name == "latent-map":  # it is given the two coders before it
        assert config.objective in OBJECTIVES
    else:
        assert callable(objective(config.objective, config.settings))
    assert config.source in SOURCES
    assert config.pair in PAIRS or config.source != "photos"
    with torch.device("meta"):
        net = build(config.net, config.config)
    multiple = getattr(net.config, "multiple_of", 2)
    assert config.size % multiple == 0
    assert config.size >= 11  # what SSIM needs
    json.dumps(loop_module._facts(config))


def test_with_steps_changes_the_length_alone() -> None:
    assert with_steps(CONFIG, None) is CONFIG
    assert with_steps(CONFIG, 9) == replace(CONFIG, steps=9)


@pytest.mark.parametrize(
    "wrong",
    [{"device": "gpu"}, {"precision": "fp16"}, {"workers": -1}, {"save_every": 0}, {"look_every": 0}],
)
def test_a_run_that_makes_no_sense_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        run(tmp_path, tmp_path, **wrong)


def test_cuda_is_never_replaced_in_silence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="no CUDA device"):
        train(CONFIG, run(data, tmp_path, device="cuda"), report=quiet)


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not a folder"):
        train(CONFIG, run(tmp_path / "missing", tmp_path / "out"), report=quiet)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(TrainingError, match="can be read"):
        train(CONFIG, run(tmp_path, tmp_path / "out"), report=quiet)


def test_unreadable_files_are_reported_and_left_out(data: Path, tmp_path: Path) -> None:
    for path in data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken_0.jpg").write_bytes(b"no picture")
    lines: list[str] = []
    train(with_steps(CONFIG, 1), run(tmp_path, tmp_path / "out"), report=lines.append)
    assert any("left out 1 unreadable" in line and "broken_0.jpg" in line for line in lines)


class _Pools(Dataset[int]):
    """How many threads NumPy's matrix products would start where the item is made."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


def test_workers_leave_the_cores_to_training() -> None:
    with threadpool_limits(2):
        loader = DataLoader(
            _Pools(), num_workers=1, worker_init_fn=loop_module._one_thread, multiprocessing_context="fork"
        )
        assert int(next(iter(loader))) == 1
        loader = DataLoader(_Pools(), num_workers=1, multiprocessing_context="fork")
        assert int(next(iter(loader))) == 2  # or the first would say nothing
