r"""One solver after another, where the first finds no answer."""

__all__ = ["persistent"]

from dataclasses import replace
from functools import partial

from relume.invert.anderson import anderson
from relume.invert.forward_step import forward_step
from relume.invert.inversion import Array, Forward, Inversion


def persistent(
    forward: Forward, y: Array, x: Array, *, tolerance: float = 1e-6, iterations: int = 500
) -> Inversion:
    r"""``anderson``; where it ends without an answer, ``forward_step`` from the same start; then ``anderson``
    with short steps and a long memory, from the best point that is known.

    Acceleration can lead into a place where the residual is small and no step makes it smaller. From the
    start the plain steps go another way, and where they fail too, twenty stored pairs can lead out. Together
    they spend no more than ``iterations``; an equation that the first one solves costs no more than it.

    Source: ours; the parts name theirs.
    """
    best = anderson(forward, y, x, tolerance=tolerance, iterations=iterations)
    spent = best.iterations
    for solver in (forward_step, partial(anderson, step=0.3, memory=20)):
        if best.converged or spent >= iterations:
            break
        start = x if solver is forward_step else best.x
        found = solver(forward, y, start, tolerance=tolerance, iterations=iterations - spent)
        best, spent = min(best, found, key=lambda each: each.residual), spent + found.iterations
    return replace(best, iterations=spent)
