r"""The tables that ``relume bench`` prints."""

__all__ = ["profile_table", "table"]

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from relume.bench.report import Profile, Report, Row

T = TypeVar("T")

_NONE = "–"
_SHOWN = 14
_NOTE = """\
A picture's median with its 95 % interval; ~: not run, evaluations × one. of peak: the arithmetic of one
evaluation against the fastest matrix product here at that precision; bound by compute or memory (roofline).
MiB: the most that a process of its own held; cold: such a process until its first picture (~: its first
evaluation). dB: the picture against {reference}; !: not the same. –: not measured."""


def table(report: "Report") -> str:
    """The rows, the machine and its peaks."""
    width = max([len(row.name) for row in report.rows] or [0]) + 1
    head = (
        f"{'':<{width}}{'picture':>10}{'interval':>20}{'p90':>9}{'p99':>9}{'MP/s':>10}{'one eval':>10}"
        f"{'GFLOP/s':>9}{'of peak':>9}{'bound':>9}{'MiB':>7}{'cold':>9}{'J':>7}{'dB':>8}"
    )
    lines = [_machine(report), head, *(_line(row, width) for row in report.rows)]
    lines.append(_NOTE.format(reference=report.reference))
    lines += [f"no {what}: {why}" for what, why in report.lacking.items()]
    return "\n".join(lines)


def profile_table(profile: "Profile") -> str:
    """The kinds of operations and the layers that take the most, of one engine."""
    whole = sum(each.seconds for each in profile.operations)
    head = f"{profile.engine} {profile.precision} on {profile.device}, {profile.width}×{profile.height}"
    lines = [f"{head}: {_seconds(whole)} an evaluation under its profiler"]
    for title, key in (("operations", "operation"), ("layers", "layer"), ("kernels", "kernel")):
        names = [(getattr(each, key) or "(no layer)", each.seconds) for each in profile.operations]
        lines.append(f"  {title}")
        lines += [
            f"    {_seconds(seconds):>9} {seconds / whole:6.1%}  {name}" for name, seconds in _most(names)
        ]
    return "\n".join(lines)


def _machine(report: "Report") -> str:
    facts = report.machine
    peaks = [f"{name} {rate.flop_per_s / 1e9:.0f} GFLOP/s" for name, rate in report.peaks.items()]
    copied = report.copy_bytes_per_s
    peaks += [] if copied is None else [f"copy {copied / 1e9:.1f} GB/s"]
    gpus = "".join(f", {name}" for name in facts.get("gpus", []))
    return f"{facts['cpu']}, {facts.get('threads')} threads{gpus}: {', '.join(peaks)}"


def _line(row: "Row", width: int) -> str:
    known = row.picture
    mark = "" if known is not None else "~"
    interval = f"[{_seconds(known.low_s)}, {_seconds(known.high_s)}]" if known is not None else _NONE
    place, cold, energy = row.place, row.cold, row.energy
    parts = [part for part in (energy.cpu_j, energy.dram_j, energy.gpu_j) if part is not None]
    cells = (
        (10, _with(row.picture_s, lambda s: mark + _seconds(s))),
        (20, interval),
        (9, _with(known, lambda one: _seconds(one.p90_s))),
        (9, _with(known, lambda one: _seconds(one.p99_s))),
        (10, _with(row.megapixels_per_s, lambda value: f"{value:.3g}")),
        (10, _with(row.evaluation, lambda one: _seconds(one.median_s))),
        (9, _with(place, lambda one: f"{one.flop_per_s / 1e9:.0f}")),
        (9, _with(place, lambda one: f"{one.of_peak:.0%}")),
        (9, _with(place, lambda one: one.bound)),
        (7, _with(None if cold is None else cold.peak_bytes, lambda value: f"{value / 2**20:.0f}")),
        (9, _with(cold, lambda one: mark + _seconds(one.start_s + one.load_s + one.first_s))),
        (7, f"{sum(parts):.3g}" if parts else _NONE),
        (8, _with(row.parity_db, lambda value: f"{value:.1f}{'!' if row.agrees is False else ''}")),
    )
    return f"{row.name:<{width}}" + "".join(f"{text:>{room}}" for room, text in cells)


def _with(value: T | None, show: Callable[[T], str]) -> str:
    return _NONE if value is None else show(value)


def _seconds(value: float) -> str:
    """Three digits, in the unit that suits.

    >>> _seconds(0.01234), _seconds(12.34), _seconds(400.0)
    ('12.3 ms', '12.3 s', '400 s')
    """
    scaled, unit = (value * 1e3, "ms") if value < 1 else (value, "s")
    digits = 0 if scaled >= 100 else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f} {unit}"


def _most(pairs: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """The names with the largest sums, largest first."""
    sums: dict[str, float] = {}
    for name, seconds in pairs:
        sums[name] = sums.get(name, 0.0) + seconds
    return sorted(sums.items(), key=lambda pair: -pair[1])[:_SHOWN]
