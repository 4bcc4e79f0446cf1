r"""A sampler's table with its second state eliminated: one equation for each step.

Every deterministic sampler here, midpoint and corrector included, is a multistep recursion in what the
network looks at:

.. math:: x_{k+1} = a_k x_k + \sum_{i ≥ 0} d_{k,i} D(x_{k-i}, t_{k-i}) + j_k y + \sum_i n_{k,i} z_i

That form can be solved for :math:`x_k`, from the last step to the first.
"""

__all__ = ["Link", "unroll"]

from collections.abc import Mapping
from dataclasses import dataclass

from relume.diffusion import Level, Mix, NoiseSchedule, ResidualShift, Table
from relume.errors import UsageError

Symbol = tuple[str, int]
Form = dict[Symbol, float]


@dataclass(frozen=True, kw_only=True)
class Link:
    r"""One step: ``state`` is a, ``answers`` are d (newest first), ``y`` is j, ``noise`` pairs (i, n).

    ``source`` and ``target`` are the levels (t, signal, noise) that the step leaves and reaches; for a
    residual shift the weights of x₀ and of the noise.
    """

    state: float
    answers: tuple[float, ...]
    y: float
    noise: tuple[tuple[int, float], ...]
    source: Level
    target: Level

    @property
    def lead(self) -> float:
        """The weight of an answer that does not change along the way: that of the first-order step."""
        return sum(self.answers)

    @property
    def first_order(self) -> bool:
        """Whether the step looks at the newest answer only."""
        return not any(self.answers[1:])


def unroll(table: Table, schedule: NoiseSchedule | ResidualShift) -> tuple[Link, ...]:
    r"""The links of ``table``, which was built on ``schedule``.

    Raises:
        UsageError: the table keeps a second state that its first one does not determine.
    """
    levels = [_level(schedule, step.t) for step in table.steps]
    forms: list[Form] = []
    known: Form | None = {("x", 0): 1.0}
    for k, step in enumerate(table.steps):
        if known is None and step.base.base != 0.0:
            raise UsageError(f"the sampler {table.name!r} cannot be unrolled: invert one with a single state")
        here: Form = {("x", k): 1.0}
        base = _combine(step.base, known or {}, here, k)
        made = _combine(step.x, base, here, k)
        forms.append(made)
        known = _rest(base, made, k)
    return tuple(_link(form, k, levels) for k, form in enumerate(forms))


def _link(form: Form, k: int, levels: list[Level]) -> Link:
    state = form.get(("x", k), 0.0)
    answers = tuple(form.get(("D", k - i), 0.0) for i in range(k + 1))
    if k + 1 < len(levels):
        target = levels[k + 1]
    else:
        # A step is exact for an answer that does not change, so it says itself where it leads.
        target = Level(0.0, state * levels[k].alpha + sum(answers), state * levels[k].sigma)
    return Link(
        state=state,
        answers=answers,
        y=form.get(("y", 0), 0.0),
        noise=tuple((i, weight) for (name, i), weight in form.items() if name == "z"),
        source=levels[k],
        target=target,
    )


def _level(schedule: NoiseSchedule | ResidualShift, t: float) -> Level:
    if isinstance(schedule, NoiseSchedule):
        return schedule.at_time(t)
    eta = schedule.sqrt_eta[round(t * schedule.size) - 1] ** 2
    return Level(t, 1 - eta, schedule.kappa * eta**0.5)


def _combine(mix: Mix, base: Form, x: Form, k: int) -> Form:
    """The mix as a linear form of symbols: states x, answers D, the picture y, noises z."""
    made: Form = {}
    parts: list[tuple[float, Mapping[Symbol, float]]] = [(mix.base, base), (mix.x, x)]
    parts += [(weight, {("D", k - i): 1.0}) for i, weight in enumerate(mix.data)]
    parts += [(mix.y, {("y", 0): 1.0}), (mix.noise, {("z", k + 1): 1.0})]
    for weight, form in parts:
        for symbol, value in form.items():
            made[symbol] = made.get(symbol, 0.0) + weight * value
    return {symbol: value for symbol, value in made.items() if value != 0.0}


def _rest(base: Form, made: Form, k: int) -> Form | None:
    r"""The new base in terms of the new x = w · base + …, so that no older state is left in it."""
    older = ("x", k)
    if older not in base:
        return base
    if older not in made:
        return None
    ratio = base[older] / made[older]
    rest = {
        symbol: base.get(symbol, 0.0) - ratio * made.get(symbol, 0.0)
        for symbol in {**base, **made}
        if symbol != older
    }
    return {symbol: value for symbol, value in rest.items() if value != 0.0} | {("x", k + 1): ratio}
