r"""The sampler run backwards: from a picture to the noise that it was made of.

Each step of a sampler says what the cleaner state is, given the noisier one. Backwards that is an equation
for the noisier state, which stands inside the network too; it is solved step by step, from the last to the
first.
"""

__all__ = ["Trajectory", "invert_sampler", "naive_inversion"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from relume.diffusion import Denoise, Noise, NoiseSchedule, ResidualShift, Table, sample
from relume.errors import UsageError
from relume.invert.anderson import anderson
from relume.invert.chain import Link, unroll
from relume.invert.inversion import Array, Forward, Inversion, gradient_free, relative, rounding
from relume.invert.persistent import persistent

Form = Literal["eps", "x0"]
# What refines a path in turn, each from the best that is known: quick steps first, then sure ones.
REFINE: tuple[tuple[Any, int], ...] = ((anderson, 1), (partial(anderson, step=0.5, memory=10), 2))
Schedule = NoiseSchedule | ResidualShift


class Solver(Protocol):
    """What the solvers of this folder have in common."""

    def __call__(
        self, forward: Forward, y: Array, x: Array, *, tolerance: float, iterations: int
    ) -> Inversion: ...


@dataclass(frozen=True, kw_only=True)
class Trajectory(Inversion):
    r"""An inverted run: ``x`` is its first state, and ``residual`` what the sampler makes of it, against the
    picture, by running it forward once more.

    ``states`` are all N states that the network looks at, noisiest first; ``misses`` the relative residual of
    each step's own equation in the last sweep; ``sweeps`` how many refining sweeps were made after the first;
    ``iterations`` counts evaluations of the network, those of the forward runs included.
    """

    states: tuple[Array, ...]
    misses: tuple[float, ...]
    sweeps: int


def invert_sampler(
    table: Table,
    schedule: Schedule,
    denoise: Denoise,
    picture: Array,
    *,
    condition: Any = None,
    y: Array = None,
    noise: Noise | None = None,
    solver: Solver | None = None,
    refine: Solver | None = None,
    sweeps: int = 20,
    substeps: int = 10,
    form: Form = "eps",
    tolerance: float = 1e-5,
    iterations: int = 500,
) -> Trajectory:
    r"""Finds x with ``sample(table, denoise, x) = picture``.

    In the first sweep the older answers that a high-order step needs are guessed, by following the flow from
    the known state in ``substeps`` small naive steps for each large one; with them frozen, each step is an
    equation in one unknown, which ``solver`` solves (``persistent`` if none is given, and ``anderson`` for
    samplers of high order):

    .. math:: F(x_k) = a_k x_k + \ell_k D(x_k, t_k) = x_{k+1} - C_k .

    :math:`C_k` is then wrong by as much as the guess. A refining sweep solves all steps again with the
    answers that are known from the sweep before; the true path is the fixed point of that, and ``refine``
    looks for it, until the residual is within ``tolerance`` or ``sweeps`` are spent. ``fixed_point`` repeats
    the sweeps as they are. Without a ``refine`` of your own it is ``anderson``; where that finds no answer,
    ``anderson`` with half steps and a longer memory has twice as many sweeps more, from the best path or the
    naive one, whichever is nearer. A first-order sampler has no C and needs none. The best path is returned.

    Arguments:
        table, schedule: the sampler, and the schedule that it was built on.
        picture: the sampler's result, unclipped; float32 or float64. A batch is one unknown.
        condition, y: as they were given to ``sample``.
        noise: as it was given to ``sample``; a stochastic table is inverted for known noise.
        solver: of a step's equation.
        form: the unit of the solver's step: "eps" divides F by what it is for a constant noise prediction,
            which keeps its slope near one for any schedule; "x0" divides by :math:`a_k`.
        iterations: the most evaluations for one step's equation.

    Raises:
        UsageError: the form cannot be used with this table, or the table needs ``y`` or ``noise``.

    Source: "On Exact Inversion of DPM-Solvers", Hong, Lee, Jeon, Bae, Chun, 2024; the refining sweeps, their
    acceleration and the extension to midpoint, third-order, predictor-corrector and residual-shift samplers,
    are ours.
    """
    run = _Run(table, schedule, denoise, picture, condition, y, noise)
    # The errors of all steps reach the result almost undamped, so each gets its part of what is allowed.
    share = max(tolerance / (2 * len(run.links)), rounding(picture))
    # Of a high order the first path is a guess, and not worth more: it is refined.
    usual = persistent if run.first_order else anderson
    solve = partial(solver or usual, tolerance=share, iterations=iterations)
    with gradient_free(picture):
        best = run.judge(*run.sweep(None, solve, substeps, form), 0, tolerance)
        made = 0

        def change(path: Array) -> Array:
            nonlocal best, made
            made += 1
            found = run.judge(*run.sweep(list(path), solve, substeps, form), made, tolerance)
            best = found if found.residual < best.residual else best
            # A path that gives the picture is an answer, whatever another sweep would make of it.
            return path - path if found.converged else path - _stack(found.states)

        turns = REFINE if refine is None else ((refine, 1),)
        for turn, (seek, share_of_sweeps) in enumerate(turns):
            if best.converged or run.first_order or sweeps == 0:
                break
            if turn:
                naive = run.judge(run.naive(form), (), made, tolerance)
                best = naive if naive.residual < best.residual else best
            path = _stack(best.states)
            seek(change, path - path, path, tolerance=0.0, iterations=share_of_sweeps * sweeps)
    return replace(best, iterations=run.count)


def _stack(states: Sequence[Array]) -> Array:
    """The states on a new first axis."""
    if type(states[0]).__module__.partition(".")[0] == "torch":
        import torch

        return torch.stack(list(states))
    return np.stack(states)


def naive_inversion(
    table: Table,
    schedule: Schedule,
    denoise: Denoise,
    picture: Array,
    *,
    condition: Any = None,
    y: Array = None,
    noise: Noise | None = None,
    form: Form = "eps",
    tolerance: float = 1e-5,
) -> Trajectory:
    r"""The usual guess, as a baseline: each step taken back as if it were of first order, with the network
    asked at the state that is known in place of the one that is sought.

    ``form`` says which of the network's predictions is taken over from the known state. One evaluation a
    step.

    Source: "Denoising Diffusion Implicit Models", Song, Meng, Ermon, 2020.
    """
    run = _Run(table, schedule, denoise, picture, condition, y, noise)
    with gradient_free(picture):
        return run.judge(run.naive(form), (), 0, tolerance)


class _Run:
    """One table with everything that it was run with; counts evaluations."""

    def __init__(
        self,
        table: Table,
        schedule: Schedule,
        denoise: Denoise,
        picture: Array,
        condition: Any,
        y: Array,
        noise: Noise | None,
    ) -> None:
        self.links = unroll(table, schedule)
        self.first_order = all(link.first_order for link in self.links)
        self.count = 0
        self._table, self._schedule, self._picture = table, schedule, picture
        self._denoise, self._condition, self._y, self._noise = denoise, condition, y, noise

    def ask(self, x: Array, t: float) -> Array:
        self.count += 1
        return self._denoise(x, t, self._condition)

    def judge(
        self, states: Sequence[Array], misses: Sequence[float], number: int, tolerance: float
    ) -> Trajectory:
        """Runs the sampler forward from the first state and compares."""

        def asked(x: Array, t: float, condition: Any) -> Array:
            return self.ask(x, t)

        made = sample(self._table, asked, states[0], y=self._y, noise=self._noise)
        return Trajectory(
            x=states[0],
            residual=relative(made - self._picture, self._picture),
            iterations=self.count,
            tolerance=tolerance,
            states=tuple(states),
            misses=tuple(misses),
            sweeps=number,
        )

    def sweep(
        self, older: list[Array] | None, solve: Any, substeps: int, form: Form
    ) -> tuple[list[Array], list[float]]:
        """All steps once, last to first, with answers from the sweep before (or guessed)."""
        states, ahead = list(older or []), self._picture
        misses: list[float] = []
        answers: dict[int, Array] = {}
        if older is not None and not self.first_order:
            pairs = zip(older, self.links, strict=True)
            answers = {k: self.ask(x, link.source.t) for k, (x, link) in enumerate(pairs)}
        for k in reversed(range(len(self.links))):
            link = self.links[k]
            if older is not None:
                guess = older[k]
            elif link.first_order:
                guess = self.back(k, ahead, form)
            else:
                guess, answers = self._follow(k, ahead, substeps)
            found = self._solve(link, k, ahead, guess, answers, solve, form)
            ahead = found.x
            misses.insert(0, found.residual)
            if older is None:
                states.insert(0, ahead)
            else:
                states[k] = ahead
        return states, misses

    def _solve(
        self,
        link: Link,
        k: int,
        ahead: Array,
        guess: Array,
        answers: dict[int, Array],
        solve: Any,
        form: Form,
    ) -> Inversion:
        """The equation of step k, with everything frozen that is not the state or its newest answer."""
        target = ahead - self._constant(link, k)
        if not link.first_order:
            frozen = (link.answers[0] - link.lead) * answers[k]
            for i, weight in enumerate(link.answers[1:], start=1):
                if weight != 0.0:
                    frozen = frozen + weight * answers[k - i]
            target = target - frozen
        unit = self._unit(link, form)

        def forward(x: Array) -> Array:
            leading = link.lead / unit * self.ask(x, link.source.t)
            return leading if link.state == 0.0 else link.state / unit * x + leading

        found: Inversion = solve(forward, (1 / unit) * target, guess)
        return found

    def naive(self, form: Form) -> list[Array]:
        """All states by naive steps, each from the one behind it."""
        states: list[Array] = []
        ahead = self._picture
        for k in reversed(range(len(self.links))):
            ahead = self.back(k, ahead, form)
            states.insert(0, ahead)
        return states

    def back(self, k: int, ahead: Array, form: Form) -> Array:
        """One naive step: the first-order step of link k, solved with the answer at the known state."""
        link = self.links[k]
        target = ahead - self._constant(link, k)
        unit = self._unit(link, form)
        miss = link.lead * self.ask(ahead, link.source.t) - target
        if link.state != 0.0:
            miss = miss + link.state * ahead
        return ahead - (1 / unit) * miss

    def _constant(self, link: Link, k: int) -> Array:
        """What the step adds whatever the state is."""
        total: Array = 0.0
        if link.y != 0.0:
            if self._y is None:
                raise UsageError("this sampler needs 'y': give y=… to it")
            total = total + link.y * self._y
        for i, weight in link.noise:
            if self._noise is None:
                raise UsageError("a stochastic sampler is inverted for known noise: give noise=… to it")
            total = total + weight * (self._noise(i) if callable(self._noise) else self._noise[i])
        return total

    @staticmethod
    def _unit(link: Link, form: Form) -> float:
        if form == "x0":
            if link.state == 0.0:
                raise UsageError("a step that ends in the clean picture has no x0 form: use form='eps'")
            return link.state
        alpha = link.source.alpha
        return link.state + link.lead / alpha if alpha > 0.0 else link.state or 1.0

    def _follow(self, k: int, ahead: Array, substeps: int) -> tuple[Array, dict[int, Array]]:
        """The states that step k needs, guessed from the one behind it in small naive steps."""
        deepest = max(i for i, weight in enumerate(self.links[k].answers) if weight != 0.0)
        x, level = ahead, self.links[k].target
        first: Array = None
        answers: dict[int, Array] = {}
        for i in range(deepest + 1):
            link = self.links[k - i]
            x = self._lift(x, level.log_snr, link.source.log_snr, substeps)
            level = link.source
            first = x if i == 0 else first
            answers[k - i] = self.ask(x, level.t)
        return first, answers

    def _lift(self, x: Array, start: float, end: float, substeps: int) -> Array:
        """From half log-SNR ``start`` up to the noisier ``end``, by naive first-order steps even in λ."""
        assert isinstance(self._schedule, NoiseSchedule)
        here = None
        for i in range(1, substeps + 1):
            there = self._schedule.at_log_snr(start + (end - start) * i / substeps)
            if here is None:
                here = self._schedule.at_log_snr(start)
            ratio = there.alpha / here.alpha
            eps = (1 / there.sigma) * x + (-there.alpha / there.sigma) * self.ask(x, there.t)
            x = ratio * x + (there.sigma - ratio * here.sigma) * eps
            here = there
        return x
