r"""Subjects → rows: warm-up, interleaved rounds, memory, energy and parity in one run."""

__all__ = ["Plan", "compared", "measured"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relume.bench.clock import Latency, interleaved, latency, warm_up
from relume.bench.energy import WINDOW_S, Energy, Meter, joules
from relume.bench.quality import psnr
from relume.bench.report import Cold, Rate, Row
from relume.bench.roofline import Peak, Place, place
from relume.errors import EngineError
from relume.tasks.speed.alone import alone
from relume.tasks.speed.subject import Picture, Subject

SAME_DB = 150.0
"""What equal pictures get: JSON knows no infinity, and float32 is not finer."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How to measure. Without ``peaks`` or ``meters`` their columns stay ``None``."""

    rounds: int = 20
    budget_s: float = 120.0
    peaks: Mapping[str, Rate] = field(default_factory=dict)
    copy_bytes_per_s: float | None = None
    meters: Sequence[Meter] = ()
    window_s: float = WINDOW_S
    cold: bool = True


def measured(
    subjects: Sequence[Subject],
    plan: Plan,
    *,
    expected: Mapping[str, Picture],
    failed: dict[str, str],
    note: Note = lambda line: None,
) -> list[Row]:
    """One row a subject, in their order. One that fails while it is warmed up is told in ``failed``.

    ``expected`` holds the reference's picture for the ``same_as`` of the subjects; where it has none, the
    first subject with that word is the reference of the others.
    """
    ready, warm, pictures = [], dict[str, list[float]](), dict[str, Picture]()
    for subject in subjects:
        note(f"warm-up: {subject.name}")
        try:
            for call in _calls(subject).values():
                if _key(call) not in warm:
                    warm[_key(call)] = warm_up(call)
            if subject.picture is not None and subject.same_as is not None:
                pictures[subject.name] = subject.picture()
        except EngineError as error:
            failed[subject.name] = str(error)
            continue
        ready.append(subject)
    calls = {_key(call): call for subject in ready for call in _calls(subject).values()}
    note(f"rounds: {plan.rounds} of {len(calls)} calls, {plan.budget_s:g} s at most")
    seconds = interleaved(calls, rounds=plan.rounds, budget_s=plan.budget_s)
    decibels = compared(ready, pictures, expected)
    rows = []
    for subject in ready:
        times = {part: latency(seconds[_key(call)]) for part, call in _calls(subject).items()}
        energy = _energy(subject, plan, note)
        cold = _cold(subject, plan, failed, note)
        rows.append(_row(subject, times, plan, warm, decibels.get(subject.name), energy, cold))
    return rows


def compared(
    subjects: Sequence[Subject], pictures: Mapping[str, Picture], expected: Mapping[str, Picture]
) -> dict[str, float]:
    """PSNR of each subject's picture against the one that it ought to be; a reference has no figure."""
    known, found = dict(expected), dict[str, float]()
    for subject in subjects:
        if subject.same_as is None or subject.name not in pictures:
            continue
        if subject.same_as in known:
            value = psnr(pictures[subject.name], known[subject.same_as])
            found[subject.name] = min(value, SAME_DB) if value == value else 0.0  # NaN agrees with nothing
        else:
            known[subject.same_as] = pictures[subject.name]
    return found


def _calls(subject: Subject) -> dict[str, Callable[[], object]]:
    both = {"evaluation": subject.evaluate, "picture": subject.picture}
    return {part: call for part, call in both.items() if call is not None}


def _key(call: Callable[[], object]) -> str:
    """A call that several subjects share is timed once a round."""
    return str(id(call))


def _row(
    subject: Subject,
    times: Mapping[str, Latency],
    plan: Plan,
    warm: Mapping[str, list[float]],
    decibels: float | None,
    energy: Energy,
    cold: Cold | None,
) -> Row:
    evaluation, picture = times.get("evaluation"), times.get("picture")
    modelled = None
    if picture is None and evaluation is not None and subject.evaluations is not None:
        modelled = subject.evaluations * evaluation.median_s
    whole = picture.median_s if picture is not None else modelled
    height, width = subject.size
    facts: dict[str, Any] = {
        name: getattr(subject, name)
        for name in ("name", "kind", "engine", "version", "device", "precision", "steps", "evaluations")
    }
    return Row(
        **facts,
        height=height,
        width=width,
        evaluation=evaluation,
        picture=picture,
        modelled_picture_s=modelled,
        images_per_s=None if whole is None else 1 / whole,
        megapixels_per_s=None if whole is None else height * width / whole / 1e6,
        work_flop=None if subject.work is None else subject.work.flop,
        work_bytes=None if subject.work is None else subject.work.bytes,
        place=_place(subject, evaluation, plan),
        energy=energy,
        parity_db=decibels,
        parity_least_db=subject.least_db if decibels is not None else None,
        warm_up_s=next((warm[_key(call)] for call in _calls(subject).values()), []),
        cold=cold,
    )


def _place(subject: Subject, evaluation: Latency | None, plan: Plan) -> Place | None:
    """Under the roof of its own precision; a peak that was not measured is not replaced by another."""
    rate = plan.peaks.get(subject.precision or "")
    known = evaluation is not None and subject.work is not None and rate is not None
    if not known or plan.copy_bytes_per_s is None or subject.device != "cpu":
        return None
    assert evaluation is not None and subject.work is not None and rate is not None
    return place(subject.work, evaluation.median_s, Peak(rate.flop_per_s, plan.copy_bytes_per_s))


def _energy(subject: Subject, plan: Plan, note: Note) -> Energy:
    """Of a picture, or of one evaluation where pictures are modelled."""
    call = subject.picture or subject.evaluate
    if call is None or not plan.meters:
        return Energy()
    note(f"energy: {subject.name}")
    return joules(call, plan.meters, window_s=plan.window_s)


def _cold(subject: Subject, plan: Plan, failed: dict[str, str], note: Note) -> Cold | None:
    if not plan.cold or not subject.alone:
        return None
    note(f"a process of its own: {subject.name}")
    try:
        return alone(subject.alone)
    except EngineError as error:
        failed[f"process of {subject.name}"] = str(error)
        return None
