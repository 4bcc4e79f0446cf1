r"""Ask and wait: the answer is the picture. Behind it is a job like any other: nothing is done twice."""

__all__ = ["router"]

from contextlib import aclosing, suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from relume.errors import NoSuchJob
from relume.service import request as asked
from relume.service.problems import MEDIA
from relume.service.routes.forms import PROBLEMS, MaskForm, RestoreForm, picture_answer
from relume.service.service import Service, service_of
from relume.service.store import Job

router = APIRouter(prefix="/api/v1", tags=["ask and wait"])

_PROBLEMS = PROBLEMS(400, 401, 404, 408, 413, 415, 422, 429, 503, 507)


@router.post(
    "/restore",
    response_class=Response,
    responses={**picture_answer("the restored picture, in the format of the one sent"), **_PROBLEMS},
)
async def restore(
    request: Request,
    form: Annotated[RestoreForm, Form(media_type="multipart/form-data")],
    service: Annotated[Service, Depends(service_of)],
) -> Response:
    """Restores a picture and answers with it. Who hangs up ends the work."""
    return await _answer(request, service, form.request(), form.picture, form.mask_picture)


@router.post(
    "/mask",
    response_class=Response,
    responses={**picture_answer("the damage: 8-bit gray PNG, white = damaged"), **_PROBLEMS},
)
async def mask(
    request: Request,
    form: Annotated[MaskForm, Form(media_type="multipart/form-data")],
    service: Annotated[Service, Depends(service_of)],
) -> Response:
    """Finds the damage in a picture and answers with it as a picture, to be edited and sent back."""
    return await _answer(request, service, form.request(), form.picture, None)


async def _answer(
    request: Request,
    service: Service,
    wanted: asked.Request,
    picture: UploadFile,
    painted: UploadFile | None,
) -> Response:
    job, new = await accept(service, wanted, picture, painted)
    done = await _wait(request, service, job, new)
    if done is None:
        raise NoSuchJob("the job was deleted while it was waited for")
    if done.state == "failed" and done.outcome is not None:
        return JSONResponse(done.outcome, done.outcome["status"], media_type=MEDIA)
    data, kind = await service.part(done, "result")
    assert done.outcome is not None  # or part() would have said so
    return Response(data, media_type=kind, headers=_headers(done))


async def accept(
    service: Service, wanted: asked.Request, picture: UploadFile, painted: UploadFile | None
) -> tuple[Job, bool]:
    """Puts what was sent into the queue; names of files are not looked at."""
    service.check_open()
    await run_in_threadpool(service.intake.check_room)
    upload = await picture.read()
    mask = None if painted is None else await painted.read()
    return await run_in_threadpool(service.intake.accept, wanted, upload, mask)


async def _wait(request: Request, service: Service, job: Job, new: bool) -> Job | None:
    """The job when it is over, None when it is gone. Work that nobody waits for any more is not done."""
    latest: Job | None = job
    async with aclosing(service.feed.follow(job.id)) as looks:
        async for latest in looks:
            if latest is not None and not latest.over and new and await request.is_disconnected():
                if service.feed.followers(job.id) == 1:
                    with suppress(NoSuchJob):
                        await run_in_threadpool(service.drop, job.id)
                return None
    return latest


def _headers(job: Job) -> dict[str, str]:
    facts = job.outcome or {}
    stages = ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in facts["seconds"].items())
    total = f"total;dur={1000 * ((job.ended or 0.0) - (job.started or 0.0)):.1f}"
    return {
        "X-Seed": str(facts["seed"]),
        "X-Relume-Model": str(facts["model"]),
        "X-Relume-Job": job.id,
        "Server-Timing": f"{stages}, {total}" if stages else total,
    }
