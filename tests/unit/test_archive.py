r"""An archive: what is finished is never done again, and what is not is never taken for finished."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relume import image
from relume.archive import FOLDER, Ledger, Record, Shard, Work, summarise, sweep
from relume.archive.manifest import Lines, Manifest
from relume.bundle import Bundle
from relume.cli import main, parser
from relume.cli.laps import Laps
from relume.errors import ImageError, OutputExists, UsageError
from relume.files import digest
from relume.image import Image
from relume.tasks import Restorer

Restore = Callable[..., int]


def picture(path: Path, seed: int = 0, side: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (side, side, 3))
    return image.write(Image((levels / 255).astype(np.float32)), path, overwrite=True)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Twelve pictures in three folders."""
    for number in range(12):
        picture(tmp_path / "archive" / f"box{number % 3}" / f"{number}.png", number)
    return tmp_path / "archive"


@pytest.fixture
def restore(hollow_bundle: Bundle, archive: Path, tmp_path: Path) -> Restore:
    def run(*options: object) -> int:
        model = ["--model", str(hollow_bundle.path), "--engine", "null", "-q"]
        return main(["restore", str(archive), "-r", "-o", str(tmp_path / "out"), *model, *map(str, options)])

    return run


def records(out: Path) -> list[Record]:
    return Lines(out).new()


def done(out: Path) -> list[str]:
    return sorted(record.result for record in records(out) if record.status == "done")


def results(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))


# Shards


@settings(max_examples=30)
@given(st.lists(st.text("abÄß/._-7", min_size=1), unique=True), st.integers(1, 40))
def test_every_picture_is_in_one_shard(names: list[str], count: int) -> None:
    paths = [Path(name) / "x.jpg" for name in names]
    for path in paths:
        assert sum(Shard(index, count).holds(path) for index in range(1, count + 1)) == 1


def test_what_could_have_one_result_is_in_one_shard() -> None:
    for name in map(str, range(50)):
        owners = {
            next(i for i in range(1, 10) if Shard(i, 9).holds(Path(each)))
            for each in (f"box/{name}.cr2", f"box/{name}.NEF", f"BOX/{name}.jpg")
        }
        assert len(owners) == 1


def test_shards_are_about_even() -> None:
    sizes = [sum(Shard(i, 4).holds(Path(f"{n}.jpg")) for n in range(2000)) for i in range(1, 5)]
    assert sum(sizes) == 2000
    assert all(abs(size - 500) < 5 * 500**0.5 for size in sizes)


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "a/b", "-1/4", "1/0", "1/4/2", ""])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="shard"):
        Shard.parse(text)


# The command


def test_shards_together_do_every_picture_once(restore: Restore, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert [restore("--shard", f"{i}/3") for i in (1, 2, 3)] == [0, 0, 0]
    assert len(done(out)) == 12 and done(out) == results(out)
    for path in archive.rglob("*.png"):
        made = out / path.relative_to(archive).with_name(f"{path.stem}-restored.png")
        np.testing.assert_array_equal(image.read(path).pixels, image.read(made).pixels)
    line = next(record for record in records(out) if record.status == "done")
    assert line.input == digest(Path(line.picture)) and line.output == digest(out / line.result)
    assert line.engine is not None and line.engine.startswith("null/") and (line.seconds or 0) > 0
    summary = summarise(out, check=True)
    assert (summary.done, summary.failed, summary.begun, summary.again, summary.bad) == (12, 0, 0, 0, [])


def test_finished_work_is_not_done_again_however_it_is_cut(restore: Restore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert restore("--shard", "1/1") == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert [restore("--shard", f"{i}/5", "--overwrite") for i in range(1, 6)] == [0] * 5
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert len(done(out)) == 12


def test_a_touched_input_is_the_same_and_a_changed_one_is_said(
    restore: Restore, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, first = tmp_path / "out", archive / "box0" / "0.png"
    assert restore("--shard", "1/1") == 0
    os.utime(first, ns=(1, 1))
    assert restore("--shard", "1/1") == 0 and len(done(out)) == 12
    picture(first, 99)
    assert restore("--shard", "1/1") == 3
    assert "was made from another input; --overwrite makes it anew" in capsys.readouterr().err
    assert restore("--shard", "1/1", "--overwrite") == 0
    assert len(done(out)) == 13 and restore("--shard", "1/1") == 0
    np.testing.assert_array_equal(
        image.read(first).pixels, image.read(out / "box0" / "0-restored.png").pixels
    )


def test_other_options_are_said_and_done_when_asked(
    restore: Restore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert restore("--shard", "1/1") == 0
    assert restore("--shard", "1/1", "--seed", 3) == UsageError.exit_code
    assert capsys.readouterr().err.count("was made with other options") == 12
    assert restore("--shard", "1/1", "--seed", 3, "--skip-existing") == 0 and len(done(out)) == 12
    assert restore("--shard", "1/1", "--seed", 3, "--overwrite") == 0 and len(done(out)) == 24
    # How it is computed is no option of the result.
    assert restore("--shard", "1/1", "--seed", 3, "--threads", 2, "--max-memory", "8G") == 0
    assert len(done(out)) == 24 and summarise(out).again == 0


def test_another_model_is_said(
    restore: Restore, hollow_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore("--shard", "1/1") == 0
    card = hollow_bundle.path / "card.json"
    card.write_text(card.read_text().replace('"1.0.0"', '"1.0.1"'))
    assert restore("--shard", "1/1") == UsageError.exit_code
    assert "was made by another model" in capsys.readouterr().err


def test_a_mask_is_part_of_the_input(restore: Restore, archive: Path, tmp_path: Path) -> None:
    mask = picture(tmp_path / "mask.png", 5)
    assert restore("--shard", "1/1", "--mask", mask) == 0
    assert restore("--shard", "1/1", "--mask", mask) == 0 and len(done(tmp_path / "out")) == 12
    picture(mask, 6)
    assert restore("--shard", "1/1", "--mask", mask) == UsageError.exit_code


def test_a_foreign_result_stays_and_a_lost_one_is_made_again(
    restore: Restore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    foreign = picture(out / "box0" / "0-restored.png", 7)
    kept = foreign.read_bytes()
    assert restore("--shard", "1/1") == 3
    assert "exists, and no manifest knows it" in capsys.readouterr().err
    assert foreign.read_bytes() == kept and len(done(out)) == 11
    (out / "box1" / "1-restored.png").unlink()
    assert summarise(out).bad == ["box1/1-restored.png"]
    foreign.unlink()
    assert restore("--shard", "1/1") == 0 and len(results(out)) == 12
    with (out / "box1" / "1-restored.png").open("ab") as file:
        file.write(b"more")
    assert restore("--shard", "1/1") == 3
    assert "was changed after it was made" in capsys.readouterr().err


def test_bad_pictures_are_kept_account_of_and_tried_again(
    restore: Restore, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for name in ("1.png", "4.png"):
        (archive / "box1" / name).write_bytes((archive / "box1" / name).read_bytes()[:200])
    assert restore("--shard", "1/1") == 3
    summary = summarise(out)
    assert (summary.done, summary.failed) == (10, 2) and "4.png" in summary.errors["box1/4-restored.png"]
    capsys.readouterr()
    assert main(["archive", str(out)]) == 3
    shown = capsys.readouterr()
    assert "done              10" in shown.out and shown.err.count("failed: ") == 2
    picture(archive / "box1" / "1.png", 1)
    picture(archive / "box1" / "4.png", 4)
    assert restore("--shard", "1/1") == 0 and summarise(out).failed == 0
    assert main(["archive", str(out), "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 12


def test_an_empty_shard_is_done(restore: Restore, archive: Path, tmp_path: Path) -> None:
    assert [restore("--shard", f"{i}/20") for i in range(1, 21)] == [0] * 20
    assert len(done(tmp_path / "out")) == 12


@pytest.mark.parametrize("options", [["-o", "-"], []])
def test_an_archive_needs_a_folder(options: list[str], archive: Path) -> None:
    assert main(["restore", str(archive), "--shard", "1/2", *options]) == UsageError.exit_code


def test_one_picture_with_a_shard_goes_into_a_folder(
    hollow_bundle: Bundle, archive: Path, tmp_path: Path
) -> None:
    call = ["restore", str(archive / "box0" / "0.png"), "-o", str(tmp_path / "new"), "--shard", "1/1", "-q"]
    assert main([*call, "--model", str(hollow_bundle.path), "--engine", "null"]) == 0
    assert results(tmp_path / "new") == ["0-restored.png"]


# What a killed process leaves


@pytest.fixture
def work(archive: Path, tmp_path: Path) -> Work:
    return Work(archive / "box0" / "0.png", tmp_path / "out" / "0.png")


ALL = Shard(1, 1)


def ledger(out: Path, *, shard: Shard = ALL, **options: Any) -> Ledger:
    return Ledger(out, shard, **{"options": "o", "model": "m", **options})


def died(work: Work, **options: Any) -> None:
    """A process that begins and is no more."""
    dead = ledger(work.result.parent, **options)
    assert dead.begin(work)
    dead.close()


def test_killed_before_the_result_was_there(work: Work) -> None:
    died(work)
    assert ledger(work.result.parent).begin(work)


def test_killed_between_the_result_and_its_line(work: Work) -> None:
    died(work)
    work.result.write_bytes(b"whole")
    assert not ledger(work.result.parent).begin(work)
    assert summarise(work.result.parent, check=True).done == 1


def test_killed_before_an_old_result_gave_way(work: Work) -> None:
    out = work.result.parent
    out.mkdir()
    work.result.write_bytes(b"old")
    died(work, replace=True)
    with pytest.raises(OutputExists):
        ledger(out).begin(work)


def test_killed_after_an_old_result_gave_way(work: Work) -> None:
    out = work.result.parent
    out.mkdir()
    work.result.write_bytes(b"old")
    died(work, replace=True)
    work.result.write_bytes(b"new")
    assert not ledger(out).begin(work)


def test_killed_with_other_options_than_now(work: Work) -> None:
    died(work, options="others")
    work.result.write_bytes(b"whole")
    with pytest.raises(OutputExists, match="other options"):
        ledger(work.result.parent).begin(work)


def test_killed_after_a_name_was_taken(work: Work) -> None:
    died(work)
    work.result.touch()
    assert ledger(work.result.parent).begin(work)


def test_a_picture_on_which_processes_die_is_given_up_for_once(work: Work) -> None:
    for _ in range(3):
        died(work)
    last = ledger(work.result.parent)
    with pytest.raises(ImageError, match="3 processes ended"):
        last.begin(work)
    assert summarise(work.result.parent).failed == 1
    assert last.begin(work)


def test_what_is_read_ahead_is_not_given_up_for_its_neighbour(
    restore: Restore, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        """Ends the run as a signal would: nobody writes anything down."""

    killer = image.read(archive / "box1" / "4.png").pixels
    restored = Restorer.restore

    def restoring(self: Restorer, picture: Image, *given: Any, **options: Any) -> Any:
        if np.array_equal(picture.pixels, killer):
            time.sleep(0.1)  # the next one is read meanwhile
            raise Death
        return restored(self, picture, *given, **options)

    monkeypatch.setattr(Restorer, "restore", restoring)
    for _ in range(3):
        with pytest.raises(Death):
            restore("--shard", "1/1")
    assert restore("--shard", "1/1") == 3
    summary = summarise(tmp_path / "out")
    assert (summary.done, summary.failed, summary.begun) == (11, 1, 0)


def test_half_a_line_is_passed_over_wherever_it_was_cut(work: Work) -> None:
    died(work)
    path = work.result.parent / FOLDER / "shard-1-of-1.jsonl"
    whole = path.read_bytes()
    for cut in [0, 1, 2, len(whole) // 2, len(whole) - 2, len(whole) - 1, len(whole)]:
        path.write_bytes(whole + whole[:cut])
        again = ledger(work.result.parent)
        assert again.begin(work)  # its lines go on a line of their own
        again.close()
        found = records(work.result.parent)
        assert len(found) == (3 if cut >= len(whole) - 1 else 2), cut


def test_another_worker_of_the_shard_is_believed(work: Work) -> None:
    out = work.result.parent
    one, other = ledger(out, worker="1"), ledger(out, worker="2")
    assert one.begin(work)
    work.result.write_bytes(b"whole")
    one.done(work, seconds=1, joules=None, engine=None)
    assert not other.begin(work)
    assert summarise(out).again == 0


def test_a_shard_belongs_to_one_process_and_the_count_to_all(work: Work) -> None:
    pytest.importorskip("fcntl")
    out = work.result.parent
    first = ledger(out, shard=Shard(1, 2))
    with pytest.raises(UsageError, match="being worked on"):
        ledger(out, shard=Shard(1, 2))
    with pytest.raises(UsageError, match="in 2 shards"):
        ledger(out, shard=Shard(1, 3))
    second = ledger(out, shard=Shard(2, 2))
    for each in (first, second):
        each.close()
    ledger(out, shard=Shard(1, 3)).close()


def test_a_full_disk_is_said(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(work.result.parent / FOLDER / "x.jsonl")
    monkeypatch.setattr(os, "write", lambda file, data: len(data) // 2)
    with pytest.raises(ImageError, match="no room"):
        manifest.append(Record(status="begun", result="a", picture="b"))


@settings(max_examples=50)
@given(st.text(st.characters(), max_size=30), st.sampled_from(["begun", "done", "failed"]))
def test_lines_survive_any_name(name: str, status: Any) -> None:
    record = Record(status=status, result=name, picture=name, error=name)
    assert record.line().count(b"\n") == 1
    assert Record.of(record.line()) == record


def test_litter_is_swept_when_it_is_old(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".relume-a.part", ".relume-b.part", "c.part"))
    for path in (old, young, other):
        path.touch()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    assert sweep([tmp_path]) == 1 and not old.exists() and young.exists() and other.exists()


def test_options_of_the_result_are_all_in_its_hash(tmp_path: Path) -> None:
    """Whatever restore offers either decides the result, or is known not to."""
    from relume.cli.keeping import _options

    where = {
        "engine",
        "device",
        "threads",
        "force",
        "max_memory",
        "report",
        "quiet",
        "verbose",
        "shard",
        "on",
    }
    where |= {
        "inputs",
        "output",
        "recursive",
        "suffix",
        "overwrite",
        "skip_existing",
        "model",
        "run",
        "command",
    }
    plain = parser().parse_args(["restore", "in", "-o", "out"])
    other: dict[str, Any] = {
        "mask": "none",
        "tone": "keep",
        "shading": "keep",
        "format": "PNG",
        "precision": "f32",
        "save_mask": "",
        "mark": "a key",
        "sign": tmp_path / "key.pem",
    }
    other["sign"].write_bytes(b"a key")
    for name, value in vars(plain).items():
        if name in where:
            continue
        changed = other.get(name, (not value) if isinstance(value, bool) else 0.5 if value == 1.0 else 16)
        changed = 3 if name == "samples" else changed
        args = argparse.Namespace(**{**vars(plain), name: changed})
        assert _options(args) != _options(plain), name


# Joules


def zone(root: Path, name: str, kind: str, energy: int, limit: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    return folder / "energy_uj"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_joules_of_packages_and_memory_past_the_end_of_a_counter(tmp_path: Path, no_gpu: None) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 10)
    laps = Laps(tmp_path)
    package.write_text("100000")
    core.write_text("999999")
    memory.write_text("300010")
    assert laps.lap() == pytest.approx(0.2 + 0.3)
    assert laps.lap() == 0
    memory.unlink()
    assert laps.lap() is None


def test_no_counters_no_number(tmp_path: Path, no_gpu: None) -> None:
    assert Laps(tmp_path).lap() is None
    assert Laps(tmp_path / "nowhere").lap() is None
    zone(tmp_path, "intel-rapl:0:1", "dram", 10)
    assert Laps(tmp_path).lap() is None  # memory alone would look like all


def test_joules_of_an_archive_are_told_when_all_were_measured(work: Work) -> None:
    out = work.result.parent
    line = Record(status="done", result="a", picture="a", joules=2.5)
    manifest = Manifest(out / FOLDER / "x.jsonl")
    manifest.append(line)
    manifest.append(replace(line, result="b"))
    assert summarise(out).joules == 5
    manifest.append(replace(line, result="c", joules=None))
    assert summarise(out).joules is None
