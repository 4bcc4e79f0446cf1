r"""A relume service from afar: a picture is sent, followed, fetched and forgotten, over HTTP.

Only the standard library is needed. The service keeps what it has accepted, and gives the same job for the
same picture and options; so every call here may be repeated, and a stream that breaks is taken up again.
"""

__all__ = ["Client", "Facts"]

import http.client
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from relume.errors import (
    Busy,
    Draining,
    ImageTooLarge,
    NoSuchJob,
    NotReady,
    RelumeError,
    ServiceError,
    StoreFull,
    Unreachable,
    UnsupportedImage,
    UsageError,
)

Facts = dict[str, Any]
"""A job as ``GET /api/v1/jobs/{id}`` gives it."""

_LOCAL = ("localhost", "127.0.0.1", "::1")
_PAUSE = 1.0  # seconds before a service that went away is asked again
_KINDS: Mapping[int, type[RelumeError]] = {
    401: UsageError,
    404: NoSuchJob,
    409: NotReady,
    413: ImageTooLarge,
    415: UnsupportedImage,
    422: UsageError,
    503: Draining,
    507: StoreFull,
}


class Client:
    """Calls one service.

    Parameters
    ----------
    address:
        Such as ``http://127.0.0.1:8000``.
    token:
        What the service wants to be shown, if it does.
    timeout:
        Seconds without a sign of life after which a call is given up.
    patience:
        Seconds to wait for room in a full queue, and for a service that went away while it was followed.

    Raises
    ------
    UsageError
        The address is none.
    """

    def __init__(
        self, address: str, *, token: str | None = None, timeout: float = 60.0, patience: float = 600.0
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{address!r} is no address of a service: give one like http://127.0.0.1:8000")
        self._address = address.rstrip("/")
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._timeout, self._patience = timeout, patience
        handlers: list[urllib.request.BaseHandler] = [_Stay()]
        if parts.hostname in _LOCAL:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def submit(
        self, picture: bytes, options: Mapping[str, object] | None = None, *, mask: bytes | None = None
    ) -> Facts:
        """Sends a picture for restoring; from then on the service will do it, whatever dies meanwhile.

        ``options`` are the form fields of ``POST /api/v1/jobs``; ``mask`` is a picture of the damage. When
        the queue is full, it waits as the service says, up to ``patience``.

        Raises
        ------
        UsageError, ImageTooLarge, UnsupportedImage
            The service does not take the token, an option or the picture.
        Busy, Draining, StoreFull
            It takes nothing now.
        Unreachable
            Nobody answers there.
        """
        body, kind = _form(picture, options or {}, mask)
        deadline = time.monotonic() + self._patience
        while True:
            try:
                made: Facts = json.loads(self._post("/api/v1/jobs", body, kind))
                return made
            except (Busy, Draining) as error:
                wait = error.retry_after if isinstance(error, Busy) else _PAUSE
                if time.monotonic() + wait > deadline:
                    raise
                time.sleep(wait)

    def mask(self, picture: bytes, options: Mapping[str, object] | None = None) -> bytes:
        """The damage in a picture, as a gray PNG. Errors are those of :meth:`submit`."""
        return self._post("/api/v1/mask", *_form(picture, options or {}, None))

    def follow(self, id: str) -> Iterator[Facts]:
        """The job, now and whenever something has changed; ends when it is done.

        Raises
        ------
        NoSuchJob
            It was deleted.
        RelumeError
            It failed: the kind of error that it would have been here.
        Unreachable
            The service was away for longer than ``patience``.
        """
        heard = time.monotonic()
        while True:
            try:
                for job in self._events(id):
                    heard = time.monotonic()
                    yield job
                    if job["state"] == "done":
                        return
            except (Unreachable, Draining):
                if time.monotonic() - heard > self._patience:
                    raise
            time.sleep(_PAUSE)  # the stream ended before the job did

    def result(self, id: str, part: str = "result") -> bytes:
        """The restored picture as a file's bytes, or its ``mask`` or ``uncertainty``.

        Raises
        ------
        NoSuchJob, NotReady
            There is no such job, or it has no such part.
        """
        return self._call(f"/api/v1/jobs/{quote(id, safe='')}/result?part={quote(part)}")

    def delete(self, id: str) -> None:
        """Cancels a job that is not over, and deletes all that the service has of it.

        Raises
        ------
        NoSuchJob
            There is none.
        """
        self._call(f"/api/v1/jobs/{quote(id, safe='')}", method="DELETE")

    def _events(self, id: str) -> Iterator[Facts]:
        name = ""
        with self._open(f"/api/v1/jobs/{quote(id, safe='')}/events") as stream:
            for line in _lines(stream):
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    job: Facts = json.loads(value)
                    if name == "deleted":
                        raise NoSuchJob("the job was deleted before it was done")
                    if name == "failed":
                        raise _error(job["problem"])
                    yield job

    def _post(self, path: str, body: bytes, kind: str) -> bytes:
        return self._call(path, method="POST", body=body, kind=kind)

    def _call(self, path: str, *, method: str = "GET", body: bytes | None = None, kind: str = "") -> bytes:
        with self._open(path, method=method, body=body, kind=kind) as answer:
            try:
                data: bytes = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"{self._address} stopped in the middle of an answer: try again") from error
            return data

    def _open(self, path: str, *, method: str = "GET", body: bytes | None = None, kind: str = "") -> Any:
        headers = {**self._headers, **({"content-type": kind} if kind else {})}
        request = urllib.request.Request(self._address + path, body, headers, method=method)
        try:
            return self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(
                f"nobody answers at {self._address} ({reason}): is relume serve running there?"
            ) from error


class _Stay(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: the token and the picture are for this service."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _lines(stream: Any) -> Iterator[str]:
    try:
        for line in stream:
            yield line.decode().rstrip("\r\n")
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable("the service went away while the job was followed") from error


def _form(picture: bytes, options: Mapping[str, object], mask: bytes | None) -> tuple[bytes, str]:
    """The body of a form and its media type. Names of files stay here."""
    mark = secrets.token_hex(16)
    fields = [
        (f'name="{name}"', (str(value).lower() if isinstance(value, bool) else str(value)).encode())
        for name, value in options.items()
        if value is not None
    ]
    fields.append(('name="picture"; filename="picture"', picture))
    if mask is not None:
        fields.append(('name="mask_picture"; filename="mask"', mask))
    head = f"--{mark}\r\nContent-Disposition: form-data; "
    body = b"".join(f"{head}{name}\r\n\r\n".encode() + value + b"\r\n" for name, value in fields)
    return body + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


def _refused(answer: urllib.error.HTTPError) -> RelumeError:
    try:
        problem = json.loads(answer.read())
        detail = str(problem["detail"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        detail = f"the answer was {answer.code} {answer.reason}: is that a relume service?"
    if answer.code == 429:
        wait = answer.headers.get("retry-after", "")
        return Busy(detail, float(wait) if wait.isdigit() else _PAUSE)
    return _error({"status": answer.code, "detail": detail})


def _error(problem: Mapping[str, Any]) -> RelumeError:
    """A problem as the error that it would have been here."""
    return _KINDS.get(problem["status"], ServiceError)(problem["detail"])
