r"""The client, against a real service and against services that misbehave."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.cli import main
from relume.client import Client
from relume.errors import (
    Busy,
    ImageTooLarge,
    NoSuchJob,
    NotReady,
    OutputExists,
    ServiceError,
    Unreachable,
    UnsupportedImage,
    UsageError,
)
from relume.image import Image


def photograph(path: Path, *, side: int = 70, seed: int = 0, format: str = "PNG") -> Path:
    levels = np.random.default_rng(seed).integers(0, 256, (side, side + 20, 3)) / 255
    return image.write(Image(levels.astype(np.float32), format=format), path)


def same(one: Path, other: Path) -> None:
    """The service runs the null engine, which gives back what it gets."""
    np.testing.assert_array_equal(image.read(one).pixels, image.read(other).pixels)


class TestCommand:
    def call(self, service: Any, *arguments: str | Path) -> int:
        part, *rest = map(str, arguments)
        return main(["client", part, *rest, "--server", service.address])

    def test_a_photograph_is_restored_beside_itself(
        self, service: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = photograph(tmp_path / "old.png", seed=1)
        wanted = ["--save-mask", tmp_path / "mask.png", "--save-uncertainty", tmp_path / "guess.png"]
        assert self.call(service, "restore", path, "--seed", "3", *wanted, "-v") == 0
        same(tmp_path / "old-restored.png", path)
        assert image.read(tmp_path / "mask.png").gray and image.read(tmp_path / "guess.png").bit_depth == 16
        told = capsys.readouterr().err
        assert "model tiny/1.0.0" in told and "job " in told and "%" in told
        assert not list(tmp_path.glob(".relume*"))

    def test_the_format_follows_the_name_and_the_mask_goes_there_and_back(
        self, service: Any, tmp_path: Path
    ) -> None:
        path = photograph(tmp_path / "old.png", seed=2)
        assert self.call(service, "mask", path) == 0
        mask = tmp_path / "old-mask.png"
        assert image.read(mask).gray
        out = tmp_path / "new.tif"
        assert self.call(service, "restore", path, "-o", out, "--mask", mask, "--preserve") == 0
        assert image.read(out).format == "TIFF"
        same(out, path)

    def test_nothing_is_replaced_and_nothing_is_sent_in_vain(
        self, service: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = photograph(tmp_path / "old.png", seed=3)
        before = set((service.data / "jobs").iterdir())
        photograph(tmp_path / "old-restored.png", seed=4)
        assert self.call(service, "restore", path) == OutputExists.exit_code
        assert "--overwrite" in capsys.readouterr().err
        assert self.call(service, "restore", path, "-o", path, "--overwrite") == UsageError.exit_code
        assert set((service.data / "jobs").iterdir()) == before
        assert self.call(service, "restore", path, "--overwrite", "--delete", "-q") == 0
        same(tmp_path / "old-restored.png", path)
        assert set((service.data / "jobs").iterdir()) == before, "--delete leaves nothing on the service"

    @pytest.mark.parametrize(
        ("content", "options", "code", "why"),
        [
            (b"no picture", [], 3, "not a picture|no picture|format"),
            (None, ["--steps", "99999"], 2, "steps"),
            (None, ["--fidelity", "0.5", "--steps", "9"], 2, "steps|chain|evaluations"),
        ],
    )
    def test_what_the_service_refuses_is_one_line(
        self,
        service: Any,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        content: bytes | None,
        options: list[str],
        code: int,
        why: str,
    ) -> None:
        path = photograph(tmp_path / "a.png", seed=5)
        if content is not None:
            path.write_bytes(content)
        assert self.call(service, "restore", path, *options) == code
        told = capsys.readouterr().err
        assert len(told.splitlines()) == 1 and re.search(why, told), told
        assert not (tmp_path / "a-restored.png").exists()

    def test_stdin_to_stdout(self, service: Any, tmp_path: Path) -> None:
        path = photograph(tmp_path / "old.png", seed=6)
        command = [sys.executable, "-m", "relume", "client", "restore", "-", "--server", service.address]
        done = subprocess.run(command, input=path.read_bytes(), capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(image.read(done.stdout).pixels, image.read(path).pixels)

    def test_an_interrupt_cancels_the_job_on_the_service(self, service: Any, tmp_path: Path) -> None:
        path = photograph(tmp_path / "old.png", side=1200, seed=7)
        before = set((service.data / "jobs").iterdir())
        command = [sys.executable, "-m", "relume", "client", "restore", str(path), "--samples", "16", "-v"]
        started = subprocess.Popen([*command, "--server", service.address], stderr=subprocess.PIPE, text=True)
        assert started.stderr is not None
        for line in started.stderr:
            if line.startswith("running"):
                break
        started.send_signal(signal.SIGINT)
        assert started.wait(60) == 130 and "interrupted" in started.stderr.read()
        started.stderr.close()
        assert set((service.data / "jobs").iterdir()) == before
        assert not (tmp_path / "old-restored.png").exists()

    def test_a_job_is_deleted_by_its_number(self, service: Any, tmp_path: Path) -> None:
        client = Client(service.address)
        id = client.submit(photograph(tmp_path / "a.png", seed=8).read_bytes())["id"]
        assert self.call(service, "delete", id) == 0
        assert self.call(service, "delete", id) == NoSuchJob.exit_code
        with pytest.raises(NoSuchJob):
            list(client.follow(id))


def test_a_token_is_shown_and_missed(
    serve: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = serve("--token", "open sesame", "--max-pixels", "2000")
    path = photograph(tmp_path / "a.png", side=30)
    monkeypatch.setenv("RELUME_SERVER", service.address)
    assert main(["client", "restore", str(path)]) == 2
    assert "token" in capsys.readouterr().err
    monkeypatch.setenv("RELUME_TOKEN", "open sesame")
    assert main(["client", "restore", str(path)]) == 0
    large = photograph(tmp_path / "b.png", side=60)
    with pytest.raises(ImageTooLarge):
        Client(service.address, token="open sesame").submit(large.read_bytes())


def test_a_service_that_is_killed_and_comes_back_is_followed_on(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relume.client._PAUSE", 0.05)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    first = serve("--port", port)
    path = photograph(tmp_path / "a.png", side=500, seed=9)
    client = Client(first.address)
    job = client.submit(path.read_bytes(), {"samples": 8})
    states = []
    for latest in client.follow(job["id"]):
        if latest["state"] == "running" and first.process.poll() is None:
            first.close()
            serve("--port", port)
        states.append(latest["state"])
    assert states[-1] == "done" and states.count("done") == 1
    (tmp_path / "b.png").write_bytes(client.result(job["id"]))
    same(tmp_path / "b.png", path)


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def odd_service(answers: list[Answer]) -> Iterator[str]:
    """Answers as it is told, one after another; the last one again and again."""

    class Odd(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def problem(status: int, **headers: str) -> Answer:
    return status, headers, json.dumps({"status": status, "detail": f"this is {status}"}).encode()


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (problem(401), UsageError, "this is 401"),
        (problem(409), NotReady, "this is 409"),
        (problem(415), UnsupportedImage, "this is 415"),
        (problem(500), ServiceError, "this is 500"),
        ((200, {"content-length": "999"}, b"short"), Unreachable, "in the middle"),
        ((404, {}, b"<html>"), NoSuchJob, "is that a relume service"),
        ((302, {"location": "http://example.invalid/"}, b""), ServiceError, "302"),
    ],
)
def test_every_bad_answer_is_an_error_of_ours(answer: Answer, kind: type[Exception], why: str) -> None:
    with odd_service([answer]) as address, pytest.raises(kind, match=why):
        Client(address, patience=0).result("a")


def test_a_full_queue_is_waited_for_as_long_as_there_is_patience() -> None:
    accepted = (202, {}, b'{"id": "a"}')
    with odd_service([problem(429, **{"retry-after": "0"}), problem(429), accepted]) as address:
        with pytest.raises(Busy) as refused:
            Client(address, patience=-1).submit(b"")
        assert refused.value.retry_after == 0
        assert Client(address).submit(b"") == {"id": "a"}


def test_nobody_there_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(Unreachable, match="is relume serve running there"):
        Client(address).submit(b"")
    for wrong in ("127.0.0.1:8000", "ftp://a", "http://", ""):
        with pytest.raises(UsageError, match="give one like"):
            Client(wrong)


def test_the_client_needs_no_optional_package() -> None:
    program = "import sys, relume.client, relume.cli.client; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment
    ).stdout.split()
    assert "relume.client" in loaded
    assert not {"fastapi", "sqlalchemy", "httpx", "numpy", "PIL"} & {name.split(".")[0] for name in loaded}
