r"""``auto``: measured with an injected clock, kept on disk, and never misled by what lies there."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from relume import engines, machine
from relume.bundle import Bundle
from relume.engines import auto
from relume.engines.cache import key_of, place_of, recall, remember
from relume.engines.engine import Engine
from relume.engines.timing import Timing, example, measure, ranked
from relume.errors import EngineError, EngineUnavailable, UsageError


class Clock:
    """Seconds that pass only when an engine works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake(Engine):
    """Takes the seconds that it is told to."""

    def __init__(self, clock: Clock, name: str, seconds: list[float], precision: str = "f32") -> None:
        self.name, self.precision, self.device, self.version, self.runtime = name, precision, "cpu", "1", {}
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def __call__(self, *arrays: Any) -> Any:
        self.clock.now += self.seconds[self.calls % len(self.seconds)]
        self.calls += 1
        return arrays[0]


def test_median_and_quartiles_of_the_rounds_without_the_warm_up() -> None:
    clock = Clock()
    slow_start = Fake(clock, "onnx", [50.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    (timing,) = measure([slow_start], [0], rounds=5, budget=1000, clock=clock)
    assert timing == Timing("onnx", "f32", "cpu", 3.0, 2.0, 5)


def test_rounds_are_interleaved() -> None:
    clock, order = Clock(), []

    class Told(Fake):
        def __call__(self, *arrays: Any) -> Any:
            order.append(self.name)
            return super().__call__(*arrays)

    measure([Told(clock, "a", [1.0]), Told(clock, "b", [1.0])], [0], rounds=2, budget=100, clock=clock)
    assert order == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("budget", "ready", "rounds"), [(100.0, 3, 5), (4.0, 3, 1), (1.0, 1, 1), (12.0, 3, 4)]
)
def test_the_budget_bounds_engines_and_rounds(budget: float, ready: int, rounds: int) -> None:
    clock = Clock()
    timings = measure([Fake(clock, n, [1.0]) for n in "abc"], [0], rounds=5, budget=budget, clock=clock)
    assert len(timings) == ready and {timing.rounds for timing in timings} == {rounds}


def test_an_engine_that_fails_is_left_out() -> None:
    clock = Clock()

    class Broken(Fake):
        def __call__(self, *arrays: Any) -> Any:
            raise EngineError("broken")

    timings = measure([Broken(clock, "a", [1.0]), Fake(clock, "b", [1.0])], [0], clock=clock)
    assert [timing.engine for timing in timings] == ["b"]


def test_the_fastest_is_first_and_within_its_spread_the_finest() -> None:
    int8 = Timing("onnx", "int8", "cpu", 1.0, 0.2, 5)
    bf16 = Timing("openvino", "bf16", "cpu", 1.1, 0.2, 5)
    f32 = Timing("openvino", "f32", "cpu", 1.3, 0.2, 5)
    slow = Timing("pytorch", "f32", "cpu", 9.0, 9.0, 5)
    assert ranked([slow, f32, int8, bf16]) == [bf16, int8, f32, slow]
    assert ranked([]) == []
    noisy = Timing("openvino", "bf16", "cpu", 1.0, 5.0, 5)
    assert ranked([f32, noisy]) == [noisy, f32], "noise does not make a slow engine as good as a fast one"


def test_an_example_fits_the_card(hollow_bundle: Bundle) -> None:
    x, condition, t = example(hollow_bundle, "local", 40)
    assert (x.shape, condition.shape, t.shape) == ((1, 3, 32, 32), (1, 4, 32, 32), (1,))
    assert x.dtype == np.float32 and 0 <= x.min() < x.max() < 1


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RELUME_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(auto.SWITCH, raising=False)
    return tmp_path / "home"


KEPT = [Timing("onnx", "f32", "cpu", 0.5, 0.1, 5), Timing("openvino", "bf16", "cpu", 0.25, 0.0, 3)]


def test_what_is_kept_comes_back_under_its_key_only(
    hollow_bundle: Bundle, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(graph: str = "local", threads: int | None = None, device: str = "auto", onnx: str = "1") -> Any:
        return key_of(hollow_bundle, graph, {"onnx": onnx}, device=device, threads=threads)

    assert recall(key()) is None and not home.exists(), "looking makes nothing"
    assert remember(key(), KEPT) and recall(key()) == KEPT
    for other in (key("tone"), key(threads=1), key(device="cpu"), key(onnx="2")):
        assert recall(other) is None
    hollow_bundle.card["version"] = "1.0.1"
    assert recall(key()) is None
    hollow_bundle.card["version"] = "1.0.0"
    assert recall(key()) == KEPT
    monkeypatch.setattr(machine, "processor", lambda: "another")
    assert recall(key()) is None
    assert [path.suffix for path in (home / "cache" / "engines").iterdir()] == [".json"]


def damages() -> Iterator[Any]:
    def change(**facts: Any) -> Callable[[Path], None]:
        def do(path: Path) -> None:
            found = json.loads(path.read_text())
            found["timings"][0] |= facts
            path.write_text(json.dumps(found))

        return do

    yield pytest.param(lambda path: path.write_bytes(b""), id="empty")
    yield pytest.param(lambda path: path.write_bytes(path.read_bytes()[:80]), id="truncated")
    yield pytest.param(lambda path: path.write_bytes(b"\xff\xfe\x00"), id="binary")
    yield pytest.param(lambda path: path.write_text("[" * 100_000), id="deep")
    yield pytest.param(lambda path: path.write_text("[]"), id="list")
    yield pytest.param(lambda path: path.write_text(" " * (1 << 21)), id="huge")
    yield pytest.param(lambda path: path.write_text('{"format": 2}'), id="newer")
    yield pytest.param(lambda path: (path.unlink(), path.mkdir()), id="folder")
    yield pytest.param(change(median_s=float("nan")), id="nan")
    yield pytest.param(change(median_s=-1.0), id="negative")
    yield pytest.param(change(precision="f64"), id="precision")
    yield pytest.param(change(precision=["f32"]), id="precisions")
    yield pytest.param(change(surprise=1), id="surprise")
    yield pytest.param(change(rounds="five"), id="text")


@pytest.mark.parametrize("damage", list(damages()))
def test_a_damaged_file_counts_as_none(hollow_bundle: Bundle, home: Path, damage: Any) -> None:
    key = key_of(hollow_bundle, "local", {}, device="auto", threads=None)
    remember(key, KEPT)
    assert recall(key) == KEPT
    damage(place_of(key))
    assert recall(key) is None


def test_a_folder_that_cannot_be_written_is_no_error(hollow_bundle: Bundle, home: Path) -> None:
    home.write_text("a file where the folder should be")
    assert not remember(key_of(hollow_bundle, "local", {}, device="auto", threads=None), KEPT)


def module(clock: Clock, name: str, seconds: dict[str, float], own: str = "f32") -> Any:
    """An engine as a module; ``own`` is the precision that it takes by itself."""

    def load(bundle: Bundle, graph: str, *, name: str, precision: str, **options: Any) -> Engine:
        chosen = own if precision == "auto" else precision
        if chosen not in seconds:
            raise EngineUnavailable(f"{name} not at {precision}")
        return Fake(clock, name, [seconds[chosen]], chosen)

    return SimpleNamespace(NAMES=(name,), PACKAGES=("no-such-package",), load=load)


@pytest.fixture
def fakes(hollow_bundle: Bundle, home: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    modules = [
        module(clock, "openvino", {"f32": 0.3, "bf16": 0.2}, own="bf16"),
        module(clock, "onnx", {"f32": 0.1, "f16": 0.01}),
        module(clock, "pytorch", {"f32": 0.4}),
    ]
    monkeypatch.setattr(engines, "AUTO", modules)
    monkeypatch.setattr(
        auto, "measure", lambda found, arrays, *, budget: measure(found, arrays, budget=100, clock=clock)
    )
    return clock


def test_auto_keeps_its_order_until_it_was_measured(hollow_bundle: Bundle, fakes: Clock, home: Path) -> None:
    first = engines.load(hollow_bundle, "local")
    assert (first.name, first.precision, first.chosen) == ("openvino", "bf16", "order")
    assert fakes.now == 0 and not home.exists(), "one small picture is not made to wait for a benchmark"
    timings = engines.benchmark(hollow_bundle, "local")
    assert [(t.engine, t.precision) for t in timings] == [
        ("onnx", "f32"), ("openvino", "bf16"), ("openvino", "f32"), ("pytorch", "f32"),
    ]  # fmt: skip
    spent = fakes.now
    best = engines.load(hollow_bundle, "local")
    assert (best.name, best.chosen) == ("onnx", "benchmark") and fakes.now == spent
    assert engines.load(hollow_bundle, "local", precision="bf16").name == "openvino"
    assert engines.remembered(hollow_bundle, "local") == timings
    assert engines.load(hollow_bundle, "local", threads=1).chosen == "order", "measured with other threads"


def test_work_enough_or_the_switch_measures_once(
    hollow_bundle: Bundle, fakes: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engines.load(hollow_bundle, "local", measure=True).name == "onnx"
    spent = fakes.now
    assert spent > 0 and engines.load(hollow_bundle, "local", measure=True).name == "onnx"
    assert fakes.now == spent
    monkeypatch.setenv(auto.SWITCH, "off")
    assert engines.load(hollow_bundle, "local", measure=True).chosen == "order"
    monkeypatch.setenv(auto.SWITCH, "on")
    assert engines.load(hollow_bundle, "tone").name == "onnx" and fakes.now > spent
    monkeypatch.setenv(auto.SWITCH, "perhaps")
    with pytest.raises(UsageError, match="on or off"):
        engines.load(hollow_bundle, "local")


def test_what_is_kept_opens_no_precision_that_did_not_pass(hollow_bundle: Bundle, fakes: Clock) -> None:
    kept = auto.key(engines.AUTO, hollow_bundle, "local", device="auto", threads=None)
    assert "f16" not in engines.passed(hollow_bundle, "onnx")
    remember(kept, [Timing("onnx", "f16", "cpu", 0.01, 0.0, 5), Timing("pytorch", "f32", "cpu", 0.4, 0.0, 5)])
    chosen = engines.load(hollow_bundle, "local", force=True)
    assert (chosen.name, chosen.precision, chosen.chosen) == ("pytorch", "f32", "benchmark")


def test_what_was_fastest_and_is_gone_gives_way(
    hollow_bundle: Bundle, fakes: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines.benchmark(hollow_bundle, "local")

    def gone(*arguments: Any, **options: Any) -> Engine:
        raise EngineUnavailable("gone")

    monkeypatch.setattr(engines.AUTO[1], "load", gone)
    assert engines.load(hollow_bundle, "local").name == "openvino"


def test_the_real_engines_are_measured_and_remembered(
    tiny_bundle: Bundle, tiny_build: Any, home: Path
) -> None:
    timings = engines.benchmark(tiny_bundle, "tone", threads=1, build=tiny_build)
    assert timings and all(timing.median_s > 0 for timing in timings)
    assert all(timing.precision in engines.passed(tiny_bundle, timing.engine) for timing in timings)
    engine = engines.load(tiny_bundle, "tone", threads=1, build=tiny_build)
    assert (engine.name, engine.precision, engine.chosen) == (
        timings[0].engine, timings[0].precision, "benchmark",
    )  # fmt: skip
