r"""Rows of a table that cost no training: negative controls and classical methods.

Each file is one method; to add one, write the file with its ``ROW`` and list it here. The contract test runs
over the list.
"""

__all__ = ["ROWS", "Row", "row"]

from relume.bench.classical import (
    autocontrast,
    blur,
    bm3d,
    clahe,
    combined,
    denoise,
    greyworld,
    identity,
    inpaint,
    median,
    nlmeans,
)
from relume.bench.classical.row import Row
from relume.errors import UsageError

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        identity.ROW,
        blur.ROW,
        median.ROW,
        nlmeans.ROW,
        denoise.ROW,
        bm3d.ROW,
        inpaint.TELEA,
        inpaint.NAVIER_STOKES,
        clahe.ROW,
        autocontrast.ROW,
        greyworld.ROW,
        combined.ROW,
    )
}


def row(name: str) -> Row:
    """The row of that name.

    Raises
    ------
    UsageError
        If there is none; the message lists those that exist.
    """
    if name not in ROWS:
        raise UsageError(f"no row is called {name!r}; there are: {', '.join(ROWS)}")
    return ROWS[name]
