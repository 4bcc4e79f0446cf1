r"""Coverage-guided fuzzing of the forms and of mask upload: the process in which it runs.

An input is taken apart into a request: which address, which fields with which values, which of our own
pictures as picture and mask and what is changed in them, what the files are called, where the multipart body
is cut, and what of the finished body is overwritten. It goes to the application itself, with a worker behind
it. One accepted job in eight is followed to its end; then all are deleted.

    python benchmarks/attacks/forms.py TALLY CORPUS RUNS SEED
"""

import json
import logging
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

INSTRUMENTED = ["relume.service", "starlette.formparsers", "python_multipart", "fastapi.dependencies"]
with atheris.instrument_imports(include=INSTRUMENTED):
    import relume.service.app  # noqa: F401
    from relume.service.routes.forms import MaskForm, RestoreForm

import pictures
from fuzzing import HANG
from inside import Answer, Site
from tally import Tally

logging.getLogger("relume.service").setLevel(logging.ERROR)
QUICK = Path("/dev/shm")  # a disk would be waited for at each of the jobs
MEMORY = 6 << 30
NAMES = (
    "a.png",
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/dev/null",
    "a\0b",
    "%2e%2e%2f%2e%2e%2fx",
    "CON",
    ".",
    "x" * 5000,
    'a"; filename="b',
    "\u202egnp.exe",
    "~root",
    "$(id)",
)
VALUES = (
    "",
    "0",
    "1",
    "-1",
    "true",
    "nan",
    "inf",
    "1e999",
    "9" * 5000,
    "auto",
    "none",
    "PNG",
    "16",
    "null",
    "[]",
    "\0",
    "é",
)
GOOD = tuple(
    pair.split("=")
    for pair in [
        "mask=none",
        "steps=1",
        "seed=7",
        "fidelity=0.5",
        "preserve=1",
        "tone=keep",
        "strength=0.5",
        "samples=2",
        "uncertainty=true",
        "format=PNG",
        "format=TIFF",
        "bit_depth=8",
        "bit_depth=16",
        "quality=80",
        "keep_metadata=false",
        "tile=64",
    ]
)
FIELDS = sorted({*RestoreForm.model_fields, *MaskForm.model_fields, "nonsense", "", "picture[]", "__class__"})
PATHS = ("/api/v1/jobs", "/api/v1/jobs", "/api/v1/jobs", "/api/v1/restore", "/api/v1/mask")
FILES = [file for each in pictures.seeds().values() for file in each]
KINDS = (
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "application/json",
)


def request_of(data: bytes) -> tuple[str, str, list[bytes]]:
    """The address, the kind of body, and the body in pieces, that an input stands for."""
    take = atheris.FuzzedDataProvider(data)
    path = PATHS[take.ConsumeIntInRange(0, len(PATHS) - 1)]
    parts = [_file(take, "picture")]
    if take.ConsumeBool():
        parts.append(_file(take, "mask_picture"))
    for _ in range(take.ConsumeIntInRange(0, 3)):
        name, value = GOOD[take.ConsumeIntInRange(0, len(GOOD) - 1)]
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode())
    for _ in range(max(0, take.ConsumeIntInRange(-4, 3))):
        name = FIELDS[take.ConsumeIntInRange(0, len(FIELDS) - 1)]
        value = (
            take.PickValueInList(list(VALUES)) if take.ConsumeBool() else take.ConsumeUnicodeNoSurrogates(9)
        )
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode())
    body = bytearray(b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n")
    for _ in range(max(0, take.ConsumeIntInRange(-6, 3))):
        at = take.ConsumeIntInRange(0, len(body) - 1)
        over = take.ConsumeBytes(4)
        body[at : at + len(over)] = over
    kind = KINDS[0] if take.ConsumeProbability() < 0.9 else KINDS[take.ConsumeIntInRange(0, 3)]
    cut = take.ConsumeIntInRange(0, len(body))
    return path, kind, [bytes(body[:cut]), bytes(body[cut:])]


def _file(take: Any, field: str) -> bytes:
    file = bytearray(FILES[take.ConsumeIntInRange(0, len(FILES) - 1)])
    for _ in range(max(0, take.ConsumeIntInRange(-4, 3))):
        file[take.ConsumeIntInRange(0, len(file) - 1)] = take.ConsumeIntInRange(0, 255)
    name = NAMES[take.ConsumeIntInRange(0, len(NAMES) - 1)]
    head = f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
    return head.encode() + b"Content-Type: image/png\r\n\r\n" + bytes(file)


def is_told(answer: Answer) -> None:
    """What must be true of every answer."""
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json", answer
        facts = json.loads(answer.body)
        assert facts["status"] == answer.status and facts["title"] and facts["detail"], facts
    else:
        assert answer.status in (200, 202), answer


class Trial:
    """Sends inputs to a site, and looks at what becomes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = Site(folder, max_pixels=100_000, max_bytes=1 << 20)
        self.before = self._outside()
        self.tried = 0

    def __call__(self, data: bytes) -> int:
        """The status that an input is answered with."""
        path, kind, body = request_of(data)
        self.tried += 1
        answer = self.site.ask("POST", path, headers={"content-type": kind}, body=body)
        is_told(answer)
        id = answer.headers.get("x-relume-job")
        if answer.status == 202:
            id = json.loads(answer.body)["id"]
            if self.tried % 8 == 0:
                told = self.site.ask("GET", f"/api/v1/jobs/{id}/events").body
                assert b"event: done" in told or b'"status":500' not in told.replace(b" ", b""), told
        if id is not None:
            assert self.site.ask("DELETE", f"/api/v1/jobs/{id}").status == 204
        assert self._outside() == self.before, "a file was written outside of the data"
        return answer.status

    def _outside(self) -> set[str]:
        return {each.name for each in self.folder.iterdir()} | {
            each.name for each in self.folder.parent.iterdir()
        }


def main(tally: Tally, corpus: Path, runs: int, seed: int) -> None:
    """Tries ``runs`` more inputs; those of the corpus are run again first, and not counted again."""
    with tempfile.TemporaryDirectory(dir=QUICK if QUICK.exists() else None) as parent:
        trial = Trial(_made(Path(parent) / "service"))
        known = len(list(corpus.iterdir())) + 1

        def one(data: bytes) -> None:
            tally.begins(data)
            try:
                status = trial(data)
            except TimeoutError:
                status = HANG
            except Exception as error:
                tally.found(error, data)
                status = 500
            if trial.tried > known:
                tally.ended(status)
            if trial.tried == known + runs:
                # libFuzzer's own way out neither returns to Python, which would clear up, nor waits for
                # threads: a process with one that was busy has been seen to hang there.
                trial.site.close()
                shutil.rmtree(parent)
                os._exit(0)

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limits = [f"-runs={runs + known}", f"-seed={seed}", "-max_len=256", "-timeout=200", "-len_control=0"]
        quiet = ["-verbosity=0", "-print_final_stats=0", "-detect_leaks=0", "-rss_limit_mb=3072"]
        prefix = f"-artifact_prefix={corpus.parent}/"
        atheris.Setup([sys.argv[0], str(corpus), prefix, *limits, *quiet], one)
        atheris.Fuzz()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main(Tally(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
