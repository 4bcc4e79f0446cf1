r"""Calibrate: what a model loses of detail, learned from photographs and written into its card."""

__all__ = ["fit_detail", "calibrate"]

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from relume.bench.spectrum import gradient_energy
from relume.degrade import recipe
from relume.image import Image
from relume.tasks.detail import Detail, amplify, energies, features
from relume.tasks.finish import three_channels
from relume.tasks.restore import Restorer

Array = NDArray[np.float32]
Triple = tuple[Array, Array, Array]
# On how many of the pictures the scale of the gains is sought.
_SCALED_ON = 80


def calibrate(
    restorer: Restorer,
    photographs: Sequence[tuple[str, Image]],
    *,
    recipe_name: str = "old-photo",
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Detail:
    """The gains of ``fidelity`` 0 for a model, from clean photographs (name, picture) and a recipe of damage.

    The photographs should be ones that the model may have learned from: those it is judged on have to stay
    unseen. Seed and name alone decide the damage.
    """
    triples = []
    for number, (name, photograph) in enumerate(photographs):
        truth = three_channels(photograph.srgb())
        rng = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
        damaged = np.rint(recipe(recipe_name)(truth, rng).picture * 255).astype(np.float32) / np.float32(255)
        clean, seen = restorer.local(damaged)
        triples.append((clean, seen, truth))
        progress(number + 1, len(photographs))
    return fit_detail(triples)


def fit_detail(pairs: Sequence[Triple], *, ridge: float = 1e-3, every: int = 4) -> Detail:
    """Learn what is lacking from (clean, seen, truth), H×W×3 each in [0,1], by least squares.

    The mean of a logarithm is less than the logarithm of the mean, and bands overlap: the logarithms are then
    scaled until the amplified pictures have the gradient energy of the true ones, on average over pairs.
    Every so many pixels enter, on either axis.
    """
    rows, targets = [], []
    for clean, seen, truth in pairs:
        pick = (slice(None, None, every), slice(None, None, every))
        found = features(clean, seen)[pick]
        rows.append(found.reshape(-1, found.shape[2]))
        bands = zip(energies(truth), energies(clean), strict=True)
        targets.append(np.stack([(true - ours)[pick].ravel() for true, ours in bands], axis=1))
    x, y = np.concatenate(rows).astype(np.float64), np.concatenate(targets).astype(np.float64)
    size = np.sqrt((x * x).mean(axis=0))
    x /= size
    normal = x.T @ x / len(x) + ridge * np.eye(x.shape[1])
    weights = np.linalg.solve(normal, x.T @ y / len(x)).T / size
    some = pairs[:: -(-len(pairs) // _SCALED_ON)]
    low, high = 0.0, 4.0
    for _ in range(12):
        scale = (low + high) / 2
        low, high = (
            (scale, high) if _energy(some, Detail((scale * weights).astype(np.float32))) < 1 else (low, scale)
        )
    return Detail((scale * weights).astype(np.float32))


def _energy(pairs: Sequence[Triple], detail: Detail) -> float:
    """Mean ratio of gradient energies, amplified over true."""
    ratios = []
    for clean, seen, truth in pairs:
        ratios.append(gradient_energy(np.clip(amplify(clean, seen, detail), 0, 1), truth))
    return float(np.mean(ratios))
