r"""The rulers of speed: an injected clock, counters of energy that are made here, the roofline by hand."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relume.bench import energy as energy_module
from relume.bench.clock import interleaved, latency, warm_up
from relume.bench.energy import Energy, Nvml, Rapl, joules, meters
from relume.bench.intervals import bootstrap
from relume.bench.memory import peak_bytes
from relume.bench.report import Cold, Operation, Profile, Rate, Report, Row, dump, load
from relume.bench.roofline import Peak, Work, copy_bandwidth, matmul_rate, place
from relume.errors import UsageError


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passing(self, *seconds: float) -> Callable[[], None]:
        """A call that takes these seconds in turn, the last of them from then on."""
        left = list(seconds)

        def call() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60)


@settings(deadline=None, max_examples=40)
@given(times)
def test_percentiles_are_those_of_numpy(seconds: list[float]) -> None:
    found = latency(seconds)
    expected = [np.quantile(seconds, q, method="linear") for q in (0.5, 0.9, 0.99)]
    np.testing.assert_allclose([found.median_s, found.p90_s, found.p99_s], expected, rtol=1e-12)
    assert found.min_s * (1 - 1e-12) <= found.low_s <= found.high_s <= found.max_s * (1 + 1e-12)
    assert found.rounds == len(seconds)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = [bootstrap(rng.exponential(size=40), np.median, resamples=400, seed=i) for i in range(200)]
    covered = np.mean([each.low <= np.log(2) <= each.high for each in draws])
    assert 0.88 < covered <= 1.0


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(5, 2, size=400)
    found = bootstrap(values, np.mean)
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(UsageError, match="at least one round"):
        latency([])
    with pytest.raises(UsageError, match="1 or more"):
        interleaved({"a": lambda: None}, rounds=0)


def test_warm_up_ends_when_five_agree_and_keeps_the_cold_call() -> None:
    clock = Clock()
    seconds = warm_up(clock.passing(9.0, 2.0, 1.0), most=50, budget_s=1e9, clock=clock)
    np.testing.assert_allclose(seconds, [9.0, 2.0] + [1.0] * 5)


def test_warm_up_ends_when_the_time_is_up_or_enough_were_made() -> None:
    clock = Clock()
    assert len(warm_up(clock.passing(5.0), budget_s=2.0, clock=clock)) == 2
    restless = clock.passing(*[1.0, 2.0] * 20)
    assert len(warm_up(restless, most=10, budget_s=1e9, clock=clock)) == 10


def test_rounds_are_interleaved_and_another_begins_each_time() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    interleaved(calls, rounds=3)
    assert "".join(order) == "abc" + "bca" + "cab"


def test_each_call_gets_its_own_times_and_the_budget_ends_the_rounds() -> None:
    clock = Clock()
    calls = {"a": clock.passing(1.0), "b": clock.passing(3.0)}
    seconds = interleaved(calls, rounds=100, budget_s=17.0, clock=clock)
    assert seconds == {"a": [1.0] * 5, "b": [3.0] * 5}
    assert len(interleaved(calls, rounds=100, budget_s=0.0, least=3, clock=clock)["a"]) == 3


@settings(deadline=None, max_examples=60)
@given(st.floats(1e6, 1e15), st.floats(1e3, 1e12), st.floats(1e-4, 1e3))
def test_a_place_under_the_roof(flop: float, moved: float, seconds: float) -> None:
    peak = Peak(flop_per_s=1e12, bytes_per_s=1e11)
    found = place(Work(flop, moved), seconds, peak)
    assert found.flop_per_s * seconds == pytest.approx(flop)
    # The roof as the time of whatever takes longer: a formula that shares nothing with the other.
    ideal = max(flop / peak.flop_per_s, moved / peak.bytes_per_s)
    assert found.of_attainable == pytest.approx(ideal / seconds)
    assert (found.bound == "compute") == (flop / peak.flop_per_s >= moved / peak.bytes_per_s)
    assert found.of_peak <= found.of_attainable * (1 + 1e-12)


def test_no_place_without_time_or_bytes() -> None:
    with pytest.raises(UsageError, match="no place"):
        place(Work(1.0, 0.0), 1.0, Peak(1.0, 1.0))


def test_a_product_and_a_copy_are_rated_by_the_best_of_their_tries() -> None:
    clock = Clock()
    assert matmul_rate(clock.passing(9.0, 4.0, 2.0, 3.0), 10, tries=3, clock=clock) == 2 * 10**3 / 2.0
    measured = copy_bandwidth(1, mebibytes=8, tries=2)
    assert 1e7 < measured < 1e13


def zone(root: Path, name: str, part: str, *, microjoules: int, most: int = 1000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(part + "\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_rapl_counts_across_a_wrap(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", microjoules=900, most=1000)
    meter = Rapl(folder, "cpu")
    for counter, joules_so_far in ((950, 50e-6), (30, 130e-6), (30, 130e-6), (29, 1129e-6)):
        (folder / "energy_uj").write_text(str(counter))
        assert meter.read() == pytest.approx(joules_so_far)


def test_packages_and_memory_are_counted_and_cores_are_not_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy_module, "_nvml", lambda: ([], "none here"))
    for name, part in (
        ("0", "package-0"),
        ("1", "package-1"),
        ("0:0", "core"),
        ("0:1", "dram"),
        ("2", "psys"),
    ):
        zone(tmp_path, f"intel-rapl:{name}", part, microjoules=5)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", microjoules=5)  # the same package by another way
    found, lacking = meters(tmp_path)
    assert sorted(meter.part for meter in found) == ["cpu", "cpu", "dram"]
    assert lacking == {"gpu": "none here"}


def test_what_cannot_be_read_is_told_and_not_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy_module, "_nvml", lambda: ([], "none here"))
    found, lacking = meters(tmp_path)
    assert not found and set(lacking) == {"cpu", "dram", "gpu"}
    assert joules(lambda: None, found) == Energy()
    assert set(vars(Energy()).values()) == {None}


def test_a_counter_for_root_only_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", microjoules=5)

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(energy_module, "Rapl", refused)
    assert "root only" in meters(tmp_path)[1]["cpu"]


class Ticking:
    """A GPU of ``watts`` whose counter is refreshed every 100 ms, as NVML has it."""

    def __init__(self, clock: Clock, watts: float) -> None:
        self.clock, self.watts = clock, watts

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return int(self.clock.now / 0.1 + 1e-9) * int(self.watts * 100)  # millijoules


@pytest.mark.parametrize("phase", [0.0, 0.03, 0.07])
def test_a_long_window_measures_what_a_slow_counter_counts(phase: float) -> None:
    clock = Clock()
    clock.now = phase
    meter = Nvml(Ticking(clock, watts=300.0), 0)
    found = joules(clock.passing(0.013), [meter], window_s=5, clock=clock, sleep=lambda s: clock.passing(s)())
    assert found.gpu_j == pytest.approx(300 * 0.013, rel=0.03)
    assert found.idle_gpu_j == pytest.approx(300 * 0.013, rel=0.03)
    assert found.cpu_j is None and found.calls == 385


def test_a_short_window_is_refused_and_a_still_counter_measures_nothing() -> None:
    clock = Clock()
    with pytest.raises(UsageError, match="at least 1 s"):
        joules(lambda: None, [], window_s=0.5)
    still = SimpleNamespace(part="cpu", read=lambda: 7.0)
    found = joules(clock.passing(0.5), [still], window_s=2, clock=clock, sleep=lambda s: clock.passing(s)())
    assert found.cpu_j is None and found.idle_cpu_j is None and found.calls == 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_peak_of_memory_is_this_programs_own_and_not_its_parents() -> None:
    held = np.ones(40 * 2**20 // 8)  # 40 MiB here, which a child must not answer for
    code = (
        "from relume.bench.memory import *; print(peak_bytes()); x = bytearray(24 << 20); print(peak_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (int(line) for line in done.stdout.split())
    mine = peak_bytes()
    assert mine is not None and mine > held.nbytes
    assert before < mine and after - before > 20 * 2**20


def row(**changes: Any) -> Row:
    facts: dict[str, Any] = {
        "name": "openvino f32, 1 step, 64×64",
        "kind": "model",
        "engine": "openvino",
        "version": "1",
        "device": "cpu",
        "precision": "f32",
        "steps": 1,
        "evaluations": 1,
        "height": 64,
        "width": 64,
        "evaluation": latency([0.1, 0.2, 0.3]),
        "picture": latency([0.2, 0.4]),
        "images_per_s": 3.3,
        "megapixels_per_s": 0.01,
        "work_flop": 1e9,
        "work_bytes": 1e6,
        "place": place(Work(1e9, 1e6), 0.2, Peak(1e11, 1e10)),
        "parity_db": 80.0,
        "parity_least_db": 60.0,
        "warm_up_s": [0.5, 0.2],
        "cold": Cold(0.2, 0.3, 0.4, 0.1, 2**28, None),
    }
    return Row(**{**facts, **changes})


def report(**changes: Any) -> Report:
    made = Report(
        relume="0",
        machine={"cpu": "x", "cores": 2, "threads": 2, "gpus": []},
        model=None,
        settings={"rounds": 3},
        peaks={"f32": Rate(1e11, "numpy")},
        copy_bytes_per_s=1e10,
        reference="pytorch 1 f32",
        rows=[row(), row(name="other", energy=Energy(cpu_j=2.5), cold=None, place=None, picture=None)],
        lacking={"gpu energy": "no GPU"},
        profiles=[Profile("onnx", "f32", "cpu", 64, 64, 5, [Operation("stem", "convolution", "Conv", 0.1)])],
    )
    return replace(made, **changes)


def test_a_report_survives_json() -> None:
    text = json.dumps(dump(report()), allow_nan=False)
    assert load(json.loads(text)) == report()
    assert json.loads(text)["rows"][0]["energy"]["cpu_j"] is None


def spoilt(*path: Any, value: Any) -> dict[str, Any]:
    facts = dump(report())
    at: Any = facts
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return facts


@pytest.mark.parametrize(
    "facts",
    [
        [],
        {"suite": "bench", "format": 2},
        spoilt("suite", value="restore"),
        spoilt("unknown", value=1),
        spoilt("rows", 0, "height", value="64"),
        spoilt("rows", 0, "height", value=True),
        spoilt("rows", 0, "evaluation", "median_s", value=float("nan")),
        spoilt("rows", 0, "place", "bound", value="luck"),
        spoilt("rows", 0, "cold", value=[1]),
        spoilt("peaks", "f32", value={"flop_per_s": 1.0}),
        spoilt("reference", value=3),
    ],
)
def test_what_is_no_report_is_refused(facts: Any) -> None:
    with pytest.raises(UsageError, match="measure anew"):
        load(facts)


def test_a_row_agrees_only_as_far_as_it_was_compared() -> None:
    assert row().agrees is True
    assert row(parity_db=59.9).agrees is False
    assert row(parity_db=None).agrees is None
    assert row(picture=None, modelled_picture_s=9.0).picture_s == 9.0


@pytest.mark.parametrize(("suffix", "begins"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_the_drawing(tmp_path: Path, suffix: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib")
    from relume.bench.plot import draw

    for name in "ab":
        draw(report(), tmp_path / f"{name}{suffix}")
    drawn = (tmp_path / f"a{suffix}").read_bytes()
    assert drawn.startswith(begins) and drawn == (tmp_path / f"b{suffix}").read_bytes()
    if suffix == ".svg":
        assert all(text in drawn.decode() for text in ("openvino f32, 1 step", "f32 (numpy)"))
    with pytest.raises(UsageError, match=r"\.svg"):
        draw(report(), tmp_path / "a.gif")
