r"""Standings: what many scores say together."""

__all__ = ["REFERENCE", "counts", "extremes", "means", "paired", "standings"]

from collections.abc import Sequence
from typing import Any

import numpy as np

from relume.bench.intervals import Interval, paired_bootstrap
from relume.tasks.contenders import Contender
from relume.tasks.evaluate import CAP_DB, FIGURES, Ruler, Score

REFERENCE = "identity"  # what gains are counted from: the damaged picture
_UNPAIRED = ("evaluations", "seconds")


def means(scores: Sequence[Score]) -> dict[str, dict[str, float | None]]:
    """Contender → figure → mean over the pictures that have it, or ``None``; in the order of the scores."""
    return {
        method: {figure: float(np.mean(known)) if known else None for figure, known in columns.items()}
        for method, columns in _columns(scores).items()
    }


def counts(scores: Sequence[Score]) -> dict[str, dict[str, int]]:
    """Contender → figure → over how many pictures its mean is."""
    return {
        method: {figure: len(known) for figure, known in columns.items()}
        for method, columns in _columns(scores).items()
    }


def paired(scores: Sequence[Score], ours: str, theirs: str, figure: str, *, seed: int = 0) -> Interval | None:
    """The interval of the mean of ``ours - theirs`` over the pictures where both have the figure."""
    values: dict[str, dict[str, float]] = {}
    for each in scores:
        value = each.figures[figure]
        if value is not None:
            values.setdefault(each.picture, {})[each.method] = value
    both = [value for value in values.values() if ours in value and theirs in value]
    if not both:
        return None
    return paired_bootstrap([value[ours] for value in both], [value[theirs] for value in both], seed=seed)


def extremes(scores: Sequence[Score], method: str) -> dict[str, str]:
    """``best``, ``median`` and ``worst`` → the picture that gained so in PSNR by a contender.

    Without the damaged picture among the contenders its PSNR itself decides.
    """
    known = {(each.picture, each.method): each.figures["psnr"] or 0.0 for each in scores}
    pictures = [picture for picture, contender in known if contender == method]
    gains = {name: known[name, method] - known.get((name, REFERENCE), 0.0) for name in pictures}
    order = sorted(gains, key=lambda name: (-gains[name], name))
    if not order:
        return {}
    return {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}


def standings(
    scores: Sequence[Score], contenders: Sequence[Contender], ruler: Ruler, *, against: str | None = None
) -> dict[str, Any]:
    """All of it, ready for JSON: what the figures mean, means, differences with 95 % intervals, scores.

    Differences are given of every contender from the damaged picture, and of every trained one from all
    others; or of every contender from the one that is named by ``against``.
    """
    trained = [each.name for each in contenders if each.parameters is not None]
    names = [each.name for each in contenders]
    pairs = [(name, REFERENCE) for name in names if name != REFERENCE and REFERENCE in names]
    if against is None:
        pairs += [(ours, theirs) for ours in trained for theirs in names if theirs not in (ours, REFERENCE)]
    else:
        pairs += [(ours, against) for ours in names if against not in (ours, REFERENCE)]
    return {
        "cap_db": CAP_DB,
        "figures": {name: figure._asdict() for name, figure in FIGURES.items()},
        "lacking": ruler.lacking,
        "rows": {each.name: _facts(each, scores) for each in contenders},
        "means": means(scores),
        "counts": counts(scores),
        "differences": [_difference(scores, *pair) for pair in pairs],
        "pictures": [each.as_dict() for each in scores],
    }


def _facts(contender: Contender, scores: Sequence[Score]) -> dict[str, Any]:
    mine = _columns(scores).get(contender.name, {})
    seconds, evaluations = mine.get("seconds", []), mine.get("evaluations", [])
    return {
        "title": contender.title,
        "control": contender.control,
        "parameters": contender.parameters,
        "evaluations": max(evaluations) if evaluations else None,
        "seconds_median": float(np.median(seconds)) if seconds else None,
    }


def _difference(scores: Sequence[Score], ours: str, theirs: str) -> dict[str, Any]:
    found = {figure: paired(scores, ours, theirs, figure) for figure in FIGURES if figure not in _UNPAIRED}
    intervals = {figure: interval._asdict() for figure, interval in found.items() if interval is not None}
    return {"ours": ours, "theirs": theirs, "intervals": intervals}


def _columns(scores: Sequence[Score]) -> dict[str, dict[str, list[float]]]:
    columns: dict[str, dict[str, list[float]]] = {}
    for each in scores:
        mine = columns.setdefault(each.method, {figure: [] for figure in FIGURES})
        for figure, value in each.figures.items():
            if value is not None:
                mine[figure].append(float(value))
    return columns
