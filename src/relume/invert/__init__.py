r"""Find x with F(x) = y → Inversion(x, residual, iterations, converged).

.. code-block:: python

    table = SAMPLERS["dpm++2m"](schedule, 10)
    found = invert_sampler(table, schedule, denoise, picture)
    found.converged, found.residual  # the sampler, run forward from found.x, against the picture

A solver is a function ``solve(forward, y, x, *, tolerance, iterations) -> Inversion``, listed in
:data:`SOLVERS`; its own options are keyword-only, and given with ``functools.partial``. Two problems are put
in this form: the steps of a sampler, and the decoder of a latent model.
"""

__all__ = [
    "DecoderInversion",
    "Forward",
    "Inversion",
    "SOLVERS",
    "Solver",
    "Trajectory",
    "adam",
    "anderson",
    "cocoercivity",
    "edit",
    "fixed_point",
    "forward_step",
    "gradient",
    "invert_decoder",
    "invert_sampler",
    "krasnoselskii_mann",
    "naive_inversion",
    "persistent",
    "relaxation_bound",
]

from relume.invert.adam import adam
from relume.invert.anderson import anderson
from relume.invert.decoder import DecoderInversion, cocoercivity, invert_decoder
from relume.invert.edit import edit
from relume.invert.fixed_point import fixed_point
from relume.invert.forward_step import forward_step
from relume.invert.gradient import gradient
from relume.invert.inversion import Forward, Inversion
from relume.invert.krasnoselskii_mann import krasnoselskii_mann, relaxation_bound
from relume.invert.persistent import persistent
from relume.invert.sampler import Solver, Trajectory, invert_sampler, naive_inversion

SOLVERS: dict[str, Solver] = {
    "fixed-point": fixed_point,
    "forward-step": forward_step,
    "krasnoselskii-mann": krasnoselskii_mann,
    "adam": adam,
    "anderson": anderson,
    "gradient": gradient,
    "persistent": persistent,
}
