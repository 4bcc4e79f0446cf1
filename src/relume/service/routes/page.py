r"""The page, and the few files it is made of."""

__all__ = ["FILES", "router"]

from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from relume.tasks.compare import SLIDER

router = APIRouter(include_in_schema=False)

_PAGE = files("relume.service") / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

FILES: dict[str, Traversable] = {
    **{each.name: each for each in _PAGE.iterdir() if each.name.endswith(tuple(_KINDS))},
    **SLIDER,  # the same as on the pages of ``relume compare``
}
"""What the page is made of; nothing else is handed out."""


@router.get("/")
async def index() -> Response:
    """The page."""
    return _file("index.html")


@router.get("/page/{name}")
async def part(name: str) -> Response:
    """A style or script of the page."""
    return _file(name)


def _file(name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404, "there is no such file")
    kind = _KINDS[name[name.rindex(".") :]]
    headers = {"cache-control": "no-cache"}
    return Response(FILES[name].read_bytes(), media_type=f"{kind}; charset=utf-8", headers=headers)
