r"""Which models the service works with."""

__all__ = ["router"]

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from relume.service.routes.forms import PROBLEMS
from relume.service.service import Service, service_of

router = APIRouter(prefix="/api/v1", tags=["models"])


class Model(BaseModel):
    """A model, as its card describes it."""

    name: str
    version: str
    task: str
    title: str = ""
    description: str = ""
    licence: str = ""
    hash: str
    steps: list[int] = []
    tile: dict[str, int] = {}
    precisions: list[str] = []


@router.get("/models", responses=PROBLEMS(401))
async def models(service: Annotated[Service, Depends(service_of)]) -> list[Model]:
    """The models of this service; the first is the one that works."""
    bundle = service.bundle
    card: dict[str, Any] = dict(bundle.card)
    facts = {name: card[name] for name in Model.model_fields if name in card}
    return [Model(**{**facts, "hash": bundle.hash})]
