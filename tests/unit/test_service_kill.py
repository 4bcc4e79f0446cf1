r"""Real processes, killed: no accepted job is lost, no result is there twice."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.image import Image

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

# 32 evaluations of each of many tiles are seconds of work, even for an engine that does nothing.
LARGE, DRAWS = 640, 8


def png(side: int = 40, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(1, side // 8), max(1, side // 8), 3))
    levels = small.repeat(8, axis=0).repeat(8, axis=1)
    return image.encode(Image((levels / 255).astype(np.float32)))


def submit(service: Any, picture: bytes, **options: Any) -> str:
    status, _, body = service.send("/api/v1/jobs", picture, **{"samples": DRAWS, **options})
    assert status == 202, body
    return str(json.loads(body)["id"])


def check(service: Any, id: str, picture: bytes) -> None:
    """The result is what the null engine makes of the picture: the picture itself."""
    status, _, body = service.call(f"/api/v1/jobs/{id}/result")
    assert status == 200
    np.testing.assert_array_equal(image.read(body).pixels, image.read(picture).pixels)


def results(data: Path) -> int:
    return len(list((data / "jobs").glob("*/result.json")))


def is_running(job: dict[str, Any]) -> bool:
    return bool(job["state"] == "running" and job.get("progress", {}).get("tile", 0) > 1)


def is_done(job: dict[str, Any]) -> bool:
    assert job["state"] != "failed", job
    return bool(job["state"] == "done")


def test_a_killed_worker_is_replaced_and_its_job_is_done(serve: Callable[..., Any], tmp_path: Path) -> None:
    service = serve("-v")
    pictures = [png(LARGE, 1), png(40, 2)]
    ids = [submit(service, picture) for picture in pictures]
    service.until(ids[0], is_running)
    (worker,) = service.workers()
    server = service.process.pid
    assert os.getpriority(os.PRIO_PROCESS, worker) > os.getpriority(os.PRIO_PROCESS, server)
    os.kill(worker, signal.SIGKILL)
    for id, picture in zip(ids, pictures, strict=True):
        service.until(id, is_done)
        check(service, id, picture)
    assert results(tmp_path / "data") == 2 and service.workers() != [worker]
    # It says what it does, and nothing about the pictures.
    assert any("is done" in line for line in service.lines)
    assert "grandmother" not in "".join(service.lines)


def test_a_killed_server_loses_nothing(serve: Callable[..., Any], tmp_path: Path) -> None:
    first = serve()
    pictures = [png(LARGE, 1), png(40, 2), png(41, 3)]
    ids = [submit(first, picture) for picture in pictures]
    first.until(ids[0], is_running)
    first.process.kill()
    first.process.wait()
    second = serve()
    for id, picture in zip(ids, pictures, strict=True):
        second.until(id, is_done)
        check(second, id, picture)
    assert results(tmp_path / "data") == 3
    # Sending one of them again finds it done.
    assert submit(second, pictures[0]) == ids[0]
    assert second.job(ids[0])["state"] == "done"


def test_killing_all_at_many_moments(serve: Callable[..., Any], tmp_path: Path) -> None:
    """Server and worker die together, at another moment each time; what was accepted is done in the end."""
    accepted: dict[str, bytes] = {}
    for wait in (0.0, 0.15, 0.4):
        service = serve()
        for _ in range(2):
            picture = png(400, len(accepted))
            accepted[submit(service, picture, samples=1)] = picture
        time.sleep(wait)
        service.close()
    service = serve()
    for id, picture in accepted.items():
        service.until(id, is_done)
        check(service, id, picture)
    assert results(tmp_path / "data") == len(accepted) == 6
    counts = service.call("/metrics")[2].decode()
    assert 'relume_jobs{state="done"} 6.0' in counts and 'relume_jobs_ended_total{state="done"} 6.0' in counts


def test_an_orderly_end_answers_503_finishes_and_keeps_the_rest(serve: Callable[..., Any]) -> None:
    first = serve("--drain", "60s")
    pictures = [png(LARGE, 1), png(40, 2)]
    ids = [submit(first, picture) for picture in pictures]
    first.until(ids[0], is_running)
    status = 0
    answers: list[Any] = []
    # A request that waits for its answer keeps the server up while it drains.
    waiting = threading.Thread(
        target=lambda: answers.append(first.send("/api/v1/restore", pictures[0], samples=DRAWS))
    )
    waiting.start()
    time.sleep(0.3)
    first.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    while status != 503 and time.monotonic() < deadline:
        status, headers, _ = first.call("/readyz")
    assert status == 503 and int(headers["retry-after"]) > 0
    status, headers, body = first.send("/api/v1/jobs", png(50, 9))
    assert status == 503 and headers["content-type"] == "application/problem+json", body
    waiting.join(60)
    assert first.process.wait(60) == 0 and answers[0][0] == 200
    second = serve()
    for id, picture in zip(ids, pictures, strict=True):
        second.until(id, is_done)
        check(second, id, picture)


def test_cancelling_stops_a_running_job_and_deletes_it(service: Any) -> None:
    before = set((service.data / "jobs").iterdir())
    id = submit(service, png(2 * LARGE, 1), samples=16)
    service.until(id, is_running)
    assert service.call(f"/api/v1/jobs/{id}", method="DELETE")[0] == 204
    assert service.call(f"/api/v1/jobs/{id}")[0] == 404
    # The worker is free again, long before sixteen samples could be drawn.
    small = submit(service, png(40, 2))
    service.until(small, is_done, seconds=20)
    assert service.call(f"/api/v1/jobs/{small}", method="DELETE")[0] == 204
    assert set((service.data / "jobs").iterdir()) == before


def test_two_workers_on_postgresql_one_killed(
    serve: Callable[..., Any], postgres: str, tmp_path: Path
) -> None:
    """The table in PostgreSQL, the pictures in a folder that both workers see."""
    service = serve("--database", postgres, "--workers", "2")
    pictures = [png(LARGE, 1), png(LARGE, 2), png(40, 3)]
    ids = [submit(service, picture) for picture in pictures]
    for id in ids[:2]:
        service.until(id, is_running)
    os.kill(service.workers()[0], signal.SIGKILL)
    for id, picture in zip(ids, pictures, strict=True):
        service.until(id, is_done)
        check(service, id, picture)
    assert results(tmp_path / "data") == 3 and not list((tmp_path / "data").glob("*.db"))
    for id in ids:
        assert service.call(f"/api/v1/jobs/{id}", method="DELETE")[0] == 204


def test_who_hangs_up_ends_the_work_and_leaves_nothing(service: Any) -> None:
    host, port = service.address.removeprefix("http://").split(":")
    form = b"--x\r\nContent-Disposition: form-data; name=samples\r\n\r\n16\r\n--x\r\n"
    form += (
        b"Content-Disposition: form-data; name=picture; filename=a\r\n\r\n" + png(LARGE, 5) + b"\r\n--x--\r\n"
    )
    head = f"POST /api/v1/restore HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(form)}\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    jobs = service.data / "jobs"
    before = set(jobs.iterdir())

    def wait(met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not met():
            assert time.monotonic() < deadline, "".join(service.lines)
            time.sleep(0.02)

    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + form)
        wait(lambda: any((folder / "preview.jpg").exists() for folder in set(jobs.iterdir()) - before))
    wait(lambda: set(jobs.iterdir()) == before)
    assert 'relume_jobs{state="running"} 0.0' in service.call("/metrics")[2].decode()


def test_an_engine_that_cannot_run_ends_the_service_with_its_reason(serve: Callable[..., Any]) -> None:
    service = serve("--engine", "null", "--device", "cuda")
    assert service.process.wait(60) == 1
    said = "".join(service.lines)
    assert "engine null has no device cuda" in said and "no worker can start" in said


def test_a_port_that_is_taken_is_an_error(service: Any, serve: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="give another --port"):
        serve("--port", service.address.rsplit(":", 1)[1])
