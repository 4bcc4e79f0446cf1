r"""The decoder run backwards: from a picture to the latent that it was decoded from.

For an autoencoder (E, D) and x = D(z*), E(x) is near z*, but not z*: the encoder was trained to be useful,
not to invert. Instead of minimising :math:`\|D(z) - x\|^2`, which differentiates the decoder, the fixed point

.. math:: T z = E(D(z)) - E(x) = 0

is sought by steps against T, which needs evaluations only. For a linear autoencoder that is optimal, E D = I,
and T is 1-cocoercive; for others cocoercivity is an assumption, and the log says whether it held.
"""

__all__ = ["DecoderInversion", "cocoercivity", "invert_decoder"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relume.invert.anderson import anderson
from relume.invert.gradient import gradient
from relume.invert.inversion import Array, Inversion, gradient_free, inner, relative, rms, rounding
from relume.invert.sampler import Solver

Code = Callable[[Array], Array]

# A difference of two results of a network is trusted from so many rounding errors on.
ROUNDINGS = 100.0


@dataclass(frozen=True, kw_only=True)
class DecoderInversion(Inversion):
    r"""An inverted decoder: ``x`` is the latent, and ``residual`` is of the picture, rms(D(z) - x)/rms(x).

    ``latent_residual`` is rms(T z)/rms(E(x)) where the solver ended; ``encoder_residual`` the residual of
    E(x), with which the search began; ``cocoercivity`` the least :math:`c_k` of the path, None if it was not
    logged.
    """

    latent_residual: float
    encoder_residual: float
    cocoercivity: float | None


def invert_decoder(
    encode: Code,
    decode: Code,
    picture: Array,
    *,
    solver: Solver = anderson,
    tolerance: float = 1e-3,
    iterations: int = 100,
    gradient_steps: int = 0,
    gradient_rate: float = 1e-3,
    log: bool = False,
) -> DecoderInversion:
    r"""Finds z with ``decode(z) = picture``, beginning at ``encode(picture)``.

    The decoder's picture is at hand in every iteration, so the z whose picture is nearest is kept, and the
    result is never worse than the encoder's. ``gradient_steps`` adds gradient descent on the picture from
    there: T = 0 leaves what the encoder does not see, and only the gradient does.

    Arguments:
        encode: picture → latent, without chance: the mean of a variational encoder, never a sample, scaled as
            ``decode`` expects it.
        decode: latent → picture.
        solver: of T z = 0. ``adam`` is the published choice; its ``rate`` has to fit the latent's units.
        tolerance: of the picture's residual. A picture of 8 bits has one of about 2e-3 by itself.
        log: keeps the path (one latent and its image under E D an iteration) and reports its cocoercivity.

    Source: "Gradient-free Decoder Inversion in Latent Diffusion Models", Hong, Jeon, Lee, Ryu, Chun, 2024;
    the choice by the picture and the gradient steps behind are ours.
    """
    path = _Path(encode, decode, picture, keep=log)
    with gradient_free(picture):
        known = encode(picture)
    found = solver(path, known, known, tolerance=tolerance / 10, iterations=iterations)
    z, residual, count = path.best, path.residual, found.iterations
    if gradient_steps > 0:
        finer = gradient(
            decode, picture, z, tolerance=tolerance, iterations=gradient_steps, rate=gradient_rate
        )
        z, residual, count = finer.x, finer.residual, count + finer.iterations
    return DecoderInversion(
        x=z,
        residual=residual,
        iterations=count,
        tolerance=tolerance,
        latent_residual=found.residual,
        encoder_residual=path.first,
        cocoercivity=cocoercivity(path.points) if log else None,
    )


def cocoercivity(points: Sequence[tuple[Array, Array]]) -> float:
    r"""The least cocoercivity of a path of pairs (z, E(D(z))), seen from its last point:

    .. math:: c_k = \frac{⟨ED z_∞ - ED z_k,\; z_∞ - z_k⟩}{\|ED z_∞ - ED z_k\|^2}

    Above 0 the assumption of the convergence theorems held along the path, and steps below :math:`2 \min_k
    c_k` were safe. Points that differ from the last one by rounding alone say nothing and are left out; inf
    if all are.
    """
    last, image = points[-1]
    noise = (ROUNDINGS * rounding(image) * rms(image)) ** 2
    least = math.inf
    for z, seen in points[:-1]:
        change = image - seen
        size = inner(change, change)
        if size > noise:
            least = min(least, inner(change, last - z) / size)
    return least


class _Path:
    """E(D(z)) as a function that remembers the best picture on its way."""

    def __init__(self, encode: Code, decode: Code, picture: Array, *, keep: bool) -> None:
        self._encode, self._decode, self._picture, self._keep = encode, decode, picture, keep
        self.best: Array = None
        self.first, self.residual = math.nan, math.inf
        self.points: list[tuple[Array, Array]] = []

    def __call__(self, z: Array) -> Array:
        made = self._decode(z)
        image = self._encode(made)
        with gradient_free(z):
            residual = relative(made - self._picture, self._picture)
            if self.best is None:
                self.first, self.best = residual, 1.0 * z
            # A product is a copy that is in no graph.
            if residual < self.residual:
                self.best, self.residual = 1.0 * z, residual
            if self._keep:
                self.points.append((1.0 * z, 1.0 * image))
        return image
