r"""The energy sheet: all published figures, and what its formulas say of each other."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relume.errors import UsageError
from relume.plan import Kind, sheet
from relume.plan.figures import rounded
from relume.plan.presets import constants, published
from relume.plan.sheet import Use, break_even

# In the order of the sheet: R; W of compute, network and all, each before, after, saved; the ratio; kWh of
# the same; money; CO2, cars, trees. As they were published.
PUBLISHED = {
    "restoration": """680.0 748,000 6,500 741,500 31,577 93 31,484 779,577 6,593 772,984 118.2
        6,552,480 56,940 6,495,540 276,614 814 275,801 6,829,094 57,754 6,771,341
        1,218,841.33 3,656,524.00 4,801 1,036 79,360""",
    "without-fft": """18.0 19,756 6,500 13,256 834 93 741 20,590 6,593 13,997 3.1
        173,063 56,940 116,123 7,306 814 6,492 180,368 57,754 122,615
        41,689.05 125,067.16 87 19 1,437""",
    "with-fft": """119.4 131,340 6,500 124,840 5,545 93 5,452 136,885 6,593 130,292 20.8
        1,150,538 56,940 1,093,598 48,570 814 47,757 1,199,109 57,754 1,141,355
        388,060.72 1,164,182.15 809 175 13,377""",
}
KEYS = [
    "nodes_replaced",
    *(
        f"{part}_{which}_w"
        for part in ("compute", "network", "total")
        for which in ("before", "after", "saved")
    ),
    "efficiency",
    *(
        f"{part}_{which}_kwh"
        for part in ("compute", "network", "total")
        for which in ("before", "after", "saved")
    ),
    *("saved_usd", "saved_3y_usd", "saved_co2_t", "saved_cars", "saved_trees"),
]
FIGURES = [
    (name, key, text)
    for name, line in PUBLISHED.items()
    for key, text in zip(KEYS, line.split(), strict=True)
]


def inputs(name: str) -> dict[str, Any]:
    return {key: getattr(published()[name], key) for key in ("cpu_cores", "gpus", "speedup", "usd_per_kwh")}


def exact(cores: int, gpus: int, speedup: str, price: str) -> Mapping[str, Fraction]:
    """The sheet once more, in rational numbers and written down apart."""
    nodes = Fraction(speedup) * Fraction(8, gpus) * Fraction(cores, 128)
    port = Fraction(30091, 648)
    saved = (nodes * (1100 + port) - 6500 - 2 * port) * Fraction("8.76")
    return {
        "nodes_replaced": nodes,
        "total_saved_kwh": saved,
        "saved_3y_usd": 3 * saved * Fraction(price),
        "saved_co2_t": saved * Fraction("0.000709"),
        "saved_trees": saved * Fraction("0.01172"),
    }


def test_there_are_75_published_figures() -> None:
    assert len(FIGURES) == 75 and len(set(KEYS)) == 25


@pytest.mark.parametrize(("name", "key", "text"), FIGURES)
def test_a_published_figure(name: str, key: str, text: str) -> None:
    assert sheet(**inputs(name)).table("year").figure(key).shown == text


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_speed_up_that_is_printed_does_not_give_these_figures(name: str) -> None:
    """Two of the sheets print a rounded speed-up: with it the money is another."""
    asked = inputs(name)
    printed = round(asked["speedup"] + 1e-9, 1)
    changed = sheet(**{**asked, "speedup": printed}).table("year").figure("saved_usd").shown
    same = changed == PUBLISHED[name].split()[KEYS.index("saved_usd")]
    assert same == (printed == asked["speedup"])


@pytest.mark.parametrize("case", [(128, 1, "85", "0.18"), (64, 1, "4.49", "0.34"), (20, 3, "0.7", "0.11")])
def test_it_equals_the_formula_in_rational_numbers(case: tuple[int, int, str, str]) -> None:
    cores, gpus, speedup, price = case
    year = sheet(cpu_cores=cores, gpus=gpus, speedup=float(speedup), usd_per_kwh=float(price)).table("year")
    for key, value in exact(*case).items():
        assert year.figure(key).value == pytest.approx(float(value), rel=1e-12)


def test_what_the_talk_measured_otherwise_stands_beside_the_published_figures() -> None:
    plan = sheet(**inputs("restoration"))
    year = plan.table("year")
    assert [
        year.figure(key, 1).shown for key in ("nodes_replaced", "efficiency", "saved_usd", "saved_co2_t")
    ] == [
        "1,473.2",
        "256.2",
        "2,652,750.89",
        "10,449",
    ]
    assert any("how many cores" in note for note in plan.notes) and any(
        "US grid" in note for note in plan.notes
    )


@pytest.mark.parametrize(("name", "speedup"), [("without-fft", "9.01"), ("with-fft", "21.76")])
def test_the_wall_clock_of_the_other_reports_stands_beside_them(name: str, speedup: str) -> None:
    plan = sheet(**inputs(name))
    assert plan.table("inputs").figure("speedup", 1).shown == speedup
    assert any("Xeon 4208" in note for note in plan.notes)


def test_other_inputs_have_no_such_remarks() -> None:
    plan = sheet(cpu_cores=128, gpus=1, speedup=86.0, usd_per_kwh=0.18)
    assert plan.table("year").columns == ("as given",) and not any("talk" in note for note in plan.notes)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4096), st.integers(1, 64), st.floats(1e-3, 1e6), st.floats(0.01, 2), st.floats(0.1, 10))
def test_replacement_and_power_are_linear_in_the_speed_up(
    cores: int, gpus: int, speedup: float, price: float, factor: float
) -> None:
    one = sheet(cpu_cores=cores, gpus=gpus, speedup=speedup, usd_per_kwh=price).table("year")
    more = sheet(cpu_cores=cores, gpus=gpus, speedup=speedup * factor, usd_per_kwh=price).table("year")
    for key in ("nodes_replaced", "total_before_kwh", "efficiency"):
        assert more.figure(key).value == pytest.approx(factor * one.figure(key).value, rel=1e-9)
    assert more.figure("total_after_kwh") == one.figure("total_after_kwh")


def test_below_the_break_even_it_is_a_loss_and_says_so() -> None:
    least = break_even(Use("cpu", 128), Use("gpu", 8), constants())
    assert round(least, 2) == 5.75
    for speedup, lost in ((least * 0.999, True), (least * 1.001, False)):
        plan = sheet(cpu_cores=128, gpus=8, speedup=speedup, usd_per_kwh=0.2)
        saved = [
            plan.table("year").figure(key).value for key in ("total_saved_kwh", "saved_usd", "saved_co2_t")
        ]
        assert all((value < 0) == lost for value in saved)
        assert bool(plan.losses) == lost
    assert "5.75" in sheet(cpu_cores=128, gpus=8, speedup=1.0, usd_per_kwh=0.2).losses[0]


@pytest.mark.parametrize("key", list(constants()))
def test_every_constant_can_be_changed_and_has_an_effect(key: str) -> None:
    before = sheet(**inputs("with-fft"))
    after = sheet(**inputs("with-fft"), changed={key: constants()[key].value * 2})
    figure = after.table("constants").figure(key)
    assert (figure.kind, figure.value) == (Kind.GIVEN, 2 * before.table("constants").figure(key).value)
    assert [row.cells[0] for row in after.table("year").rows] != [
        row.cells[0] for row in before.table("year").rows
    ]


def test_every_constant_says_where_it_is_from() -> None:
    for figure in constants().values():
        assert figure.kind is Kind.PRESET and len(figure.source) > 8 and figure.unit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speedup": 0.0}, "speedup"),
        ({"speedup": math.nan}, "speedup"),
        ({"usd_per_kwh": math.inf}, "usd_per_kwh"),
        ({"gpus": 0}, "gpus"),
        ({"cpu_cores": -1}, "cpu_cores"),
        ({"changed": {"cpu_watts": 1.0}}, "cpu_node_w"),
        ({"changed": {"cpu_node_w": 0.0}}, "cpu_node_w must be"),
        ({"changed": {"cpu_node_w": math.nan}}, "cpu_node_w must be"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sheet(**{**inputs("restoration"), **change})


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.5, 0, "1"),
        (1.5, 0, "2"),
        (2.5, 0, "3"),
        (0.125, 2, "0.13"),
        (-2.5, 0, "-3"),
        (1e6, 1, "1,000,000.0"),
    ],
)
def test_halves_go_up(value: float, digits: int, text: str) -> None:
    assert rounded(value, digits) == text
