r"""``--on ray`` on a Ray of two CPUs in this process: actors killed, nothing lost, nothing twice."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import relume
from relume import image
from relume.archive import Record, summarise
from relume.archive.manifest import Lines
from relume.bundle import Bundle
from relume.cli import main
from relume.cli.extras import missing
from relume.errors import UsageError
from relume.image import Image

pytestmark = [
    pytest.mark.skipif(bool(missing("ray")), reason='needs pip install "relume[ray]"'),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills processes"),
    pytest.mark.skipif(
        os.environ.get("RELUME_RAY") != "1",
        reason="starting Ray takes minutes on a busy machine: RELUME_RAY=1 on an idle one",
    ),
    pytest.mark.usefixtures("in_time"),
]

COUNT = 10
Restore = Callable[..., int]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two CPUs and a small store; all tests here share it."""
    import ray

    os.environ.update(RAY_worker_niceness="0")  # Ray has its workers wait for every other process
    # The actors find relume where this process has it.
    paths = os.pathsep.join([str(Path(relume.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    os.environ["PYTHONPATH"] = paths.rstrip(os.pathsep)
    ray.init(
        num_cpus=2,
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "archive" / "box").mkdir(parents=True)
    for seed in range(COUNT):
        levels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3)).repeat(8, 0).repeat(8, 1)
        image.write(Image((levels / 255).astype(np.float32)), tmp_path / "archive" / "box" / f"{seed}.png")
    return tmp_path / "archive"


@pytest.fixture
def restore(cluster: None, hollow_bundle: Bundle, archive: Path, tmp_path: Path) -> Restore:
    def run(*options: str) -> int:
        model = ["--model", str(hollow_bundle.path), "--engine", "null", "--threads", "1", "-q"]
        return main(
            ["restore", str(archive), "-r", "-o", str(tmp_path / "out"), "--on", "ray", *model, *options]
        )

    return run


def lines(out: Path) -> list[Record]:
    return Lines(out).new()


def check(archive: Path, out: Path) -> None:
    summary = summarise(out, check=True)
    assert (summary.done, summary.failed, summary.begun, summary.again, summary.bad) == (COUNT, 0, 0, 0, [])
    assert sum(record.status == "done" for record in lines(out)) == COUNT
    for path in archive.rglob("*.png"):
        made = out / "box" / f"{path.stem}-restored.png"
        np.testing.assert_array_equal(image.read(path).pixels, image.read(made).pixels)


def test_two_actors_killed_in_the_middle(restore: Restore, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while len(killed) < 2 and not over.is_set():
            time.sleep(0.02)
            found = lines(out) if out.exists() else []
            open_ = {record.result: record.process for record in found if record.status == "begun"}
            for record in found:
                if record.status == "done":
                    open_.pop(record.result, None)
            for process in set(open_.values()) - set(killed) - {os.getpid()}:
                if len(killed) < 2:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                        killed.append(process)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        code = restore("--samples", "8")  # seconds of work each, even for an engine that does nothing
    finally:
        over.set()
        killer.join()
    assert code == 0 and len(killed) == 2
    assert sum(record.status == "begun" for record in lines(out)) > COUNT  # what the dead had begun
    check(archive, out)
    assert restore("--samples", "8") == 0
    check(archive, out)


def test_what_shards_have_done_is_not_done_on_ray(restore: Restore, archive: Path, tmp_path: Path) -> None:
    call = ["restore", str(archive), "-r", "-o", str(tmp_path / "out"), "--shard", "1/2", "-q"]
    model = ["--model", str(tmp_path / "tiny"), "--engine", "null"]
    assert main([*call, *model]) == 0
    assert 0 < summarise(tmp_path / "out").done < COUNT
    assert restore() == 0
    check(archive, tmp_path / "out")


def test_bad_pictures_and_other_options_are_said(
    restore: Restore, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = archive / "box" / "3.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:100])
    assert restore() == 3
    assert capsys.readouterr().err.count("3.png") == 1
    bad.write_bytes(whole)
    assert restore() == 0
    check(archive, tmp_path / "out")
    assert restore("--seed", "1") == UsageError.exit_code


def test_an_address_that_is_none(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["restore", str(archive), "-r", "-o", str(tmp_path / "out"), "--on", "spark"]
    assert main(call) == UsageError.exit_code
    assert "give ray, or ray://HOST:PORT" in capsys.readouterr().err
