r"""What is measured: work counted against torch's counter, rows from subjects, one set of names."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import engines
from relume.bench.report import Operation, Profile, Rate, dump, load
from relume.bench.roofline import Work
from relume.bundle import Bundle
from relume.engines.profilers.names import KINDS, kind_of, layer_of
from relume.errors import EngineError, EngineUnavailable
from relume.tasks.speed import Plan, Subject, Wanted, benchmark, model_subjects, pattern
from relume.tasks.speed.alone import alone
from relume.tasks.speed.flops import LayerWork, graph_work, module_work, total
from relume.tasks.speed.layers import convolution_rate
from relume.tasks.speed.measure import compared, measured
from relume.tasks.speed.models import tile_inputs
from relume.tasks.speed.peaks import measured_peaks, products

QUICK = Plan(rounds=3, cold=False)


def shapes(bundle: Bundle, side: int) -> dict[str, tuple[int, ...]]:
    arrays = tile_inputs(pattern(side, side), side)
    ports = bundle.facts("local")["inputs"]
    return {port["name"]: array.shape for port, array in zip(ports, arrays, strict=True)}


def test_work_from_the_graph_is_that_of_torchs_counter(tiny_bundle: Bundle, tiny_build: Any) -> None:
    torch = pytest.importorskip("torch")
    net = tiny_bundle.facts("local")["net"]
    module = tiny_build(net["kind"], net["config"]).to("meta").eval()
    inputs = [torch.empty(shape, device="meta") for shape in shapes(tiny_bundle, 64).values()]
    by_module = module_work(module, *inputs)
    given: dict[str, int] = {}
    for name, each in module.named_modules():
        if isinstance(each, torch.nn.Conv2d):
            each.register_forward_hook(lambda _, x, __, name=name: given.update({name: x[0].numel()}))
    by_graph = graph_work(tiny_bundle.graph("local"), shapes(tiny_bundle, 64))
    counter = torch.utils.flop_counter.FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(*inputs)
    assert total(by_graph, "f32").flop == total(by_module, "f32").flop == counter.get_total_flops()
    # What is convolved in two halves is read twice; depthwise halves read a half each.
    parts = Counter(each.layer for each in by_graph if each.operation == "Convolution")
    halved = {layer for layer, count in parts.items() if count == 2}
    assert halved and all(layer.rpartition(".")[2] in ("expand1", "expand2") for layer in halved)
    again = sum(given[layer] for layer in halved)
    assert total(by_graph, "f32").bytes == total(by_module, "f32").bytes + 4 * again
    assert total(by_graph, "f32").bytes == 2 * total(by_graph, "bf16").bytes
    # The same layers, under the same names, with the same work in each.
    sums = [{}, {}]
    for found, layers in zip(sums, (by_graph, by_module), strict=True):
        for each in layers:
            found[each.layer] = found.get(each.layer, 0.0) + each.flop
    assert sums[0] == sums[1]


def test_work_grows_with_the_picture(tiny_bundle: Bundle) -> None:
    once, fourfold = (
        sum(
            each.flop
            for each in graph_work(tiny_bundle.graph("local"), shapes(tiny_bundle, side))
            if "Conv" in each.operation
        )
        for side in (32, 64)
    )
    assert fourfold == 4 * once > 0


def test_attention_is_counted_though_it_has_no_weights() -> None:
    torch = pytest.importorskip("torch")
    from relume.nets import build

    net = build("unet", {"base": 8, "multipliers": (1, 2)}).to("meta")
    x = torch.empty(1, 3, 16, 16, device="meta")
    layers = module_work(net, x, torch.ones(1, device="meta"), x)
    tokens, channels = 8 * 8, 16
    # q·k and the weights·v, at each place that attends: one down, two up, one in the middle.
    assert layers[-1].layer == "" and layers[-1].flop == 4 * 2 * (2 * tokens * tokens * channels)


def test_the_peaks_products_are_products() -> None:
    for library, precision, multiply in products(1, 64):
        result = multiply()
        assert precision in ("f32", "bf16", "f16") and result is not None, library
    assert {library for library, _, _ in products(1, 8)} >= {"numpy"}


def fake(name: str, picture: Any = None, **changes: Any) -> Subject:
    made = pattern(16, 16) if picture is None else picture
    facts: dict[str, Any] = {"kind": "model", "size": (16, 16), "picture": lambda: made, "device": "cpu"}
    return Subject(name, **{**facts, **changes})


def test_a_row_has_what_follows_from_its_times() -> None:
    plan = Plan(rounds=3, cold=False, peaks={"f32": Rate(1e12, "x")}, copy_bytes_per_s=1e10)
    subject = fake("a", evaluate=lambda: None, precision="f32", work=Work(1e6, 1e3), evaluations=4)
    (row,) = measured([subject], plan, expected={}, failed={})
    assert row.picture is not None and row.evaluation is not None and row.place is not None
    assert row.images_per_s == pytest.approx(1 / row.picture.median_s)
    assert row.megapixels_per_s == pytest.approx(256e-6 / row.picture.median_s)
    assert row.place.flop_per_s == pytest.approx(1e6 / row.evaluation.median_s)
    assert row.energy.cpu_j is None and row.cold is None and row.modelled_picture_s is None


def test_a_picture_that_is_not_run_is_modelled_and_not_measured() -> None:
    subject = fake("a", evaluate=lambda: None, evaluations=300)
    subject = Subject(**{**vars(subject), "picture": None})
    (row,) = measured([subject], QUICK, expected={}, failed={})
    assert row.picture is None and row.evaluation is not None
    assert row.modelled_picture_s == 300 * row.evaluation.median_s


def test_a_peak_of_another_precision_is_none() -> None:
    plan = Plan(rounds=3, cold=False, peaks={"f32": Rate(1e12, "x")}, copy_bytes_per_s=1e10)
    (row,) = measured(
        [fake("a", evaluate=lambda: None, precision="int8", work=Work(1.0, 1.0))],
        plan,
        expected={},
        failed={},
    )
    assert row.place is None and row.evaluation is not None


def test_the_parity_of_each_row_in_the_same_run() -> None:
    truth = pattern(16, 16)
    nan = truth * np.float32(np.nan)
    same, off, broken = (
        fake(name, picture, same_as="1", least_db=45.0)
        for name, picture in (("same", truth), ("off", truth + np.float32(0.1)), ("broken", nan))
    )
    rows = measured([same, off, broken, fake("alone")], QUICK, expected={"1": truth}, failed={})
    assert [row.agrees for row in rows] == [True, False, False, None]
    assert rows[1].parity_db == pytest.approx(20.0, abs=1e-3)
    first = {each.name: each.picture() for each in (same, off) if each.picture is not None}
    assert list(compared([same, off], first, {})) == ["off"]  # the first is the reference


def test_what_fails_is_told_and_the_rest_goes_on() -> None:
    def broken() -> Any:
        raise EngineError("no memory")

    failed: dict[str, str] = {}
    rows = measured([fake("a", evaluate=broken), fake("b")], QUICK, expected={}, failed=failed)
    assert [row.name for row in rows] == ["b"] and failed == {"a": "no memory"}


def test_every_engine_and_precision_that_can_run_here(tiny_bundle: Bundle) -> None:
    failed: dict[str, str] = {}
    wanted = Wanted(str(tiny_bundle.path), steps=(1, 2), threads=1)
    found = model_subjects(wanted, [pattern(64, 64), pattern(96, 64)], failed)
    there = [status.name for status in engines.probe() if status.available and status.name != "null"]
    assert {subject.engine for subject in found} == set(there)
    assert len({subject.name for subject in found}) == len(found)
    two = [subject for subject in found if subject.steps == 2 and subject.size == (96, 64)]
    # 96×64 is two tiles of 64 with 16 in common, one above the other.
    assert two and all(subject.evaluations == 2 * 2 for subject in two)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engines": ["tensorflow"]}, "no engine"),
        ({"engines": ["onnx"], "device": "cuda:7", "precisions": ["f32"]}, "cuda"),
        ({"engines": ["openvino"], "device": "npu:3", "precisions": ["f32"]}, "npu"),
        ({"engines": ["onnx"], "precisions": ["int8"]}, "int8"),
    ],
)
def test_what_was_asked_for_by_name_and_cannot_run_is_an_error(
    tiny_bundle: Bundle, changes: dict[str, Any], words: str
) -> None:
    engine = changes["engines"][0]
    if engine in engines.names():
        pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    with pytest.raises(Exception, match=words) as caught:
        model_subjects(Wanted(str(tiny_bundle.path), **changes), [pattern(64, 64)], {})
    assert isinstance(caught.value, EngineUnavailable | ValueError)


def test_a_whole_run_and_a_process_of_its_own(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    small = measured_peaks(1, side=256, tries=2)
    monkeypatch.setattr("relume.tasks.speed.measured_peaks", lambda threads: small)
    monkeypatch.setattr("relume.tasks.speed.copy_bandwidth", lambda threads: 1e10)
    wanted = Wanted(str(tiny_bundle.path), engines=("openvino",), precisions=("f32",), threads=1)
    report = benchmark(wanted, [pattern(64, 64)], rounds=3)
    (row,) = report.rows
    assert row.agrees and row.cold is not None and row.place is not None
    assert row.cold.peak_bytes is None or row.cold.peak_bytes > 50 * 2**20
    assert report.peaks["f32"].flop_per_s > 1e8 and report.machine["threads"] == 1
    for part in ("cpu", "dram", "gpu"):
        measured_here = getattr(row.energy, f"{part}_j")
        assert measured_here is None or measured_here > 0
        assert measured_here is not None or f"{part} energy" in report.lacking
    assert load(dump(report)) == report


def test_a_process_that_fails_is_an_error_of_one_line() -> None:
    job = {"kind": "model", "model": "no-such-model", "engine": "onnx", "precision": "f32", "device": "cpu"}
    with pytest.raises(EngineError, match="no-such-model"):
        alone({**job, "threads": 1, "force": False, "steps": 1, "height": 32, "width": 32})


@pytest.mark.parametrize("engine", ["openvino", "onnx", "pytorch"])
def test_a_profile_names_the_layers_of_the_net(
    tiny_bundle: Bundle, tiny_build: Callable[[str, dict[str, Any]], Any], engine: str
) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "pytorch": "torch"}.get(engine, engine))
    net = tiny_bundle.facts("local")["net"]
    modules = {name for name, _ in tiny_build(net["kind"], net["config"]).named_modules()}
    found = engines.profile(
        tiny_bundle,
        "local",
        tile_inputs(pattern(64, 64), 64),
        engine=engine,
        precision="f32",
        threads=1,
        build=tiny_build,
        evaluations=1,
    )
    assert all(each.seconds >= 0 for each in found) and sum(each.seconds for each in found) > 0
    assert {each.layer for each in found} <= modules
    convolved = {each.layer for each in found if each.operation == "convolution"}
    expected = {
        each.layer
        for each in graph_work(tiny_bundle.graph("local"), shapes(tiny_bundle, 64))
        if "Conv" in each.operation
    }
    assert convolved == expected
    assert {each.operation for each in found} <= {*KINDS, "other"}


def test_an_engine_without_a_profiler_is_an_error(tiny_bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="null has no profiler"):
        engines.profile(tiny_bundle, "local", [], engine="null")


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("/stem/Conv/WithoutBiases", "stem"),
        ("/encoder.0.1/norm1/ReduceMean", "encoder.0.1.norm1"),
        ("/time/Mul_1/QuickGeluFusion/", "time"),
        ("x_f32_bf16_/Concat", ""),
        ("VariadicSplit_59665", ""),
    ],
)
def test_the_layer_of_a_node(node: str, layer: str) -> None:
    assert layer_of(node) == layer


def test_every_word_for_an_operation_leads_to_it() -> None:
    for kind, words in KINDS.items():
        assert kind_of(words[0]) == kind
    assert kind_of("aten::native_group_norm") == "norm" and kind_of("aten::silu") == "element by element"


def test_the_convolutions_rate_is_their_work_over_their_time() -> None:
    operations = [
        Operation("a", "convolution", "conv", 0.5),
        Operation("b", "convolution", "conv", 1.5),
        Operation("c", "norm", "mvn", 9.0),
    ]
    layers = [
        LayerWork("a", "Convolution", 3e9, 1),
        LayerWork("d", "MatMul", 7e9, 1),
        LayerWork("b", "GroupConvolution", 1e9, 1),
    ]
    assert convolution_rate(Profile("x", "f32", "cpu", 8, 8, 1, operations), layers) == 2e9


def test_the_founding_shape_has_no_less_arithmetic_than_the_embedded_model() -> None:
    pytest.importorskip("torch")
    from relume import bundle
    from relume.tasks.speed.founding import _work

    ours = total(
        graph_work(bundle.find("photo").graph("local"), shapes(bundle.find("photo"), 256)), "f32"
    ).flop
    assert ours < _work("lean", 256, 256).flop < _work("recipe", 256, 256).flop


def test_a_chain_is_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from relume.tasks.speed import founding

    monkeypatch.setitem(founding.SHAPES, "mouse", {"base": 8, "multipliers": (1, 2)})
    steps = founding.chain_seconds("mouse", pattern(16, 16), threads=1)
    assert len(steps) == 300 and all(seconds > 0 for seconds in steps)
    (subject,) = founding.founding_subjects([pattern(16, 16)], shapes=["mouse"], threads=1)
    assert subject.evaluations == 300 and subject.picture is None and subject.evaluate is not None
    assert np.shape(subject.evaluate()) == (1, 16, 16, 3) and subject.work is not None
    assert math.isfinite(subject.work.flop)


def test_the_schedulers_of_diffusers_draw_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    from relume.tasks.speed import founding, schedulers

    monkeypatch.setitem(founding.SHAPES, "mouse", {"base": 8, "multipliers": (1, 2)})
    with pytest.raises(ValueError, match="steps that divide 300"):
        schedulers.scheduler_subjects([pattern(16, 16)], steps=(1, 7), shape="mouse")
    subjects = schedulers.scheduler_subjects([pattern(16, 16)], steps=(1, 7, 4), threads=1, shape="mouse")
    assert len(subjects) == 4 and {subject.steps for subject in subjects} == {4}
    rows = measured(subjects, QUICK, expected={}, failed={})
    # Theirs are the references; ours agree with them to the rounding of float32.
    assert [row.agrees for row in rows] == [None, True, None, True]


def test_peers_without_a_model(tmp_path: Path) -> None:
    from relume.tasks.speed.classics import classical_subjects

    failed: dict[str, str] = {}
    found = classical_subjects([pattern(32, 32)], failed)
    assert any("median" in subject.name for subject in found)
    assert all(subject.picture is not None and subject.evaluate is None for subject in found)
