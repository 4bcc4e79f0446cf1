r"""Bombs and polyglots, each decoded in a process of its own: its answer, and what memory it took.

python benchmarks/attacks/unfolding.py < FILE      prints the status and the bytes taken
"""

__all__ = ["bombs_and_polyglots"]

import json
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pictures

PATIENCE = 300  # seconds until an answer that did not come counts as a hang
BOUND = 768 << 20  # bytes that one small file may take beyond itself: the largest are JPEG 2000's own tables
MEMORY = 8 << 30
PIXELS = 100_000_000  # what the service takes unless told otherwise


def bombs_and_polyglots(folder: Path, share: float) -> dict[str, Any]:
    """A row for each kind: how many, and each file with its status and its memory."""
    size = 512 << 20 if share >= 1 else 32 << 20
    return {
        "bombs": _all(pictures.bombs(size)),
        "polyglots": _all(pictures.polyglots()),
    }


def _all(files: Iterable[tuple[str, bytes, tuple[int, ...]]]) -> dict[str, Any]:
    rows = list(_each(files))
    wrong = [row["name"] for row in rows if not row["right"]]
    return {"tried": len(rows), "wrong": wrong, "files": rows}


def _each(files: Iterable[tuple[str, bytes, tuple[int, ...]]]) -> Iterator[dict[str, Any]]:
    for name, data, right in files:
        command = [sys.executable, __file__]
        try:
            done = subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE)
            status, taken = json.loads(done.stdout) if done.returncode == 0 else (599, 0)
        except subprocess.TimeoutExpired:
            status, taken = 598, 0
        row = {"name": name, "bytes": len(data), "status": status, "mib_taken": round(taken / 2**20)}
        yield {**row, "right": status in right and taken <= BOUND}


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):  # of this process; getrusage would begin with its parent's
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM here")


def main() -> None:
    """Decodes what comes in, as the service does with an upload."""
    from decoding import look  # with it come all libraries, whose memory is not the file's

    from relume.service.problems import problem_of

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for each in pictures.seeds().values():
        for seed in each[:2]:
            _status(look, problem_of, seed)
    data = sys.stdin.buffer.read()
    before = _peak()
    status = _status(look, problem_of, data)
    print(json.dumps([status, _peak() - before]))


def _status(look: Any, problem_of: Any, data: bytes) -> int:
    try:
        look(data, write=False, pixels=PIXELS)
    except Exception as error:
        return int(problem_of(error)["status"])
    return 200


if __name__ == "__main__":
    main()
