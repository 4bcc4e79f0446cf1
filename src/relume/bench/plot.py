r"""A benchmark's results as a drawing: seconds of each row, and each row under the roof."""

__all__ = ["draw", "plot_lacking"]

import importlib.util
from itertools import cycle
from pathlib import Path
from typing import Any

from relume.bench.report import Report, Row
from relume.errors import UsageError

SUFFIXES = (".svg", ".png", ".pdf")


def plot_lacking() -> str | None:
    """Why nothing can be drawn here, with the way out; ``None`` where it can."""
    there = importlib.util.find_spec("matplotlib") is not None
    return None if there else 'a plot is drawn by matplotlib: pip install "relume[plot]"'


def draw(report: Report, path: Path, target: Path | None = None) -> None:
    """Draws a report into ``target`` (or ``path`` itself), in the format that the name of ``path`` ends with.

    Raises
    ------
    UsageError
        If it ends otherwise than in .svg, .png or .pdf.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} does not say what to draw: end it in {', '.join(SUFFIXES)}")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row.picture_s is not None]
    figure = Figure(figsize=(13, 1.6 + 0.34 * max(len(rows), 6)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _seconds(left, rows)
    _roof(right, report)
    figure.suptitle(f"{report.machine.get('cpu', 'unknown')}, relume {report.relume}", fontsize=10)
    # Text stays text, and names inside the file do not depend on chance.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "relume"}):
        figure.savefig(target or path, format=path.suffix[1:].lower(), metadata=_undated(path))


def _undated(path: Path) -> dict[str, Any]:
    """Nothing in the file depends on the day: the same report gives the same drawing."""
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower(), {})


def _seconds(axes: Any, rows: list[Row]) -> None:
    """Medians with the way to p99; what is modelled is hatched."""
    for height, row in enumerate(reversed(rows)):
        seconds = row.picture_s or 0.0
        modelled, end = row.picture is None, seconds
        axes.barh(height, seconds, color="#4477aa", alpha=0.8, hatch="//" if modelled else None)
        if row.picture is not None:
            end = row.picture.p99_s
            axes.plot([seconds, end], [height] * 2, color="#222222", lw=1.2)
        axes.annotate(f" {seconds:.3g} s", (end, height), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)], fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("seconds a picture: median, line to p99; hatched: evaluations × one", fontsize=8)


def _roof(axes: Any, report: Report) -> None:
    # One evaluation is the same whatever the number of steps: one mark for all of them.
    once = {
        (r.kind, r.engine, r.precision, r.work_flop): r for r in reversed(report.rows) if r.place is not None
    }
    placed = list(reversed(once.values()))
    intensities = [row.place.intensity for row in placed if row.place is not None] or [1.0]
    low, high = min([*intensities, 1.0]) / 4, max([*intensities, 100.0]) * 4
    for name, rate in report.peaks.items():
        if report.copy_bytes_per_s is not None:
            ridge = rate.flop_per_s / report.copy_bytes_per_s
            roof = [report.copy_bytes_per_s * low, rate.flop_per_s, rate.flop_per_s]
            axes.plot([low, ridge, high], roof, lw=1, label=f"{name} ({rate.library})")
    for mark, row in zip(cycle("os^vDPX*<>"), placed, strict=False):
        assert row.place is not None
        label = row.name if row.kind != "model" else f"{row.engine} {row.precision}, {row.width}×{row.height}"
        axes.scatter(row.place.intensity, row.place.flop_per_s, s=26, marker=mark, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("FLOP a byte (convolutions and matrix products)", fontsize=8)
    axes.set_ylabel("FLOP/s", fontsize=8)
    if report.peaks or placed:
        axes.legend(fontsize=7, loc="lower right")
