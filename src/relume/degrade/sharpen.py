r"""Sharpening, as scanners and their programs do it unasked."""

__all__ = ["Sharpen"]

from collections.abc import Mapping

import numpy as np

from relume.degrade.degradation import Array, Draw, Linear, scalar
from relume.degrade.resample import gaussian_matrix


class Sharpen(Linear):
    r"""Unsharp masking: grain and specks grow with the edges, and edges get a seam.

    .. math:: y = x + a (x - G_σ x)

    with a Gaussian blur :math:`G_σ` of 0.5 to 1.6 units and an amount :math:`a` of 0.2 to 1.8. Values leave
    [0,1] at strong edges, as they do before a scanner clips them.
    """

    name = "sharpen"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        sigma = self.pixel_unit(shape) * rng.uniform(0.5, 1.6)
        return {
            "rows": gaussian_matrix(shape[1], sigma),
            "columns": gaussian_matrix(shape[2], sigma).T,
            "amount": scalar(self.severity * rng.uniform(0.2, 1.8)),
        }

    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        blurred = draw["rows"][:, None] @ picture @ draw["columns"][:, None]
        return picture + draw["amount"] * (picture - blurred)

    def adjoint(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        rows, columns = (draw[side].swapaxes(-1, -2)[:, None] for side in ("rows", "columns"))
        return picture + draw["amount"] * (picture - rows @ picture @ columns)
