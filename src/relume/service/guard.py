r"""What every request passes before a route sees it.

In this order: is it meant for us (Host), may that page call us (Origin), does the caller hold the token, is
the body small enough and does it keep coming. Then the answer gets its security headers, and is counted.
"""

__all__ = ["Guard"]

import asyncio
import hmac
import json
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relume.service.problems import MEDIA, problem
from relume.service.service import Service

FORM = 64 * 1024  # what a form may hold besides the pictures
IDLE = 30.0  # seconds without a byte after which an upload is given up
SLOWEST = 1024  # bytes a second of an upload, after its first IDLE seconds
LENGTH = 18  # digits of a length: more are none
LOCAL = {"localhost", "127.0.0.1", "::1"}
HEADERS = {
    # The page and all that it loads come from here, and nothing goes anywhere else.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """ASGI middleware round the whole application."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._limit = 2 * service.config.max_bytes + FORM  # the picture and its mask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        inner = scope
        if scope["method"] == "HEAD" and not scope["path"].endswith("/events"):  # these end with the job
            inner = {**scope, "method": "GET"}  # the web server sends the head alone
        brings = scope["method"] == "POST"
        self._service.answering += brings
        try:
            refused = self._refused(Headers(scope=scope), scope)
            if refused is None:
                await self._app(inner, self._counted(receive), answer)
            else:
                await _refuse(answer, *refused)
        finally:
            self._service.answering -= brings
            route = getattr(inner.get("route"), "path", "other")
            self._service.metrics.answered(scope["method"], route, status, time.perf_counter() - began)

    def _refused(self, headers: Headers, scope: Scope) -> tuple[int, str] | None:
        web = self._service.web
        host = _name(f"//{headers.get('host', '')}")
        if host not in LOCAL | {web.host, *web.hosts} and web.host not in ("0.0.0.0", "::"):
            return 421, "this service is not called that; start it with --allow-host NAME"
        origin = headers.get("origin")
        own = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}"
        if origin is not None and origin != own and origin not in web.origins:
            return 403, "pages of other sites may not call this service; start it with --cors ORIGIN"
        preflight = scope["method"] == "OPTIONS"
        if _is_private(scope["path"]) and not preflight and not self._may(headers):
            return 401, "give the token of this service: Authorization: Bearer TOKEN"
        length = headers.get("content-length", "0")
        digits = length.isascii() and length.isdigit() and len(length) <= LENGTH
        if not digits or int(length) > self._limit:
            return 413, f"an upload may have {self._service.config.max_bytes} bytes"
        return None

    def _may(self, headers: Headers) -> bool:
        token = self._service.web.token
        if token is None:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        shown = given.strip().encode("latin-1")  # a header's bytes, as they came
        return kind.lower() == "bearer" and hmac.compare_digest(shown, token.encode())

    def _counted(self, receive: Receive) -> Receive:
        taken, complete, began = 0, False, time.monotonic()

        async def receive_some() -> Message:
            nonlocal taken, complete
            if complete:  # what comes now is the end of the connection, whenever that is
                return await receive()
            left = began + IDLE + taken / SLOWEST - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, min(IDLE, left)))
            except TimeoutError as error:
                raise HTTPException(408, "the upload did not come on") from error
            taken += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if taken > self._limit:
                raise HTTPException(413, f"an upload may have {self._service.config.max_bytes} bytes")
            return message

        return receive_some


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _is_private(path: str) -> bool:
    return path.startswith("/api/") or path == "/metrics"


async def _refuse(send: Send, status: int, detail: str) -> None:
    headers = [(b"content-type", MEDIA.encode()), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(problem(status, detail)).encode()})
