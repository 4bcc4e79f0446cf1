r"""Running it: the web server in this process, workers in others, and an orderly end."""

__all__ = ["Server", "serve", "work"]

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn

from relume.errors import RelumeError, ServiceError, UsageError
from relume.service.app import make_app
from relume.service.config import Config, Web
from relume.service.connections import Connection, room_for_connections
from relume.service.leases import Observer
from relume.service.opening import open_folders, url_of
from relume.service.service import Service
from relume.service.store import Store
from relume.service.sweep import Sweeper
from relume.service.worker import Worker
from relume.service.workers import Workers
from relume.tasks import Restorer

log = logging.getLogger("relume.service")

SWEEP = 30.0  # seconds between two looks for what is over
NICE = 5  # by which a worker gives way to the server beside it: who is refused should not wait for a picture


def serve(config: Config, web: Web, *, worker: Sequence[str], told: Callable[[str], None]) -> None:
    """Serves until asked to stop by SIGINT or SIGTERM; a second signal ends it at once.

    Parameters
    ----------
    worker:
        The command of one worker process; the number of this process is added to it.
    told:
        Called with the address once the service listens.

    Raises
    ------
    UsageError
        Nothing can listen there.
    ServiceError
        No worker can start.
    """
    service = Service.open(config, web)
    listening = _listen(web)
    command = [*worker, "--parent", str(os.getpid())]
    observer = Observer(service.store, lease=config.lease, attempts=config.attempts)
    options = uvicorn.Config(
        make_app(service),
        log_config=None,
        access_log=False,  # addresses hold nothing that is needed, and less is kept
        server_header=False,
        http=Connection,
        limit_concurrency=room_for_connections(),
        timeout_graceful_shutdown=2,
    )
    server = Server(options, service)
    workers = Workers(
        command,
        web.workers,
        died=lambda: _quietly(lambda: observer.look(service.clock.now())),
        hopeless=server.give_up,
    )
    service.alive = lambda: workers.alive
    over = threading.Event()
    sweeper = threading.Thread(target=_sweep, args=(service, over), daemon=True, name="sweeper")
    workers.start()
    sweeper.start()
    try:
        told(_address(listening))
        server.run(sockets=[listening])
    finally:
        over.set()
        workers.stop(0.0 if server.hurried else max(0.0, server.deadline - time.monotonic()))
        service.store.close()
    if server.hopeless:
        raise ServiceError("no worker can start, for the reason above; relume doctor tells what runs here")


class Server(uvicorn.Server):
    """Takes nothing new after the first signal, and ends when what was being answered is answered."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self.hurried = self.hopeless = False
        self.deadline = time.monotonic()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, the second brings it about."""
        if self._service.draining.is_set():
            self.hurried = self.should_exit = True
            return
        log.info("draining: nothing new is taken")
        self._service.draining.set()
        self.deadline = time.monotonic() + self._service.web.drain
        asyncio.get_event_loop().create_task(self._drain())

    def give_up(self) -> None:
        """Ends it all: there will never be a worker."""
        self.hopeless = self.should_exit = True

    async def _drain(self) -> None:
        while time.monotonic() < self.deadline and self._service.answering > 0:
            await asyncio.sleep(0.05)
        self.should_exit = True


def work(config: Config, *, parent: int | None = None) -> None:
    """Works on the jobs of a table until asked to stop; a second signal ends the present job, too.

    Raises
    ------
    BundleError, EngineError
        The model cannot be had or run.
    """
    if parent is not None:  # before there are other threads, which would keep theirs
        os.nice(NICE)
    folders = open_folders(config)
    store = Store(url_of(config))
    restorer = Restorer(
        config.model,
        engine=config.engine,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        force=config.force,
        measure=True,
        calls=config.calls,
    )
    restorer.bundle.verify()
    worker = Worker(config, store, folders, restorer, parent=parent)

    def leave(number: int, frame: FrameType | None) -> None:
        (worker.stop if worker.leave.is_set() else worker.leave).set()

    signal.signal(signal.SIGTERM, leave)
    # A person's Ctrl-C reaches all processes of the terminal; the server tells its workers by itself.
    signal.signal(signal.SIGINT, leave if parent is None else signal.SIG_IGN)
    log.info("worker ready: %s on %s", restorer.engine.name, restorer.engine.device)
    worker.run()
    store.close()


def _sweep(service: Service, over: threading.Event) -> None:
    sweeper = Sweeper(service.store, service.folders, service.clock, keep=service.config.keep)
    wait = min(SWEEP, service.config.keep / 4)
    while True:
        _quietly(sweeper.sweep)
        if over.wait(wait):
            return


def _quietly(what: Callable[[], object]) -> None:
    try:
        what()
    except RelumeError as error:
        log.warning("%s", error)


def _listen(web: Web) -> socket.socket:
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((web.host, web.port))
    except OSError as error:
        listening.close()
        reason = error.strerror or error
        raise UsageError(f"cannot listen on {web.host}:{web.port} ({reason}): give another --port") from error
    listening.listen(2048)
    listening.set_inheritable(False)
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
