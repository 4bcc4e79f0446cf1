r"""A real ``relume serve`` on the loopback address, and clients that mean it no good."""

__all__ = ["half_open", "memory", "names", "overload", "slow"]

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from relume import image as images
from relume.image import Image

TRAVERSAL = (
    "../../x",
    "/etc/passwd",
    "..\\..\\x",
    "....//x",
    "%2e%2e%2fx",
    "a\0b",
    "C:\\x",
    "~/x",
    "x" * 4000,
)
OUTSIDE = ("/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "//etc/passwd", "/page//etc/passwd")


class Served:
    """The service in a process of its own, with the null engine."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "relume", "serve", "--port", "0", "--data", str(folder / "data")]
        command += ["--engine", "null", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stderr is not None
        address = next(line for line in self.process.stderr if " listens on " in line).split()[-1]
        self.host, _, port = address.removeprefix("http://").rpartition(":")
        self.port = int(port)
        threading.Thread(target=lambda: list(self.process.stderr or ()), daemon=True).start()

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept."""
        return http.client.HTTPConnection(self.host, self.port, timeout=120)

    def socket(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection((self.host, self.port), timeout=120)

    def resident(self) -> int:
        """Bytes of memory of the server process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def served(*options: str) -> Iterator[Served]:
    """A service that ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        site = Served(Path(folder), *options)
        try:
            yield site
        finally:
            os.killpg(site.process.pid, signal.SIGKILL)  # the group that was made for it: server and workers
            site.process.wait()


def form(picture: bytes, name: str = "a.png", **fields: object) -> tuple[bytes, dict[str, str]]:
    """A multipart body, and its headers."""
    head = f'--x\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\n\r\n'
    body = head.encode() + picture + b"\r\n"
    for key, value in fields.items():
        body += f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
    return body + b"--x--\r\n", {"content-type": "multipart/form-data; boundary=x"}


def picture(side: int, seed: int) -> bytes:
    """A PNG of that size."""
    levels = np.random.default_rng(seed).random((side, side, 3), dtype=np.float32)
    return images.encode(Image(levels), format="PNG")


def ask(
    to: http.client.HTTPConnection, method: str, path: str, *sent: Any
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    to.request(method, path, *sent)
    answer = to.getresponse()
    return answer.status, dict(answer.headers), answer.read()


def _healthy(site: Served, times: int, *, wait: float = 0.0) -> dict[str, Any]:
    """New connections that ask something, beside all that goes on."""
    statuses: Counter[str] = Counter()
    slowest = 0.0
    for seed in range(times):
        began = time.monotonic()
        try:
            with closing(site.connect()) as client:
                statuses[str(ask(client, "GET", "/healthz")[0])] += 1
            with closing(site.connect()) as client:
                statuses[str(ask(client, "POST", "/api/v1/jobs", *form(picture(16, seed)))[0])] += 1
        except OSError as error:
            statuses[type(error).__name__] += 1
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(wait)
    return {"statuses": dict(statuses), "slowest_seconds": round(slowest, 3)}


def half_open(folder: Path, share: float) -> dict[str, Any]:
    """Connections that send half of a head and no more, while others ask."""
    count = max(50, round(1000 * share))
    with served() as site:
        crowd = [site.socket() for _ in range(count)]
        try:
            for each in crowd[::2]:
                _send(each, b"GET /healthz HTTP/1.1\r\nHost: local")
            return {"connections": count, "others": _healthy(site, max(3, round(50 * share)))}
        finally:
            for each in crowd:
                each.close()


def slow(folder: Path, share: float) -> dict[str, Any]:
    """Heads and bodies that come a byte a second, while others ask."""
    count, seconds = max(20, round(400 * share)), 90 * max(share, 0.5)
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9999
    upload = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n"
    upload += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    with served() as site:
        crowd = [site.socket() for _ in range(count)]
        for each in crowd[::2]:
            each.sendall(upload)
        open_, began, over = set(crowd), time.monotonic(), threading.Event()

        def drip() -> None:
            at = 0
            while not over.wait(1.0):
                for number, each in enumerate(crowd):
                    if each in open_ and not _send(each, b"x" if number % 2 == 0 else head[at : at + 1]):
                        open_.discard(each)
                at += 1

        dripping = threading.Thread(target=drip)
        dripping.start()
        others = _healthy(site, max(3, round(40 * share)), wait=0.2)
        over.wait(max(0.0, seconds - (time.monotonic() - began)))
        over.set()
        dripping.join()
        for each in crowd:
            each.close()
        return {"connections": count, "given_up": count - len(open_), "others": others}


def _send(to: socket.socket, data: bytes) -> bool:
    try:
        to.sendall(data)
    except OSError:
        return False
    return True


def names(folder: Path, share: float) -> dict[str, Any]:
    """Names of files and addresses that point out of their folder."""
    statuses: Counter[str] = Counter()
    with served() as site, closing(site.connect()) as client:
        before = _files(site.folder)
        for seed, name in enumerate(TRAVERSAL):
            statuses[str(ask(client, "POST", "/api/v1/jobs", *form(picture(16, seed), name))[0])] += 1
        stored = [path for path in _files(site.folder) - before if "/data/" not in path]
        read = [path for path in OUTSIDE if ask(client, "GET", path)[0] != 404]
        ids = [f"/api/v1/jobs/{id}/result" for id in ("..", "..%2f..%2fx", "%00", "%2e%2e%2fjobs.db")]
        read += [path for path in ids if ask(client, "GET", path)[0] != 404]
        told = [p for p in _files(site.folder) if any(name in p for name in ("passwd", "C:"))]
    return {
        "tried": len(TRAVERSAL) + len(OUTSIDE) + len(ids),
        "statuses": dict(statuses),
        "written_outside": stored + told,
        "read_outside": read,
    }


def _files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def memory(folder: Path, share: float) -> dict[str, Any]:
    """The server's memory after a first thousand requests, and after 10,000 more of the same kinds."""
    count = max(200, round(10_000 * share))
    warm = count // 5
    with served("--keep", "1h") as site, closing(site.connect()) as client:
        statuses: Counter[str] = Counter()
        levels = []
        for number in range(warm + count + 1):
            if number in (warm, warm + count):
                levels.append(site.resident())
            statuses[str(_mixed(client, number))] += 1
    growth = 100 * (levels[1] / levels[0] - 1)
    return {
        "requests": count,
        "warm_up": warm,
        "mib": [round(level / 2**20, 1) for level in levels],
        "growth_percent": round(growth, 2),
        "statuses": dict(statuses),
    }


def _mixed(client: http.client.HTTPConnection, number: int) -> int:
    """A job and its deletion, a look, a picture that is none, a wrong method."""
    kind = number % 8
    if kind in (0, 1):
        status, _, body = ask(client, "POST", "/api/v1/jobs", *form(picture(16, number)))
        if status == 202:
            ask(client, "DELETE", f"/api/v1/jobs/{json.loads(body)['id']}")
        return status
    if kind == 2:
        return ask(client, "POST", "/api/v1/jobs", *form(b"no picture %d" % number))[0]
    if kind == 3:
        return ask(client, f"M{number}", "/api/v1/jobs")[0]
    path = ("/healthz", f"/api/v1/jobs/{number:032x}", f"/nowhere/{number}", "/api/v1/models")[kind - 4]
    return ask(client, "GET", path)[0]


def overload(folder: Path, share: float) -> dict[str, Any]:
    """Twice as many jobs as can be done: what is refused, how soon, and how it is afterwards."""
    side, seconds = 256, max(8.0, 60 * share)
    with served("--max-queue", str(8 * side * side), "--keep", "1h") as site:
        capacity = _capacity(site, side, seconds / 2)
        rows = _open_loop(site, side, 2 * capacity, seconds)
        refused = sorted(took for status, took, _ in rows if status == 429)
        waits = [int(wait) for status, _, wait in rows if status == 429]
        time.sleep(max(waits, default=1))
        after = _open_loop(site, side, capacity / 2, seconds / 4, first=10**6)
    statuses = Counter(str(status) for status, _, _ in rows)
    facts = {"capacity_per_second": round(capacity, 2), "offered_per_second": round(2 * capacity, 2)}
    if refused:
        at = {"p50": refused[len(refused) // 2], "p99": refused[int(0.99 * (len(refused) - 1))]}
        facts["refused_ms"] = {name: round(1000 * value, 1) for name, value in at.items()}
    return {
        **facts,
        "sent": len(rows),
        "statuses": dict(statuses),
        "retry_after_seconds": [min(waits, default=0), max(waits, default=0)],
        "afterwards": dict(Counter(str(status) for status, _, _ in after)),
    }


def _capacity(site: Served, side: int, seconds: float) -> float:
    """Jobs a second with a queue that never is empty."""
    began, seed, done = time.monotonic(), 0, 0.0
    with closing(site.connect()) as client:
        first = _done(client)
        while (spent := time.monotonic() - began) < seconds:
            status = ask(client, "POST", "/api/v1/jobs", *form(picture(side, 10**7 + seed)))[0]
            seed += 1
            if status == 429:
                time.sleep(0.02)
        done = _done(client) - first
    return max(done / spent, 0.2)


def _done(client: http.client.HTTPConnection) -> float:
    text = ask(client, "GET", "/metrics")[2].decode()
    lines = [line for line in text.splitlines() if line.startswith('relume_jobs_ended_total{state="done"}')]
    return float(lines[0].split()[-1]) if lines else 0.0


def _open_loop(
    site: Served, side: int, rate: float, seconds: float, *, first: int = 0
) -> list[tuple[int, float, str]]:
    """Jobs sent at that rate, whatever becomes of them: status, seconds, Retry-After."""
    count = max(4, round(rate * seconds))
    bodies = [form(picture(side, first + number)) for number in range(count)]
    rows: list[tuple[int, float, str]] = []

    def send(sent: Any) -> None:
        began = time.monotonic()
        with closing(site.connect()) as client:
            status, headers, _ = ask(client, "POST", "/api/v1/jobs", *sent)
        rows.append((status, time.monotonic() - began, headers.get("retry-after", "0")))

    threads, began = [], time.monotonic()
    for number, body in enumerate(bodies):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        threads.append(threading.Thread(target=send, args=(body,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return rows
