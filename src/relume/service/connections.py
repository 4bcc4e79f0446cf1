r"""Connections that take their time: how long one may stand open without asking for something or taking it.

The application sees a request only once its head is complete. What goes on before, and whether an answer is
taken, only the connection knows. Three rules, so that nobody can hold the service by doing nothing:

- the head of a request is complete ``HEAD`` seconds after the connection or the answer before it;
- an answer is taken at least a little every ``TAKE`` seconds;
- of connections that wait for a head there are at most ``WAITING``: the next one takes the place of the
  oldest.
"""

__all__ = ["Connection", "room_for_connections"]

import asyncio
import logging
from contextlib import suppress
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger("relume.service")

HEAD = 15.0  # seconds
TAKE = 60.0  # seconds
WAITING = 512
FILES = 4096  # that the service would like to be able to have open at once


class Connection(H11Protocol):
    """One connection to the web server."""

    _waiting: ClassVar[dict["Connection", None]] = {}  # of this process, the oldest first

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._late: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first head."""
        super().connection_made(transport)
        self._attend()
        if len(self._waiting) > WAITING:
            next(iter(self._waiting))._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets it."""
        self._rest()
        self._taken()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """What has come is looked at; from the head to the end of the answer nobody is waited for."""
        super().handle_events()
        self._attend()

    def on_response_complete(self) -> None:
        """Waits for the next head."""
        super().on_response_complete()
        self._attend()

    def pause_writing(self) -> None:
        """The client does not take what was sent as quickly as it is made."""
        super().pause_writing()
        self._taken()
        self._look(None)
        self._attend()

    def resume_writing(self) -> None:
        """It took nearly all of it."""
        super().resume_writing()
        self._taken()
        self._attend()

    def _look(self, before: int | None) -> None:
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before:
            self._give_up()
        else:
            self._stuck = self.loop.call_later(TAKE, self._look, left)

    def _taken(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _attend(self) -> None:
        asked = self.cycle is not None and not self.cycle.response_complete
        taking = self._stuck is not None  # the answer is made, and on its way
        if asked or taking or self.transport.is_closing():
            self._rest()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD, self._give_up)
            self._waiting[self] = None

    def _rest(self) -> None:
        self._waiting.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._rest()
        self.transport.abort()


def room_for_connections() -> int:
    """How many connections may be open at once; the bound on open files is raised for them if it may be.

    Half of the files are left to uploads, results and the job table.
    """
    try:
        import resource
    except ImportError:  # not on this system
        return FILES // 8
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return (FILES if soft == resource.RLIM_INFINITY else min(soft, FILES)) // 2
