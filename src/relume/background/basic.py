r"""BaSiC: shading as what a stack has in common, by low rank and sparsity, through the library BaSiCPy."""

__all__ = ["BASIC", "INSTALL", "basic"]

from collections.abc import Sequence

import numpy as np

from relume.errors import MissingExtra

from .estimator import Estimator, Field

# Its releases ask for a SciPy that does not run beside NumPy 2; it works with a newer one all the same.
INSTALL = "pip install --no-deps basicpy torch-dct && pip install torch pydantic dask pooch"


def basic(image: Field, references: Sequence[Field]) -> Field:
    """The flat field that BaSiCPy fits to the references on a grid of 128×128, otherwise with its own
    settings.

    Source: Peng et al., *A BaSiC tool for background and shading correction of optical microscopy images*,
    2017.

    Raises:
        MissingExtra: BaSiCPy is not installed.
    """
    try:
        from basicpy import BaSiC
    except ImportError as error:
        raise MissingExtra("the method basic", "xray", install=INSTALL) from error
    model = BaSiC(get_darkfield=False, working_size=128)
    model.fit(np.stack(references).astype(np.float32))
    return np.asarray(model.flatfield, np.float64)


BASIC = Estimator("basic", "tiles", basic, shared=True)
