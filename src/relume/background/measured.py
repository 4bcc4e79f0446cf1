r"""From other images: the flat field, the median of other tiles, eigen flat fields."""

__all__ = ["EIGEN_FLATS", "FLAT", "NONE", "STALE_FLAT", "TILE_MEDIAN", "eigen_flats", "flat", "tile_median"]

from collections.abc import Sequence

import numpy as np

from relume.errors import MissingExtra

from .estimator import Estimator, Field, normalised


def none(image: Field, references: Sequence[Field] = ()) -> Field:
    """No background at all, to compare with."""
    return np.ones_like(image)


def flat(image: Field, references: Sequence[Field]) -> Field:
    """The mean of flat frames, each less the dark level. Taken at another hour it is a stale flat.

    Of a stale flat the shape is used, of a fresh one its counts too: they say what an empty field gives.
    """
    field: Field = np.mean(references, axis=0)
    return field


def tile_median(image: Field, references: Sequence[Field]) -> Field:
    """The median over other tiles, each divided by its own median: what is everywhere is no sample."""
    field: Field = np.median([normalised(tile) for tile in references], axis=0)
    return field


def eigen_flats(image: Field, references: Sequence[Field], *, components: int = 3) -> Field:
    r"""The mean flat and its principal variations, weighted to make the corrected image as flat as they can.

    .. math:: \hat w = \arg\min_w \mathrm{TV}\!\left(\frac{I}{\bar F + \sum_k w_k e_k}\right)

    At most as many components as there are flats but one. It knows no variation that the flats did not show.

    Source: Van Nieuwenhove et al., *Dynamic intensity normalization using eigen flat fields in X-ray
    imaging*, 2015.
    """
    flats = np.stack([normalised(reference) for reference in references])
    mean = flats.mean(0)
    components = min(components, len(flats) - 1)
    if components < 1:
        return np.asarray(mean)
    shapes, strengths = _principal(flats - mean, components)
    step = max(1, min(image.shape) // 128)
    shrunk = [_means(field, step) for field in (normalised(image), mean, *shapes)]
    weights = _flattest(shrunk[0], shrunk[1], np.stack(shrunk[2:]), strengths)
    field: Field = mean + np.tensordot(weights, shapes, 1)
    return field


def _principal(deviations: Field, components: int) -> tuple[Field, Field]:
    """The strongest shapes (K,H,W), each of rms 1, and their standard deviations (K,)."""
    rows = deviations.reshape(len(deviations), -1)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    chosen = vectors[:, ::-1][:, :components].T @ rows
    rms = np.sqrt((chosen**2).mean(1)) + 1e-15
    strengths = np.sqrt(np.maximum(values[::-1][:components], 0) / len(rows) / rows.shape[1])
    return (chosen / rms[:, None]).reshape(components, *deviations.shape[1:]), strengths


def _means(field: Field, step: int) -> Field:
    h, w = (side // step for side in field.shape)
    return np.asarray(field[: h * step, : w * step].reshape(h, step, w, step).mean((1, 3)))


def _flattest(image: Field, mean: Field, shapes: Field, strengths: Field) -> Field:
    """The weights of least total variation, sought in units of how far the flats themselves vary."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtra("the eigen flat fields", "xray") from error

    def variation(weights: Field) -> float:
        light = np.maximum(mean + np.tensordot(weights * strengths, shapes, 1), 0.05)
        t = image / light
        t = t / t.mean()
        return float(np.abs(np.diff(t, axis=0)).mean() + np.abs(np.diff(t, axis=1)).mean())

    found = minimize(variation, np.zeros(len(shapes)), method="Powell", options={"xtol": 1e-3, "ftol": 1e-7})
    return np.asarray(found.x, np.float64) * strengths


NONE = Estimator("none", "nothing", none)
FLAT = Estimator("flat", "flats", flat, shared=True)
STALE_FLAT = Estimator("stale-flat", "flats", flat, shared=True)
TILE_MEDIAN = Estimator("tile-median", "tiles", tile_median, shared=True)
EIGEN_FLATS = Estimator("eigen-flats", "flats", eigen_flats)
