r"""``relume restore --invented``: a map of what the restorer made up."""

__all__ = ["WHITE", "map_invented"]

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.report import Entry
from relume.cli.streams import Writing, deliver
from relume.files import make_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relume.image import Image
    from relume.tasks import Restoration, Restorer, Settings

WHITE = 0.25  # the deviation or error that is white in a map, of the [0,1] range


def map_invented(
    path: Path,
    entry: Entry,
    restorer: "Restorer",
    done: tuple["Image", "Restoration", "Settings"],
    args: argparse.Namespace,
    *,
    mask: "NDArray[np.float32] | None",
) -> None:
    """Writes the expected error of what was done, and its figures into the entry."""
    from relume import image
    from relume.tasks.invented import INVENTED, invented

    began = time.perf_counter()
    found = invented(restorer, *done, mask=mask)
    entry.invented = {
        "mean_expected_error": round(float(found.error.mean()), 5),
        f"share_above_{INVENTED:g}": round(found.share, 5),
        "calibrated": found.calibrated,
    }
    if not (args.skip_existing and path.exists()):
        make_folder(path.parent)
        shown = (found.error / WHITE).clip(0, 1)[..., None]
        deliver(image.Image(shown, bit_depth=16), path, Writing(overwrite=args.overwrite))
        entry.files.append(os.fspath(path))
    entry.seconds["invented"] = time.perf_counter() - began
