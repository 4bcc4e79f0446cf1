r"""Real processes that share an archive, killed at any moment: nothing is lost, nothing is done twice."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import relume
from relume import image
from relume.archive import summarise
from relume.archive.manifest import Lines
from relume.bundle import Bundle
from relume.image import Image

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes"),
    pytest.mark.usefixtures("in_time"),
]

DOCS = Path(__file__).parents[2] / "docs" / "archive.md"
COUNT = 12


@pytest.fixture
def place(hollow_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``archive`` in it, and a ``relume`` on the path that has the null engine."""
    for seed in range(COUNT):
        path = tmp_path / "archive" / f"box{seed % 2}" / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3)).repeat(8, 0).repeat(8, 1)
        image.write(Image((levels / 255).astype(np.float32)), path)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "relume"
    model = f"--model {hollow_bundle.path} --engine null -q"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m relume "$@" {model} $RELUME_TEST_OPTIONS\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(relume.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shells(word: str) -> list[str]:
    """The examples of the page that hold a word, with four parts in place of sixteen."""
    found = [
        block for block in re.findall(r"```sh\n(.*?)```", DOCS.read_text("utf-8"), re.S) if word in block
    ]
    return [block.replace("16", "4") for block in found]


def check(place: Path) -> None:
    out = place / "restored"
    summary = summarise(out, check=True)
    assert (summary.done, summary.failed, summary.begun, summary.again, summary.bad) == (COUNT, 0, 0, 0, [])
    assert sum(record.status == "done" for record in Lines(out).new()) == COUNT
    for path in (place / "archive").rglob("*.png"):
        made = out / path.parent.name / f"{path.stem}-restored.png"
        np.testing.assert_array_equal(image.read(path).pixels, image.read(made).pixels)


def array(place: Path, parts: int) -> list[subprocess.Popen[bytes]]:
    """The Slurm script of the page, as Slurm starts it."""
    (script,) = shells("#SBATCH")
    started = []
    for part in range(1, parts + 1):
        told = {"SLURM_ARRAY_TASK_ID": str(part), "SLURM_ARRAY_TASK_COUNT": str(parts)}
        environment = {**os.environ, **told, "RELUME_TEST_OPTIONS": "--samples 8"}
        started.append(
            subprocess.Popen(["sh", "-c", script], env=environment, cwd=place, start_new_session=True)
        )
    return started


def kill(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    try:
        assert [process.wait() for process in processes] == [0] * len(processes)
    finally:
        kill(processes)


def test_shards_at_once_killed_and_resumed(place: Path) -> None:
    rng, parts = random.Random(0), 3
    cut = 0
    for lines in (4, 13):  # killed after so many lines, then after so many more
        processes = array(place, parts)
        try:
            while all(process.poll() is None for process in processes):
                if len(Lines(place / "restored").new()) >= lines:
                    break
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.2))
        finally:
            kill(processes)
        cut += summarise(place / "restored").begun
    assert cut > 0, "nobody was killed in the middle of a picture"
    assert summarise(place / "restored").done < COUNT
    for _ in range(2):
        finish(array(place, parts))
        check(place)


@pytest.mark.parametrize("tool", ["xargs", "parallel"])
def test_the_one_liners_of_the_page(tool: str, place: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    (line,) = shells(f"{tool} ")
    finish([subprocess.Popen(["sh", "-c", line], cwd=place, start_new_session=True)])
    check(place)
