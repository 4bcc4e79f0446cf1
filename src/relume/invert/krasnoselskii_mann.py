r"""The inertial Krasnoselskii–Mann iteration."""

__all__ = ["krasnoselskii_mann", "relaxation_bound"]

from relume.errors import UsageError
from relume.invert.inversion import Array, Forward, Inversion, Search


def relaxation_bound(inertia: float) -> float:
    r"""The largest relaxation λ with which the inertial iteration is proven to converge:

    .. math:: λ (1 - a + 2 a^2) < (1 - a)^2

    >>> round(relaxation_bound(0.9), 7), relaxation_bound(0.0)
    (0.005814, 1.0)
    """
    return (1 - inertia) ** 2 / (1 - inertia + 2 * inertia**2)


def krasnoselskii_mann(
    forward: Forward,
    y: Array,
    x: Array,
    *,
    tolerance: float = 1e-6,
    iterations: int = 500,
    inertia: float = 0.9,
    relaxation: float | None = None,
    cocoercivity: float = 1.0,
) -> Inversion:
    r"""A forward step from a point that momentum carried on:

    .. math::
        y_k = z_k + a (z_k - z_{k-1}), \qquad z_{k+1} = y_k - 2 λ β\, T y_k, \qquad T z = F(z) - y .

    If T is β-``cocoercive`` along the path, then :math:`\min_k \|T y_k\|^2 = O(1/k)` for every ``relaxation``
    λ below :func:`relaxation_bound`; None takes 99 % of it. The bound is careful: it makes small steps.

    Raises:
        UsageError: ``inertia`` lies outside of [0,1).

    Source: "Gradient-free Decoder Inversion in Latent Diffusion Models", Hong, Jeon, Lee, Ryu, Chun, 2024.
    """
    if not 0.0 <= inertia < 1.0:
        raise UsageError(f"inertia={inertia:g} would not settle: use 0 or more, below 1")
    share = 0.99 * relaxation_bound(inertia) if relaxation is None else relaxation
    search = Search(forward, y, x, tolerance=tolerance, iterations=iterations)
    previous = x
    while not search.over():
        ahead = x + inertia * (x - previous)
        previous, x = x, ahead - 2 * share * cocoercivity * search.miss(ahead)
    return search.result()
