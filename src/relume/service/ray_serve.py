r"""A deployment for Ray Serve: one replica a device, each with the scheduler that the service's workers have.

.. code-block:: sh

    pip install "relume[serve,ray-serve]"
    serve run relume.service.ray_serve:app model=photo replicas=4 gpus=1 batch=8
    curl -sf --data-binary @old.jpg "http://127.0.0.1:8000/?seed=7&fidelity=0.5" -o restored.jpg

Requests of one replica share its device step by step (:mod:`relume.tasks.scheduler`). There is no job table:
who hangs up, or loses a replica, asks again. The options are the fields of
:class:`~relume.service.request.Request`. Serve answers 503 when ``queue`` requests wait already.

It was run under Ray Serve on one machine with one replica; on GPUs and clusters it was never started.
"""

__all__ = ["Replica", "app"]

import dataclasses
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response

from relume import image as images
from relume.errors import ImageTooLarge, MissingExtra, RelumeError, UsageError
from relume.service.problems import MEDIA, problem_of
from relume.service.request import Request
from relume.tasks import Restorer, Scheduler

MOST = 64 * 2**20  # bytes of a picture
AT_ONCE = 8  # requests that share a device; the memory is for so many

_REQUESTS = TypeAdapter(Request)


class Replica:
    """One device: a model on it, and a scheduler that all requests share. Knows nothing of Ray."""

    def __init__(self, *, batch: int = 1, **where: Any) -> None:
        self._restorer = Restorer(**where)
        self._scheduler = Scheduler(self._restorer.engine, batch=batch)

    async def __call__(self, call: Call) -> Response:
        """Bytes of a picture → bytes of the restored one, or a problem."""
        try:
            data = await _body(call)
            request = _request(dict(call.query_params))
            kind, restored = await run_in_threadpool(self.restore, data, request)
        except (RelumeError, MemoryError) as error:
            told = problem_of(error)
            return JSONResponse(told, told["status"], media_type=MEDIA)
        return Response(restored, media_type=kind)

    def restore(self, data: bytes, request: Request) -> tuple[str, bytes]:
        """The media type and the restored picture.

        Raises:
            RelumeError: as :func:`relume.image.read` and :meth:`~relume.tasks.Restorer.restore` have it.
        """
        picture = images.read(data)
        done = self._restorer.restore(picture, request.settings(), run=self._scheduler.run).image
        return request.written(done)


async def _body(call: Call) -> bytes:
    data = bytearray()
    async for part in call.stream():
        data += part
        if len(data) > MOST:
            raise ImageTooLarge(f"more than {MOST} bytes: send a smaller file")
    return bytes(data)


def _request(options: dict[str, str]) -> Request:
    if unknown := options.keys() - {field.name for field in dataclasses.fields(Request)}:
        raise UsageError(f"{', '.join(sorted(unknown))}: there is no such option")
    try:
        request = _REQUESTS.validate_python(options)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UsageError(f"{wrong['loc'][0]}: {wrong['msg']}") from error
    if request.kind != "restore" or request.samples > 1:
        raise UsageError("one picture comes back: leave out kind and samples")
    return request


def app(options: dict[str, str]) -> Any:
    """The application, for ``serve run``: ``replicas``, ``gpus`` and ``cpus`` of each, ``batch``, ``queue``.

    The rest is what :class:`~relume.tasks.Restorer` takes: ``model``, ``engine``, ``device``, ``precision``.
    """
    try:
        from ray import serve
    except ImportError as error:  # Ray alone is there, or not even that
        raise MissingExtra("Ray Serve", "serve,ray-serve") from error

    left = dict(options)
    number = {
        name: int(left.pop(name, usual))
        for name, usual in {"replicas": 1, "gpus": 0, "cpus": 1, "batch": 1, "queue": 64}.items()
    }
    deployment = serve.deployment(
        Replica,
        name="relume",
        num_replicas=number["replicas"],
        ray_actor_options={"num_gpus": number["gpus"], "num_cpus": number["cpus"]},
        max_ongoing_requests=AT_ONCE,
        max_queued_requests=number["queue"],
    )
    return deployment.bind(batch=number["batch"], **left)
