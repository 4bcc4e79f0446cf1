r"""What is sent, and what comes back besides pictures: forms, answers, and how they are documented."""

__all__ = ["JobAnswer", "MaskForm", "PROBLEMS", "Problem", "Progress", "RestoreForm", "picture_answer"]

from typing import Any, Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field

from relume.service.problems import MEDIA
from relume.service.request import Request
from relume.tasks import Shading, Tone

_SEED = 2**53 - 1  # what JSON's numbers hold exactly


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    picture: UploadFile = Field(
        description="JPEG, PNG, TIFF, WebP, BMP, HEIC or camera RAW, told by its content"
    )
    tile: int | None = Field(
        None, ge=16, le=2048, description="side of the tiles; the model's own by default"
    )


class MaskForm(_Form):
    """Find the damage."""

    def request(self) -> Request:
        """As the worker takes it."""
        return Request(kind="mask", tile=self.tile)


class RestoreForm(_Form):
    """Restore a picture. Everything but the picture may be left out."""

    mask_picture: UploadFile | None = Field(
        None, description="where the damage is: a gray picture of the same size, white = damaged"
    )
    mask: Literal["auto", "none", "twice"] = Field(
        "auto",
        description="auto: the model finds the damage by itself; twice: and is told in a second pass what it "
        "surely found, whose answer is taken there (blots pale more, twice the time); none: no damage",
    )
    steps: int | None = Field(None, ge=1, le=100, description="evaluations per tile")
    seed: int = Field(0, ge=0, le=_SEED, description="decides all noise", examples=[0])
    fidelity: float = Field(
        1.0, ge=0, le=1, description="1: the expected picture; less: sharper", examples=[1.0]
    )
    preserve: bool = Field(False, description="keep every pixel away from the damage, but for its tone")
    tone: Tone = Field(
        "revive",
        description="revive: contrast and lost colours come back; neutral: and a sepia print becomes grey; "
        "keep: tone and colour stay",
    )
    shading: Shading = Field(
        "even", description="even: uneven light and fading are undone as far as they are seen; keep: not"
    )
    strength: float = Field(1.0, ge=0, le=1, description="1: the restored picture; less: so far towards it")
    samples: int = Field(1, ge=1, le=16, description="plausible pictures whose mean is the result")
    uncertainty: bool = Field(False, description="also find where the result is a guess")
    format: Literal["JPEG", "PNG", "TIFF", "WEBP", "BMP", "HEIF"] | None = Field(
        None, description="of the result; the picture's own by default"
    )
    bit_depth: Literal["8", "16"] | None = Field(
        None, description="bits a channel; the picture's own by default"
    )
    quality: int = Field(95, ge=1, le=100, description="of JPEG, WebP and HEIF")
    keep_metadata: bool = Field(True, description="EXIF, colour profile and resolution go over to the result")

    def request(self) -> Request:
        """As the worker takes it."""
        facts = self.model_dump(exclude={"picture", "mask_picture", "bit_depth"})
        return Request(**facts, bit_depth=None if self.bit_depth is None else int(self.bit_depth))


class Progress(BaseModel):
    """How far a job is. Counts start at 1."""

    step: int
    steps: int
    tile: int
    tiles: int
    sample: int
    samples: int
    share: float = Field(description="of all evaluations, 0 … 1")
    eta: float = Field(description="seconds that are left")
    preview: int = Field(description="number of the latest preview; 0: there is none")


class Problem(BaseModel):
    """A problem (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class JobAnswer(BaseModel):
    """A job."""

    id: str = Field(description="the idempotency key: the same picture and options give the same")
    state: Literal["queued", "running", "done", "failed"]
    width: int
    height: int
    created: float = Field(description="seconds since 1970")
    ended: float | None = None
    deleted_after: float | None = Field(None, description="when it is deleted by itself, seconds since 1970")
    eta: float | None = Field(None, description="seconds until it is done, by the measured rate")
    progress: Progress | None = None
    problem: Problem | None = None
    parts: dict[str, str] = Field({}, description="the parts of the result and where they are")
    preview: str | None = Field(None, description="where a small picture of it is")
    seed: int | None = None
    model: str | None = None
    damaged: float | None = Field(None, description="the share of the picture that is damaged")
    seconds: dict[str, float] | None = Field(None, description="what each stage took")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "5f0c9b2d6a1e4c7f8e3b9a0d1c2f4e6a",
                    "state": "running",
                    "width": 3000,
                    "height": 2000,
                    "created": 1790000000.0,
                    "eta": 4.2,
                    "progress": {
                        "step": 1,
                        "steps": 1,
                        "tile": 7,
                        "tiles": 35,
                        "sample": 1,
                        "samples": 1,
                        "share": 0.2,
                        "eta": 4.2,
                        "preview": 3,
                    },
                    "preview": "/api/v1/jobs/5f0c9b2d6a1e4c7f8e3b9a0d1c2f4e6a/preview?3",
                }
            ]
        }
    )


_SAID = {
    400: "the form is damaged",
    401: "the token is missing or wrong",
    403: "a page of another site calls",
    404: "there is no such job",
    408: "the upload did not come on",
    409: "there is no result, not yet or not at all",
    413: "too many bytes or pixels",
    415: "not a picture of a kind that is read",
    421: "the service is called by a name that is not its own",
    422: "the picture is damaged, or an option is wrong",
    429: "the queue is full; Retry-After says when to come back",
    503: "about to stop, or the job table is away",
    507: "no room is left",
}


def PROBLEMS(*statuses: int) -> dict[int | str, dict[str, Any]]:  # noqa: N802
    """How these problems are documented."""
    return {
        status: {
            "description": _SAID[status],
            "content": {
                MEDIA: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": "about:blank",
                        "title": "Error",
                        "status": status,
                        "detail": _SAID[status],
                    },
                }
            },
        }
        for status in statuses
    }


def picture_answer(what: str) -> dict[int | str, dict[str, Any]]:
    """How an answer that is a picture is documented."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    headers = {
        "X-Seed": {"schema": {"type": "integer"}, "description": "the seed that made it"},
        "X-Relume-Model": {"schema": {"type": "string"}, "description": "model and version"},
        "X-Relume-Job": {"schema": {"type": "string"}, "description": "the job, to delete it by"},
        "Server-Timing": {"schema": {"type": "string"}, "description": "milliseconds of each stage"},
    }
    return {200: {"description": what, "content": {"image/*": binary}, "headers": headers}}
