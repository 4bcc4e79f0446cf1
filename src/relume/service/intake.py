r"""From the bytes that somebody sent to a job in the queue."""

__all__ = ["Intake"]

import threading
from typing import Any

import numpy as np

from relume import image as images
from relume.bundle import Bundle
from relume.errors import ImageError, UnreadableImage, UnsupportedImage, UsageError
from relume.image import Image
from relume.image.codecs import codec_of
from relume.service.clock import Clock
from relume.service.config import Config
from relume.service.folders import Folders
from relume.service.request import Request, key_of, media_type
from relume.service.store import Job, Store
from relume.tasks.restore import check_settings

_DECODING = 2  # pictures that are decoded at once: each takes memory


class Intake:
    """Checks what is sent, keeps it, and puts it into the queue.

    ``model`` will do the work: what it cannot do is refused, and another model is another request.
    """

    def __init__(
        self, config: Config, store: Store, folders: Folders, clock: Clock, *, model: Bundle, workers: int
    ) -> None:
        self._config, self._store, self._folders, self._clock = config, store, folders, clock
        self._model, self._workers = model, workers
        self._decoding = threading.BoundedSemaphore(_DECODING)

    def check_room(self) -> None:
        """Raises :class:`~relume.errors.Busy` where the queue is full whatever comes; to be asked first."""
        self._store.check_room(0, self._config.max_queue, self._workers)

    def accept(self, request: Request, upload: bytes, mask: bytes | None = None) -> tuple[Job, bool]:
        """The job for this request, and whether it is new. When this returns, the job survives any crash.

        Raises
        ------
        UnsupportedImage, UnreadableImage, ImageTooLarge
            The upload is no picture that is read, damaged, or has too many pixels.
        UsageError
            An option is out of its range or not for this model, or the mask does not fit the picture.
        Busy
            The queue is full.
        StoreFull, StoreBroken
            It cannot be kept.
        """
        check_settings(self._model.card, request.settings())
        id = key_of(request, upload, mask, self._model.hash)
        there = self._store.many([id]).get(id)
        if there is not None and there.state != "failed":
            return there, False
        with self._decoding:
            facts = self._look(request, upload, mask)
        cost = request.cost(facts["width"] * facts["height"], painted=mask is not None)
        self._store.check_room(cost, self._config.max_queue, self._workers)
        folder = self._folders.make()
        try:
            facts["upload"] = self._folders.put(folder, upload)
            facts["mask"] = None if mask is None else self._folders.put(folder, mask)
            now = self._clock.now()
            record = {"id": id, "request": facts, "cost": cost, "created": now}
            self._folders.write_facts(folder, "job.json", record)
            job, new = self._store.submit(
                id,
                folder=folder,
                request=facts,
                cost=cost,
                now=now,
                limit=self._config.max_queue,
                workers=self._workers,
            )
        except BaseException:
            self._folders.drop(folder)
            raise
        if not new:
            self._folders.drop(folder)
        elif there is not None:
            self._folders.drop(there.folder)
        return job, new

    def _look(self, request: Request, upload: bytes, mask: bytes | None) -> dict[str, Any]:
        try:
            codec_of(upload)
        except UnreadableImage as error:
            raise UnsupportedImage(str(error)) from error
        picture = images.read(upload, max_pixels=self._config.max_pixels)
        _check_writing(request, picture)
        if mask is not None:
            try:
                painted = images.read(mask, max_pixels=self._config.max_pixels)
            except ImageError as error:
                raise UsageError(f"the mask cannot be read ({error}): send a gray PNG") from error
            if (painted.height, painted.width) != (picture.height, picture.width):
                raise UsageError(
                    f"the mask is {painted.width}×{painted.height} and the picture "
                    f"{picture.width}×{picture.height}: they must have one size"
                )
        return {
            "options": request.facts(),
            "format": picture.format,
            "type": media_type(picture.format),
            "width": picture.width,
            "height": picture.height,
        }


def _check_writing(request: Request, picture: Image) -> None:
    """Raises what :meth:`Request.written` would raise for these options after the work is done."""
    dot = Image(np.zeros((1, 1, 3), np.float32), format=picture.format)
    request.written(dot)
