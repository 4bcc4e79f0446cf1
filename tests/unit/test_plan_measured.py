r"""Plans from measured runs, and their inverse: what a load takes."""

import heapq
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from relume.cli.plan_text import text
from relume.errors import NoInput, UsageError
from relume.plan import PLANS, Kind, Plan, capacity, compare, draw, sheet
from relume.plan.presets import grid, machine, machines
from relume.plan.queueing import erlang_c, mean_wait
from relume.plan.runs import Run, pick, read, stated
from relume.plan.site import site

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
# As relume bench writes its rows: a row without a timed picture, one with energy, one whose picture is wrong.
BENCH: dict[str, Any] = {
    "suite": "bench",
    "machine": {"cpu": "Some CPU", "cores": 4},
    "settings": {"threads": 2},
    "rows": [
        {"name": "founding", "device": "cpu", "picture": None, "modelled_picture_s": 60.0, "energy": {}},
        {
            "name": "ours",
            "device": "cpu",
            "picture": {"median_s": 0.5, "rounds": 9},
            "energy": {"cpu_j": 9.0, "dram_j": 1.0, "gpu_j": None, "calls": 10, "window_s": 5.0}
            | {"idle_cpu_j": 3.0, "idle_dram_j": 1.0},
        },
        {
            "name": "on a GPU",
            "device": "cuda:0",
            "picture": {"median_s": 0.01, "rounds": 9},
            "parity_db": 12.0,
            "parity_least_db": 45.0,
        },
        {"name": "not timed", "picture": None, "modelled_picture_s": None},
    ],
}


@pytest.fixture
def bench(tmp_path: Path) -> dict[str, Run]:
    return read(written(tmp_path, BENCH))


def written(folder: Path, facts: Any) -> Path:
    path = folder / "bench.json"
    path.write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return path


def plans(bench: dict[str, Run]) -> dict[str, Plan]:
    return {
        "sheet": sheet(cpu_cores=64, gpus=1, speedup=4.49, usd_per_kwh=0.34),
        "compare": compare(bench, bench["founding"], bench["on a GPU"], site("TWN", duty=0.5)),
        "capacity": capacity(1e5, bench, site()),
    }


@pytest.mark.parametrize("name", PLANS)
def test_every_figure_is_labelled_and_has_a_source(name: str, bench: dict[str, Run]) -> None:
    plan = plans(bench)[name]
    figures = list(plan.figures())
    assert len(figures) > 10
    for figure in figures:
        assert isinstance(figure.kind, Kind) and math.isfinite(figure.value)
        assert figure.source or figure.kind is Kind.GIVEN
    facts = json.loads(json.dumps(plan.facts(), allow_nan=False))
    cells = [
        cell
        for table in facts["tables"].values()
        for row in table["rows"].values()
        for cell in row.values()
        if cell
    ]
    assert [cell["value"] for cell in cells] == [figure.value for figure in figures]
    shown = text(plan)
    assert all(figure.shown in shown and figure.source in shown for figure in figures)


@pytest.mark.parametrize("name", PLANS)
def test_the_charts_are_drawn_to_scale(name: str, bench: dict[str, Run]) -> None:
    plan = plans(bench)[name]
    assert len(plan.charts) == 2
    for chart in plan.charts:
        frame, *bars = ElementTree.fromstring(draw([chart])).iter("{http://www.w3.org/2000/svg}rect")
        values = [bar.figure.value for bar in chart.bars]
        widths = [float(bar.get("width", "")) for bar in bars]
        assert max(widths) < float(frame.get("width", ""))
        assert widths == pytest.approx([value / max(values) * max(widths) for value in values], abs=0.01)
    letters = "".join(ElementTree.fromstring(draw(plan.charts)).itertext())
    assert all(bar.figure.shown in letters for chart in plan.charts for bar in chart.bars)


def test_a_benchmark_is_read_as_relume_bench_writes_it(bench: dict[str, Run]) -> None:
    assert list(bench) == ["founding", "ours", "on a GPU"]
    ours, founding = bench["ours"], bench["founding"]
    assert (ours.seconds, ours.rounds, ours.kind) == (0.5, 9, Kind.MEASURED)
    assert ours.power is not None and (ours.power.busy_w, ours.power.idle_w) == (20.0, 8.0)
    assert ours.power.boundary == "cpu + dram"
    assert (founding.seconds, founding.kind, founding.power) == (60.0, Kind.MODELLED, None)
    assert ours.use is not None and ours.use.words == "2 cores"
    there = bench["on a GPU"].use
    assert there is not None and there.words == "1 GPU"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/*.json")), ids=lambda path: path.stem)
def test_the_committed_results_are_read_or_refused_in_one_line(path: Path) -> None:
    try:
        runs = read(path)
    except NoInput as error:
        assert "no seconds per image" in str(error)
        assert not path.stem.startswith(("restore", "quality"))
        return
    facts = json.loads(path.read_text())
    rows = facts.get("speed", facts.get("rows"))
    for name, run in runs.items():
        if not isinstance(rows, dict):  # of relume bench, see above
            continue
        row = rows[name]
        assert run.seconds == np.median(row.get("photo_s", row.get("seconds_median")))
        assert run.kind is Kind.MEASURED and run.use is not None and run.power is None


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ("{", NoInput, "no JSON"),
        ("[" * 100_000, NoInput, "no JSON"),
        ("3", NoInput, "no seconds per image"),
        ({"rows": [{"engine": "onnx"}]}, NoInput, "seconds_per_image"),
        ({"rows": [{"seconds_per_image": 0}]}, UsageError, "above zero"),
        ({"rows": [{"seconds_per_image": "3"}]}, UsageError, "above zero"),
        ('{"rows": [{"seconds_per_image": NaN}]}', UsageError, "above zero"),
        ({"rows": [{"seconds_per_image": [1, True]}]}, UsageError, "above zero"),
        ({"rows": [{"seconds_per_image": 1, "watts": -3}]}, UsageError, "watts"),
        ({"rows": [{"seconds_per_image": 1, "watts": 0}]}, UsageError, "null where nothing"),
        ({"rows": [{"seconds_per_image": 1, "energy": {"cpu_j": 1}}]}, UsageError, "window_s"),
        ({"rows": [{"seconds_per_image": 1}, {"seconds_per_image": 2}]}, UsageError, "two rows are called"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, facts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        read(written(tmp_path, facts))
    assert "bench.json" in str(raised.value) and "\n" not in str(raised.value)


def test_a_run_is_found_by_a_part_of_its_name(bench: dict[str, Run]) -> None:
    assert pick(bench, "gpu", "--row") is bench["on a GPU"]
    for asked in (None, "o", "nobody"):
        with pytest.raises(UsageError, match="'founding'"):
            pick(bench, asked, "--row")


def test_as_the_sheet_assumes_it_the_measured_column_is_the_sheet(bench: dict[str, Run]) -> None:
    as_the_sheet = site(usd_per_kwh=0.2, co2_g_per_kwh=709.0, pue=1.0, duty=1.0)
    year = compare(bench, bench["founding"], bench["on a GPU"], as_the_sheet).table("year")
    for row in year.rows:
        plain, found, _ = row.cells
        assert plain is not None and found is not None
        assert found.value == pytest.approx(plain.value, rel=1e-12), row.key
    by_hand = sheet(cpu_cores=2, gpus=1, speedup=6000.0, usd_per_kwh=0.2).table("year")
    assert [row.cells[0] for row in year.rows] == [row.cells[0] for row in by_hand.rows]


def test_cooling_duty_and_grid_act_as_they_should(bench: dict[str, Run]) -> None:
    def saved(key: str = "total_saved_kwh", country: str | None = None, **values: float) -> float:
        where = site(country, **{"pue": 1.0, "duty": 1.0, **values})
        return compare(bench, bench["founding"], bench["on a GPU"], where).table("year").figure(key, 1).value

    assert saved(pue=1.5) == pytest.approx(1.5 * saved())
    assert saved("compute_saved_kwh", duty=0.5, idle_share=0.0) == pytest.approx(
        saved("compute_saved_kwh") / 2
    )
    assert saved(duty=0.5, idle_share=1.0) == pytest.approx(saved())
    ratio = grid("FRA").value / grid("POL").value
    assert saved("saved_co2_t", "FRA") == pytest.approx(ratio * saved("saved_co2_t", "POL"))
    assert saved("saved_trees", "FRA") / saved("saved_trees", "POL") == pytest.approx(ratio)


def test_measured_energy_is_joules_of_an_image_times_images(bench: dict[str, Run]) -> None:
    year = compare(bench, bench["founding"], bench["ours"], site(pue=1.0, duty=0.25)).table("year")
    images = 64 * 0.25 * 8760 * 3600 / 0.5  # a node of 128 cores runs 64 such runs at once
    joules = images * 20.0 * 0.5 + 64 * 0.75 * 8760 * 3600 * 8.0
    assert year.figure("compute_after_kwh", 1).value == pytest.approx(joules / 3.6e6)


def test_a_loss_is_shown_as_a_loss(bench: dict[str, Run]) -> None:
    plan = compare(bench, bench["ours"], bench["founding"], site())
    year = plan.table("year")
    assert year.figure("saved_usd", 0).value < 0 and year.figure("saved_usd", 1).value < 0
    assert [line.partition(":")[0] for line in plan.losses[:2]] == ["sheet", "from measured"]
    assert any("founding is slower than ours" in line for line in plan.losses)
    assert any("on a GPU: its picture is not" in line for line in plan.losses)
    assert "LOSS" in text(plan)


def test_images_of_different_sizes_are_not_compared(tmp_path: Path) -> None:
    sizes = {"small": 256, "small too": 256, "large": 1024}
    rows = [
        {"name": name, "seconds_per_image": float(side), "threads": 1, "height": side, "width": side}
        for name, side in sizes.items()
    ]
    runs = read(written(tmp_path, {"rows": rows}))
    with pytest.raises(UsageError, match="different sizes"):
        compare(runs, runs["small"], runs["large"], site())
    plan = compare(runs, runs["small"], runs["small too"], site())
    large = plan.table("runs").rows[2]
    assert large.cells[0] is not None and "1024×1024" in large.cells[0].source and large.cells[1] is None
    assert plan.losses == ()


def test_watts_of_different_parts_are_not_passed_off_as_savings(tmp_path: Path) -> None:
    def said(*boundaries: str | None) -> bool:
        rows: list[dict[str, Any]] = [
            {"name": f"run {i}", "seconds_per_image": 2.0 - i, "threads": 1}
            | ({} if boundary is None else {"watts": 50.0, "watts_boundary": boundary})
            for i, boundary in enumerate(boundaries)
        ]
        before, after = (runs := read(written(tmp_path, {"rows": rows}))).values()
        return any("not of the same parts" in note for note in compare(runs, before, after, site()).notes)

    assert said("package", "GPU board") and said(None, "package")
    assert not said("package", "package") and not said(None, None)


def test_two_rows_are_needed(bench: dict[str, Run]) -> None:
    with pytest.raises(UsageError, match="two rows"):
        compare(bench, bench["ours"], bench["ours"], site())


@pytest.mark.parametrize("photos", [1.0, 1e3, 1e5, 1e6])
def test_the_machines_are_the_fewest_that_hold_the_load(photos: float) -> None:
    run = stated(0.7, cpu_cores=2)
    needs = (
        capacity(photos, {"": run}, site(utilisation=0.6, hours_per_day_h=8.0)).table("needs").rows[0].cells
    )
    assert needs[1] is not None and needs[2] is not None
    offered = photos * 0.7 / (8 * 3600)
    assert needs[1].value == max(1, math.ceil(offered / 0.6))
    assert needs[2].value == pytest.approx(100 * offered / needs[1].value) and needs[2].value <= 60.0


def test_energy_is_that_of_the_photographs_where_idling_is_free() -> None:
    run, where = stated(0.5, gpus=1), {"usd_per_kwh": 0.1, "pue": 1.25, "co2_g_per_kwh": 400.0}
    small, large = machine("gpu-node", machines()), machine("a100", machines())
    for there in (small, large):
        plan = capacity(200_000, {"": run}, site(**where, idle_share=0.0), machine=there)
        kwh, usd, kg = (cell.value for cell in plan.table("needs").rows[0].cells[5:] if cell is not None)
        assert kwh == pytest.approx(365 * 200_000 * 0.5 * there.busy_w / there.gpus * 1.25 / 3.6e6)
        assert (usd, kg) == pytest.approx((0.1 * kwh, 0.4 * kwh))
        always = capacity(200_000, {"": run}, site(**where, idle_share=1.0), machine=there)
        count, full = (always.table("needs").rows[0].cells[i] for i in (1, 5))
        assert count is not None and full is not None
        assert full.value == pytest.approx(count.value * there.busy_w * 1.25 * 8.76)


def test_what_n_machines_hold_is_measured_for_one_and_modelled_beyond(bench: dict[str, Run]) -> None:
    held = capacity(1e4, {"ours": bench["ours"]}, site()).table("held")
    kinds = [row.cells[0].kind for row in held.rows if row.cells[0] is not None]
    assert kinds == [Kind.MEASURED] + [Kind.MODELLED] * (len(kinds) - 1)
    assert held.figure("1_machines").value == 86400 / 0.5
    assert held.figure("8_machines", 1).value == pytest.approx(0.7 * 8 * 86400 / 0.5)


def test_a_quicker_run_that_takes_more_energy_is_a_loss(bench: dict[str, Run]) -> None:
    losses = capacity(10, bench, site()).losses
    assert any(line.startswith("on a GPU takes more energy than founding, ours") for line in losses)


@pytest.mark.parametrize("servers", [1, 2, 5, 20])
def test_erlangs_formula(servers: int) -> None:
    load = 0.8 * servers
    tail = load**servers / math.factorial(servers) / (1 - 0.8)
    direct = tail / (sum(load**k / math.factorial(k) for k in range(servers)) + tail)
    assert erlang_c(servers, load) == pytest.approx(direct, rel=1e-12)


@pytest.mark.parametrize("servers", [1, 3])
def test_the_wait_is_that_of_a_simulated_queue(servers: int) -> None:
    rng = np.random.default_rng(0)
    arrivals = np.cumsum(rng.exponential(1 / (0.7 * servers), 100_000))
    free, waits = [0.0] * servers, []
    for arrival in arrivals.tolist():
        start = max(arrival, heapq.heappop(free))
        waits.append(start - arrival)
        heapq.heappush(free, start + 1.0)
    assert mean_wait(servers, 0.7, 1.0) == pytest.approx(float(np.mean(waits)), rel=0.08)


def test_machines_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[box]\ntitle = "a box"\ncores = 8\ngpus = 0\nbusy_w = 65\nidle_w = 6\nboundary = "at the plug"\n'
        'source = "a meter"\n'
    )
    found = machine("box", machines(path))
    needs = (
        capacity(1000, {"": stated(1.0, cpu_cores=2)}, site(pue=1.0), machine=found).table("needs").rows[0]
    )
    kwh = needs.cells[5]
    busy = 1000 / 86400 / 4
    assert kwh is not None and kwh.value == pytest.approx((6 + busy * 59) * 8.76)
    with pytest.raises(UsageError, match="occupied 16 cores; box has 8"):
        capacity(1000, {"": stated(1.0, cpu_cores=16)}, site(), machine=found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("[box", "no table of machines"),
        ("box = 3", "box is no table"),
        ("[box]\ncores = 1", "lacks title"),
        (
            '[box]\ntitle=""\ncores=1\ngpus=0\nbusy_w=1\nboundary=""\nsource=""\nwatts=1',
            "unknown keys: watts",
        ),
        ('[box]\ntitle=""\ncores=1.5\ngpus=0\nbusy_w=1\nboundary=""\nsource=""', "cores of box"),
        ('[box]\ntitle=""\ncores=1\ngpus=0\nbusy_w=nan\nboundary=""\nsource=""', "busy_w of box"),
        ('[box]\ntitle=""\ncores=0\ngpus=0\nbusy_w=1\nboundary=""\nsource=""', "cores or GPUs"),
    ],
)
def test_a_bad_table_of_machines_is_named(tmp_path: Path, words: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(words)
    with pytest.raises(UsageError, match=message):
        machines(path)


def test_a_load_without_bounds_is_refused() -> None:
    with pytest.raises(UsageError, match="machines; are the photographs"):
        capacity(1e12, {"": stated(1e9)}, site())
    for photos in (0.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="photos-per-day"):
            capacity(photos, {"": stated(1.0)}, site())


@pytest.mark.parametrize(
    "values",
    [{"pue": 0.9}, {"duty": 0.0}, {"idle_share": 1.1}, {"usd_per_kwh": math.nan}, {"utilisation": 1.0}],
)
def test_a_site_out_of_bounds_is_named(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(values))):
        site(**values)


def test_grids_are_found_by_code_and_name_and_are_plausible() -> None:
    assert grid("deu") == grid("Germany") and grid("TWN").value > grid("FRA").value
    with pytest.raises(UsageError, match="ISO code"):
        grid("Atlantis")
