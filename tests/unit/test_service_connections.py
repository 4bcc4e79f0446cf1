r"""Those who take their time, or come in great number, take nothing from the others."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

import uvicorn

from relume.service import connections
from relume.service.connections import Connection, room_for_connections

BIG = 40_000_000  # bytes: more than all buffers between here and there


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once; with very much where that is asked for."""
    if scope["type"] == "http":
        size = BIG if scope["path"] == "/big" else 2
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]}
        )
        await send({"type": "http.response.body", "body": bytes(size)})


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], socket.socket]]:
    for name, value in {"HEAD": 2.0, "TAKE": 1.0, "WAITING": 8}.items():
        monkeypatch.setattr(connections, name, value)
    options = uvicorn.Config(app, port=0, http=Connection, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(options)
    listening = options.bind_socket()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()

    def connect() -> socket.socket:
        client = socket.create_connection(listening.getsockname(), timeout=60)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        return client

    while not server.started:
        time.sleep(0.01)
    yield connect
    server.should_exit = server.force_exit = True
    thread.join()
    listening.close()


def ask(client: socket.socket, path: str = "/") -> bytes:
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client.recv(1000)


def ends(client: socket.socket) -> bool:
    """Whether the other side ends the connection, within the minute that the socket waits."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def test_a_head_that_does_not_end_is_given_up(site: Callable[[], socket.socket]) -> None:
    with site() as silent, site() as dripping:
        over = threading.Event()

        def drip() -> None:
            try:
                for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000:
                    dripping.sendall(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                over.set()

        threading.Thread(target=drip, daemon=True).start()
        assert ends(silent) and over.wait(30)


def test_a_connection_may_rest_between_requests_but_not_for_ever(site: Callable[[], socket.socket]) -> None:
    with site() as client:
        for _ in range(2):
            answer = ask(client)
            while not answer.partition(b"\r\n\r\n")[2]:  # the body may come by itself, later
                answer += client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
        assert ends(client)


def test_an_answer_that_is_not_taken_is_given_up(site: Callable[[], socket.socket]) -> None:
    with site() as client:
        assert ask(client, "/big").startswith(b"HTTP/1.1 200")
        time.sleep(4)
        taken = 0
        try:
            while some := client.recv(1 << 20):
                taken += len(some)
        except ConnectionError:
            pass
        assert taken < BIG


def test_an_answer_that_is_taken_slowly_comes_whole(site: Callable[[], socket.socket]) -> None:
    with site() as client:
        taken = len(ask(client, "/big"))
        while taken < BIG:
            some = client.recv(1 << 20)
            assert some
            taken += len(some)


def test_the_many_that_wait_make_room_for_who_asks(site: Callable[[], socket.socket]) -> None:
    crowd = [site() for _ in range(60)]
    try:
        with site() as client:
            assert ask(client).startswith(b"HTTP/1.1 200")
    finally:
        for each in crowd:
            each.close()


def test_there_is_room_for_as_many_as_the_system_allows() -> None:
    assert 0 < room_for_connections() <= connections.FILES // 2
