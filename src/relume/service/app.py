r"""The application: routes behind the guard, errors as problem details."""

__all__ = ["make_app"]

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from relume._version import __version__
from relume.errors import RelumeError
from relume.service.guard import Guard
from relume.service.problems import MEDIA, problem, problem_of
from relume.service.routes import ROUTERS
from relume.service.routes.forms import PROBLEMS
from relume.service.service import Service

EXPOSED = ("x-seed", "x-relume-model", "x-relume-job", "server-timing", "retry-after", "location")
# A damaged form is answered with 400; what the parser logs beside it would let callers fill the log.
for _name in ("python_multipart", "multipart"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

_ABOUT = """\
Send a damaged picture, get it back whole. `POST /api/v1/restore` answers with the picture;
`POST /api/v1/jobs` answers at once and the work goes on behind, with progress, preview and cancelling. The
same picture with the same options is the same job, however often it is sent. Errors are problem details
(RFC 9457).
"""


def make_app(service: Service) -> FastAPI:
    """The application of one service. Nothing it answers with loads anything from another host."""
    app = FastAPI(
        title="relume",
        version=__version__,
        description=_ABOUT,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        responses=PROBLEMS(403, 421, 422),  # what any request can be answered with
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    for kind in (RelumeError, MemoryError):
        app.add_exception_handler(kind, _told)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _told)
    if service.web.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.web.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization"],
            expose_headers=[*EXPOSED],
        )
    app.add_middleware(Guard, service=service)
    return app


def _answer(facts: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(facts, facts["status"], headers=headers, media_type=MEDIA)


async def _told(request: Request, error: Exception) -> JSONResponse:
    facts = problem_of(error)
    wait = facts.pop("retry_after", 5 if facts["status"] == 503 else None)
    return _answer(facts, None if wait is None else {"retry-after": str(wait)})


async def _not_valid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [
        {"field": ".".join(str(part) for part in each["loc"] if part != "body"), "reason": each["msg"]}
        for each in error.errors()
    ]
    named = "; ".join(f"{each['field'] or 'body'}: {each['reason']}" for each in fields)
    return _answer(problem(422, named, errors=fields))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    return _answer(problem(error.status_code, str(error.detail)), headers)
