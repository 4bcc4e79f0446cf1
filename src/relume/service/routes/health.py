r"""For those who watch over the service."""

__all__ = ["router"]

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from relume.errors import ServiceError
from relume.service.routes.forms import PROBLEMS
from relume.service.service import Service, service_of

router = APIRouter(tags=["health"])

Served = Annotated[Service, Depends(service_of)]


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """The process lives."""
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse, responses=PROBLEMS(503))
async def readyz(service: Served) -> str:
    """Work is taken: the table can be read, a worker runs, and nobody has asked the service to stop."""
    service.check_open()
    await run_in_threadpool(service.store.counts)
    if service.alive is not None and service.alive() == 0:
        raise ServiceError("no worker runs")
    return "ready\n"


@router.get("/metrics", response_class=PlainTextResponse, responses=PROBLEMS(401))
async def metrics(service: Served) -> Response:
    """For Prometheus."""
    text = await run_in_threadpool(service.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
