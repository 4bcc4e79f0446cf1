r"""One row's work in a process of its own: how much memory it takes, and where a cold start spends its time.

``python -m relume.tasks.speed.alone`` reads a job as JSON on stdin and writes a
:class:`~relume.bench.report.Cold` as JSON on stdout. In one process with others a peak of memory would be
everybody's, and nothing would be cold.
"""

__all__ = ["alone", "main"]

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import pairwise
from statistics import median
from typing import Any

from relume.bench.memory import peak_bytes, resident_bytes
from relume.bench.report import Cold
from relume.errors import EngineError

STEADY = 3
LIMIT_S = 600.0


def alone(job: Mapping[str, Any]) -> Cold:
    """Runs a job (:attr:`.Subject.alone`) in a process of its own and waits for it.

    Raises
    ------
    EngineError
        If the process fails, or takes more than ten minutes.
    """
    command = [sys.executable, "-m", "relume.tasks.speed.alone"]
    text = json.dumps({**job, "began": time.time()})
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"a process of its own took more than {LIMIT_S:g} s; take a smaller size"
        ) from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise EngineError(f"a process of its own failed: {last[0]}")
    return Cold(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """The process itself."""
    started = time.time()  # the parent's clock too, which perf_counter need not be
    job = json.loads(sys.stdin.read())
    print(json.dumps(asdict(_run(job, started - job["began"]))))


def _run(job: Mapping[str, Any], start_s: float) -> Cold:
    from relume.tasks.speed.subject import pattern

    picture = pattern(job["height"], job["width"])
    load = {"model": _model, "founding": _founding}[job["kind"]]
    before = resident_bytes()
    began = time.perf_counter()
    call = load(job, picture)
    stamps = [time.perf_counter()]
    load_s = stamps[0] - began
    for _ in range(1 + STEADY):
        call()
        stamps.append(time.perf_counter())
    first, *further = (late - early for early, late in pairwise(stamps))
    return Cold(
        start_s=start_s,
        load_s=load_s,
        first_s=first,
        steady_s=median(further),
        peak_bytes=peak_bytes(),
        before_bytes=before,
    )


def _model(job: Mapping[str, Any], picture: Any) -> Callable[[], object]:
    from relume.image import Image
    from relume.tasks.restore import Restorer
    from relume.tasks.settings import Settings

    options = {name: job[name] for name in ("engine", "precision", "device", "threads", "force")}
    restorer = Restorer(job["model"], **options)
    image, settings = Image(picture), Settings(steps=job["steps"])
    return lambda: restorer.restore(image, settings)


def _founding(job: Mapping[str, Any], picture: Any) -> Callable[[], object]:
    from relume.tasks.speed.founding import one_step

    return one_step(job["shape"], picture, threads=job["threads"])


if __name__ == "__main__":
    main()
