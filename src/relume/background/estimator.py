r"""The contract of a background estimate, and how it is divided out."""

__all__ = ["Estimator", "Needs", "corrected", "normalised", "optical_density"]

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from relume.errors import UsageError

from .holes import filled

Field = npt.NDArray[np.float64]
Needs = Literal["nothing", "tiles", "flats"]
Estimate = Callable[[Field, Sequence[Field]], Field]


class Estimator(NamedTuple):
    """A way to find the background B of one image.

    ``estimate(image, references)`` takes counts without the dark level, (H,W), and gives B of median 1. What
    the references are, ``needs`` says: other tiles of the same mosaic, flat frames, or nothing. ``shared``
    says that the answer follows from the references alone, and is the same for every image.
    """

    name: str
    needs: Needs
    estimate: Estimate
    shared: bool = False

    def __call__(
        self, image: npt.NDArray[np.floating], references: Sequence[npt.NDArray[np.floating]] = ()
    ) -> Field:
        """The background (H,W), median 1.

        Pixels that are not finite are filled from their neighbours; where no flat measured any, it is nan.

        Raises:
            UsageError: the references are missing or of another size; the image is no (H,W) or dark.
        """
        if image.ndim != 2 or not np.isfinite(image).any() or not np.nanmedian(image) > 0:
            raise UsageError("an image is (H, W) counts less the dark level, most of them above 0")
        if self.needs != "nothing" and not len(references):
            raise UsageError(f"{self.name} needs {self.needs}; give at least one")
        if any(reference.shape != image.shape for reference in references):
            raise UsageError(f"{self.name} needs {self.needs} of the image's size {image.shape}")
        found = self.estimate(filled(image), [filled(reference) for reference in references])
        if self.needs == "flats":
            measured = np.any([np.isfinite(reference) for reference in references], axis=0)
            found = np.where(measured, found, np.nan)
        return normalised(found)


def normalised(field: Field) -> Field:
    """Divided by its median.

    Raises:
        UsageError: the median is not positive: the dark level is too high.
    """
    middle = float(np.nanmedian(field))
    if not middle > 0:
        raise UsageError("the background is not positive; is the dark level right?")
    return field / middle


def corrected(
    image: npt.NDArray[np.floating],
    background: npt.NDArray[np.floating],
    *,
    dark: npt.NDArray[np.floating] | float = 0.0,
) -> npt.NDArray[np.float32]:
    """(image − dark) / background as linear float32, not clipped; nan where there is no light."""
    usable = background > 0
    light = np.asarray(image, np.float64) - dark
    return np.where(usable, light / np.where(usable, background, 1), np.nan).astype(np.float32)


def optical_density(transmission: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    r""":math:`-\ln T`, and nan where T is not positive: no count there says how thick the sample is."""
    usable = transmission > 0
    return np.where(usable, -np.log(np.where(usable, transmission, 1)), np.nan).astype(np.float32)
