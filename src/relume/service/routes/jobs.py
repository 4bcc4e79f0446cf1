r"""Ask and come back: a job is accepted at once, followed, fetched, cancelled, deleted."""

__all__ = ["router"]

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from relume import image as images
from relume.errors import NotReady
from relume.service.routes.answer import accept
from relume.service.routes.forms import PROBLEMS, JobAnswer, RestoreForm, picture_answer
from relume.service.service import Service, service_of
from relume.service.store import Job
from relume.tasks.compare import for_screen

router = APIRouter(prefix="/api/v1/jobs", tags=["ask and come back"])

Served = Annotated[Service, Depends(service_of)]
Part = Literal["result", "mask", "uncertainty"]


@router.post(
    "",
    status_code=202,
    response_model_exclude_none=True,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "the job"}}},
        **PROBLEMS(401, 413, 415, 422, 429, 503, 507),
    },
)
async def submit(
    form: Annotated[RestoreForm, Form(media_type="multipart/form-data")], service: Served, response: Response
) -> JobAnswer:
    """Accepts a picture for restoring. From here on it is done, whatever dies meanwhile.

    Sending the same picture with the same options again gives the same job.
    """
    job, _ = await accept(service, form.request(), form.picture, form.mask_picture)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return await _told(service, job)


@router.get("", response_model_exclude_none=True, responses=PROBLEMS(401, 503))
async def several(service: Served, id: Annotated[list[str], Query(max_length=200)]) -> list[JobAnswer]:
    """How far several jobs are; those that are gone are left out."""
    jobs = await run_in_threadpool(service.store.many, id)
    return [await _told(service, job) for job in jobs.values()]


@router.get("/{id}", response_model_exclude_none=True, responses=PROBLEMS(401, 404, 503))
async def state(id: str, service: Served) -> JobAnswer:
    """How far a job is."""
    return await _told(service, await service.job(id))


async def _known(id: str, service: Served) -> Job:
    """The job, before an answer begins that could not be taken back."""
    return await service.job(id)


@router.get("/{id}/events", response_class=EventSourceResponse, responses=PROBLEMS(401, 404, 503))
async def events(job: Annotated[Job, Depends(_known)], service: Served) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `state` whenever something changed, then one of `done`, `failed` and `deleted`.

    The data of the first three is the job as `GET /api/v1/jobs/{id}` gives it.
    """
    before: Job | None = None
    async with aclosing(service.feed.follow(job.id)) as looks:
        async for latest in looks:
            if latest is None:
                yield ServerSentEvent(event="deleted", data={"id": job.id})
                return
            if before is None or _shown(latest) != _shown(before):
                before = latest
                told = await _told(service, latest)
                name = latest.state if latest.over else "state"
                yield ServerSentEvent(event=name, data=told.model_dump(exclude_none=True))


@router.get(
    "/{id}/result",
    response_class=Response,
    responses={**picture_answer("the picture"), **PROBLEMS(401, 404, 409, 503)},
)
async def result(
    id: str,
    service: Served,
    part: Annotated[Part, Query(description="which part of the result")] = "result",
) -> Response:
    """The restored picture, or another part of the result."""
    job = await service.job(id)
    data, kind = await service.part(job, part)
    return Response(data, media_type=kind, headers={"X-Relume-Job": job.id})


@router.get(
    "/{id}/picture",
    response_class=Response,
    responses={**picture_answer("the picture, byte for byte"), **PROBLEMS(401, 404, 503)},
)
async def picture(id: str, service: Served) -> Response:
    """The picture as it was sent."""
    job = await service.job(id)
    return Response(await service.bytes_of(job, job.request["upload"]), media_type=job.request["type"])


@router.get(
    "/{id}/screen",
    response_class=Response,
    responses={**picture_answer("PNG or JPEG"), **PROBLEMS(401, 404, 409, 503)},
)
async def screen(id: str, service: Served, of: Literal["before", "after"]) -> Response:
    """The picture sent, or the result, as 8-bit sRGB that every browser shows."""
    job = await service.job(id)
    if of == "before":
        data = await service.bytes_of(job, job.request["upload"])
    else:
        data, _ = await service.part(job, "result")
    async with service.screens:
        kind, shown = await run_in_threadpool(lambda: for_screen(images.read(data)))
    return Response(shown, media_type=kind)


@router.get(
    "/{id}/preview",
    response_class=Response,
    responses={**picture_answer("JPEG, at most 640 pixels a side"), **PROBLEMS(401, 404, 409, 503)},
)
async def preview(id: str, service: Served) -> Response:
    """A small picture of the job while it runs."""
    job = await service.job(id)
    if not await run_in_threadpool(service.folders.has, job.folder, "preview.jpg"):
        await service.job(id)  # deleted a moment ago?
        raise NotReady("there is no preview yet")
    return Response(
        await run_in_threadpool(service.folders.read, job.folder, "preview.jpg"), media_type="image/jpeg"
    )


@router.delete("/{id}", status_code=204, responses=PROBLEMS(401, 404, 503))
async def delete(id: str, service: Served) -> None:
    """Cancels the job if it is not over, and deletes the picture, the result and all that is known of it."""
    await run_in_threadpool(service.drop, id)


def _shown(job: Job) -> tuple[Any, ...]:
    return job.state, job.progress, job.outcome


async def _told(service: Service, job: Job) -> JobAnswer:
    base = f"/api/v1/jobs/{job.id}"
    facts = job.outcome or {}
    done = job.state == "done"
    number = (job.progress or {}).get("preview", 0)
    return JobAnswer.model_validate(
        {
            "id": job.id,
            "state": job.state,
            "width": job.request["width"],
            "height": job.request["height"],
            "created": job.created,
            "ended": job.ended,
            "deleted_after": None if job.ended is None else job.ended + service.config.keep,
            "eta": await run_in_threadpool(service.seconds_left, job),
            "progress": job.progress,
            "problem": facts if job.state == "failed" else None,
            "parts": {part: f"{base}/result?part={part}" for part in facts["parts"]} if done else {},
            "preview": f"{base}/preview?{number}" if number else None,
            **({name: facts[name] for name in ("seed", "model", "damaged", "seconds")} if done else {}),
        }
    )
