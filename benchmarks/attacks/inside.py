r"""A service in this process, without a model, and how to ask it something without a network."""

__all__ = ["Answer", "Site"]

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from relume import Restorer
from relume.service.app import make_app
from relume.service.config import Config, Web
from relume.service.service import Service
from relume.service.worker import Worker

PATIENCE = 120.0  # seconds


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Site:
    """The application, and one worker with the null engine in a thread."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        config = Config(data=folder / "data", model="photo", engine="null", **limits)
        self.service = Service.open(config, Web())
        self.app = make_app(self.service)
        restorer = Restorer("photo", engine="null")
        self.worker = Worker(config, self.service.store, self.service.folders, restorer)
        self._thread = threading.Thread(target=self.worker.run, daemon=True)
        self._thread.start()
        self._loop = asyncio.new_event_loop()

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: bytes = b"",
        headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]] = (),
        body: Sequence[bytes] = (),
    ) -> Answer:
        """One request, its body in these pieces. Raises :class:`TimeoutError` when no answer comes."""
        return self._loop.run_until_complete(
            asyncio.wait_for(self._ask(method, path, query, headers, list(body)), PATIENCE)
        )

    async def _ask(self, method: str, path: str, query: bytes, headers: Any, body: list[bytes]) -> Answer:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        raw = [tuple(v.encode("latin-1") if isinstance(v, str) else v for v in pair) for pair in pairs]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode("utf-8", "replace"),
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"localhost"), *raw],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        left, said, found = [*body, b""], {"status": 0, "headers": []}, bytearray()

        async def receive() -> dict[str, Any]:
            if not left:
                await asyncio.sleep(2 * PATIENCE)  # the caller waits for its answer
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                said.update(message)
            else:
                found.extend(message.get("body", b""))

        await self.app(scope, receive, send)
        names = {name.decode("latin-1"): value.decode("latin-1") for name, value in said["headers"]}
        return Answer(said["status"], names, bytes(found))

    def close(self) -> None:
        """Ends the worker."""
        self.worker.leave.set()
        self._thread.join()
        self.service.store.close()
        self._loop.close()
