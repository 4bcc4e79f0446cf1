r"""Errors as problem details.

Source: M. Nottingham, E. Wilde, S. Dalal, "Problem Details for HTTP APIs", RFC 9457, 2023.
"""

__all__ = ["MEDIA", "STATUS", "problem_of", "problem"]

import math
from http import HTTPStatus
from typing import Any

from relume.errors import (
    Busy,
    Draining,
    EngineError,
    ImageError,
    ImageTooLarge,
    MissingExtra,
    NoSuchJob,
    NotReady,
    OutOfMemory,
    RelumeError,
    ServiceError,
    StoreFull,
    UnreadableImage,
    UnsupportedImage,
    UsageError,
)

MEDIA = "application/problem+json"

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (Busy, 429),
    (Draining, 503),
    (NoSuchJob, 404),
    (NotReady, 409),
    (StoreFull, 507),
    (ServiceError, 503),
    (ImageTooLarge, 413),
    (UnsupportedImage, 415),
    (UnreadableImage, 422),
    (ImageError, 422),
    (MissingExtra, 415),
    (UsageError, 422),
    (OutOfMemory, 413),
    (MemoryError, 413),
    (EngineError, 500),
)
"""What an error is on the web; the first that fits."""


def problem(status: int, detail: str, **more: Any) -> dict[str, Any]:
    """A problem with the title that the status has."""
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}


def problem_of(error: Exception) -> dict[str, Any]:
    """The problem that an error is. What is not raised on purpose tells nothing of the inside."""
    status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
    if isinstance(error, Busy):
        return problem(status, str(error), retry_after=math.ceil(error.retry_after))
    if isinstance(error, MemoryError):
        return problem(status, "not enough memory: make the picture smaller")
    if isinstance(error, RelumeError):
        return problem(status, str(error))
    return problem(500, "an error inside relume; the service's log tells more")
