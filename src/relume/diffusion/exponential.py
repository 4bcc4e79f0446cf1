r"""The tails of the exponential series that the high-order solvers are made of."""

__all__ = ["tail"]

import math


def tail(z: float, k: int) -> float:
    r"""What is left of the series of eᶻ behind its first k + 1 terms, divided by :math:`z^k`.

    .. math::
        \tilde φ_k(z) = \sum_{j ≥ 1} \frac{z^j}{(j + k)!}, \qquad
        \tilde φ_0(z) = e^z - 1, \qquad \tilde φ_{k+1}(z) = \tilde φ_k(z)/z - 1/(k + 1)!

    The recursion is unstable for small z, the sum for large negative z; each is used where it is good to
    about 1e-15.

    >>> round(tail(-1.0, 1), 12), round(1 - 1 / math.e - 1, 12)
    (-0.367879441171, -0.367879441171)
    """
    if k == 0:
        return math.expm1(z)
    if abs(z) < 1.0:
        return sum(z**j / math.factorial(j + k) for j in range(20, 0, -1))
    return tail(z, k - 1) / z - 1 / math.factorial(k)
