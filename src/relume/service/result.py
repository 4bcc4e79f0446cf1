r"""One job → the parts of its result.

======================  =========================================================================
``result``              the restored picture in the input's format, or the mask
``mask``                where the damage is: 8-bit gray PNG, white = damaged
``uncertainty``         the standard deviation over samples: 16-bit gray PNG, white = a quarter of the range
======================  =========================================================================
"""

__all__ = ["PARTS", "make"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relume import image as images
from relume.image import Image
from relume.service.folders import Folders
from relume.service.request import Request
from relume.service.store import Job
from relume.tasks import Restorer
from relume.tasks.finish import THRESHOLD, mask_from
from relume.tasks.progress import Observe
from relume.tasks.steps import Run

Array = NDArray[np.float32]

PARTS = ("result", "mask", "uncertainty")
WHITE = 0.25  # the standard deviation that is white


def make(
    job: Job,
    picture: Image,
    folders: Folders,
    restorer: Restorer,
    observe: Observe,
    *,
    run: Run | None = None,
    max_memory: int | None = None,
) -> dict[str, Any]:
    """Does the work of a job, writes the parts into its folder and returns what there is to say about it.

    ``run`` says who evaluates, as in :meth:`~relume.tasks.Restorer.restore`.

    The parts are content-addressed and the record of them is written last: doing it twice changes nothing.

    Raises
    ------
    RelumeError
        Whatever the restorer raises for this picture and these options.
    """
    request = Request.of(job.request["options"])
    bundle = restorer.bundle
    facts: dict[str, Any] = {
        "seed": request.seed,
        "model": f"{bundle.name}/{bundle.card['version']}",
        "engine": f"{restorer.engine.name}/{restorer.engine.device}/{restorer.engine.precision}",
        "width": picture.width,
        "height": picture.height,
    }
    if request.kind == "mask":
        found = restorer.detect(picture, tile=request.tile, observe=observe, run=run)
        parts = {"result": _gray(found)}
        facts |= {"seconds": {}, "damaged": _share(found)}
    else:
        mask = _mask(job, folders)
        settings = request.settings(max_memory)
        done = restorer.restore(picture, settings, mask=mask, observe=observe, run=run)
        parts = {"result": request.written(done.image), "mask": _gray(done.mask)}
        if done.uncertainty is not None:
            parts["uncertainty"] = _gray(np.clip(done.uncertainty / WHITE, 0, 1), bit_depth=16)
        facts |= {"seconds": done.seconds, "damaged": _share(done.mask)}
    facts["parts"] = {
        part: {"file": folders.put(job.folder, data), "type": kind, "bytes": len(data)}
        for part, (kind, data) in parts.items()
    }
    folders.write_facts(job.folder, "result.json", facts)
    return facts


def _mask(job: Job, folders: Folders) -> Array | None:
    name = job.request.get("mask")
    return None if name is None else mask_from(images.read(folders.get(job.folder, name)))


def _share(mask: Array) -> float:
    return round(float((mask > THRESHOLD).mean()), 6)


def _gray(plane: Array, *, bit_depth: int = 8) -> tuple[str, bytes]:
    picture = Image(np.ascontiguousarray(plane[..., None], dtype=np.float32), bit_depth=bit_depth)
    return "image/png", images.encode(picture)
