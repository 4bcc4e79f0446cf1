r"""The plain iteration: forward steps of one constant length, with nothing that could rescue them."""

__all__ = ["fixed_point"]

from relume.invert.inversion import Array, Forward, Inversion, Search


def fixed_point(
    forward: Forward,
    y: Array,
    x: Array,
    *,
    tolerance: float = 1e-6,
    iterations: int = 500,
    step: float = 1.0,
) -> Inversion:
    r""":math:`x \leftarrow x - ρ\,(F(x) - y)`, with the same ρ to the end.

    It converges where :math:`x - ρ F(x)` contracts, and for a :math:`β`-cocoercive F
    (:math:`⟨F(x) - F(x'), x - x'⟩ ≥ β \|F(x) - F(x')\|^2`) where ρ < 2β; beyond it diverges, and the result
    is the best point on the way. For one step of a sampler the well-known fixed points of the x₀-form and of
    the ε-form are this iteration with two different ρ.
    """
    search = Search(forward, y, x, tolerance=tolerance, iterations=iterations)
    while not search.over():
        x = x - step * search.miss(x)
    return search.result()
