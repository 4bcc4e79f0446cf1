r"""Jobs under faults: full disks, broken tables, clocks that jump, workers that stop half-way."""

import errno
import hashlib
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from relume import Restorer, Settings, image
from relume.bundle import Bundle
from relume.errors import NoSuchJob, StoreBroken, StoreFull, UnsupportedImage, UsageError
from relume.image import Image
from relume.service.clock import Clock
from relume.service.config import Config
from relume.service.folders import Folders
from relume.service.intake import Intake
from relume.service.lanes import Lane, Lanes
from relume.service.opening import open_folders, open_store
from relume.service.request import Request, key_of
from relume.service.store import Store
from relume.service.sweep import GRACE, Sweeper
from relume.service.worker import Worker
from relume.tasks.progress import Moment


def png(side: int = 40, seed: int = 0) -> bytes:
    levels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)) / 255
    return image.encode(Image(levels.astype(np.float32)))


class Shop:
    """A table, folders, an intake and a worker over the null engine, in one process."""

    def __init__(self, data: Path, bundle: Bundle, **config: Any) -> None:
        self.config = Config(data=data, model=str(bundle.path), engine="null", **config)
        self.folders = open_folders(self.config)
        self.store = open_store(self.config, self.folders)
        self.clock = Clock()
        self.intake = Intake(self.config, self.store, self.folders, self.clock, model=bundle, workers=1)
        self.restorer = Restorer(bundle.path, engine="null")

    def worker(self) -> Worker:
        return Worker(self.config, self.store, self.folders, self.restorer)

    def submit(self, data: bytes | None = None, request: Request | None = None) -> str:
        return self.intake.accept(request or Request(), png() if data is None else data)[0].id

    def result(self, id: str, part: str = "result") -> bytes:
        job = self.store.get(id)
        assert job.outcome is not None and job.state == "done", job
        return self.folders.get(job.folder, job.outcome["parts"][part]["file"])

    def files(self) -> list[Path]:
        return sorted(path for path in self.folders.root.rglob("*") if path.is_file())


@pytest.fixture
def shop(tmp_path: Path, hollow_bundle: Bundle) -> Iterator[Shop]:
    made = Shop(tmp_path / "data", hollow_bundle)
    yield made
    made.store.close()


def test_a_job_gives_its_parts(shop: Shop) -> None:
    sent = png()
    id = shop.submit(sent, Request(uncertainty=True, samples=2, seed=7))
    assert shop.worker().work() and not shop.worker().work()
    np.testing.assert_array_equal(image.read(shop.result(id)).pixels, image.read(sent).pixels)
    assert image.read(shop.result(id, "mask")).pixels.max() < 0.01  # the null engine finds no damage
    assert image.read(shop.result(id, "uncertainty")).bit_depth == 16
    outcome = shop.store.get(id).outcome
    assert outcome is not None and outcome["seed"] == 7 and outcome["model"] == "tiny/1.0.0"
    assert {"tone", "local", "finish"} <= set(outcome["seconds"])


def test_every_option_that_the_restorer_knows_reaches_it() -> None:
    given = {"steps": 2, "seed": 5, "fidelity": 0.5, "mask": "none", "preserve": True, "tone": "keep"}
    given |= {"strength": 0.5, "samples": 3, "uncertainty": True, "tile": 64, "shading": "keep"}
    names = {each.name for each in fields(Settings)} & {each.name for each in fields(Request)}
    assert names == set(given), "an option of both is tried here"
    assert Request(**given).settings(7) == Settings(**given, max_memory=7)


def test_work_is_counted_in_evaluations() -> None:
    assert Request().cost(10) == Request(kind="mask").cost(10) == 10
    assert Request(mask="twice").cost(10) == 20
    assert Request(mask="twice").cost(10, painted=True) == 10
    assert Request(mask="twice", steps=2, samples=3).cost(10) == 120


def test_the_key_tells_requests_apart_and_nothing_else() -> None:
    base = key_of(Request(), b"a", None, "m")
    assert base == key_of(Request(), b"a", None, "m") and len(base) == 32
    others = [
        key_of(Request(), b"b", None, "m"),
        key_of(Request(), b"a", b"", "m"),
        key_of(Request(), b"a", None, "n"),
        *(
            key_of(replace(Request(), **change), b"a", None, "m")
            for change in ({"seed": 1}, {"tone": "keep"})
        ),
    ]
    assert len({base, *others}) == 1 + len(others)


def test_sending_twice_is_one_job_and_one_result(shop: Shop) -> None:
    first, again = shop.submit(), shop.submit()
    assert first == again and sum(shop.store.counts().values()) == 1
    shop.worker().work()
    files = shop.files()
    assert shop.submit() == first and shop.files() == files and not shop.worker().work()


def test_results_are_named_by_what_is_in_them(shop: Shop) -> None:
    shop.submit()
    shop.worker().work()
    named = [path for path in shop.files() if path.suffix == ""]
    assert len(named) >= 2
    for path in named:
        assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_spoilt_file_is_noticed(shop: Shop) -> None:
    id = shop.submit()
    shop.worker().work()
    outcome = shop.store.get(id).outcome
    assert outcome is not None
    path = shop.folders.root / shop.store.get(id).folder / outcome["parts"]["result"]["file"]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreBroken, match="not what it was"):
        shop.result(id)


def test_folders_are_private(shop: Shop) -> None:
    shop.submit()
    for folder in (shop.config.data, *[path for path in shop.folders.root.iterdir()]):
        assert folder.stat().st_mode & 0o077 == 0


def test_what_is_sent_is_checked_first(shop: Shop) -> None:
    with pytest.raises(UnsupportedImage):
        shop.submit(b"text")
    with pytest.raises(UsageError, match="bits"):
        shop.submit(None, Request(format="JPEG", bit_depth=16))
    with pytest.raises(UsageError, match="one size"):
        shop.intake.accept(Request(), png(40), png(41))
    with pytest.raises(UsageError, match="mask"):
        shop.intake.accept(Request(), png(40), b"text")
    assert not shop.files() and not sum(shop.store.counts().values())


def test_an_option_that_the_model_lacks_is_a_problem_and_not_a_crash(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="steps"):
        shop.submit(None, Request(steps=9))
    monkeypatch.setattr("relume.service.intake.check_settings", lambda *_: None)  # as of an older version
    id = shop.submit(None, Request(steps=9))
    shop.worker().work()
    job = shop.store.get(id)
    assert job.state == "failed" and job.outcome is not None and job.outcome["status"] == 422


def watch(monkeypatch: pytest.MonkeyPatch, seen: Callable[[Moment], None]) -> None:
    """Looks at every evaluation of every restoration, after the worker has."""
    real = Restorer.restore

    def restore(self: Restorer, *args: Any, observe: Callable[[Moment], None], **more: Any) -> Any:
        def both(moment: Moment) -> None:
            observe(moment)
            seen(moment)

        return real(self, *args, observe=both, **more)

    monkeypatch.setattr(Restorer, "restore", restore)


def test_deleting_stops_the_work_between_steps(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relume.service.worker.TELL", 0.0)
    id = shop.submit(png(200))
    moments: list[Moment] = []

    def delete_at_the_second(moment: Moment) -> None:
        moments.append(moment)
        if len(moments) == 2:
            shop.folders.drop(shop.store.delete(id).folder)

    watch(monkeypatch, delete_at_the_second)
    assert shop.worker().work()
    assert len(moments) == 2 and moments[0].tiles > 4
    assert not shop.files() and not shop.folders.all()
    with pytest.raises(NoSuchJob):
        shop.store.get(id)


def test_a_worker_told_to_stop_gives_the_job_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    id = shop.submit(png(200))
    worker = shop.worker()
    watch(monkeypatch, lambda moment: worker.stop.set())
    assert worker.work()
    job = shop.store.get(id)
    assert (job.state, job.attempts) == ("queued", 0)
    monkeypatch.undo()
    assert shop.worker().work() and shop.store.get(id).state == "done"


def test_progress_and_preview_are_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relume.service.worker.TELL", 0.0)
    monkeypatch.setattr("relume.service.worker.SHOW", 0.0)
    id = shop.submit(png(200), Request(steps=2))
    told: list[dict[str, Any]] = []

    def look(moment: Moment) -> None:
        job = shop.store.get(id)
        assert job.progress is not None
        told.append(job.progress)
        preview = image.read(shop.folders.read(job.folder, "preview.jpg"))
        assert (preview.height, preview.width) == (200, 200)

    watch(monkeypatch, look)
    shop.worker().work()
    tiles = told[0]["tiles"]
    assert sorted((p["tile"], p["step"]) for p in told) == [
        (j + 1, i + 1) for j in range(tiles) for i in (0, 1)
    ]
    shares = [p["share"] for p in told]
    assert shares == sorted(set(shares)), "several tiles are under way, and it only ever goes forward"
    assert told[-1]["share"] == 1 and told[-1]["eta"] == 0 and told[0]["eta"] > 0


def test_a_picture_of_one_evaluation_costs_no_writing_but_its_result(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    real = shop.folders.write

    def write(folder: str, name: str, data: bytes) -> None:
        written.append(name)
        real(folder, name, data)

    id = shop.submit(png(64))
    monkeypatch.setattr(shop.folders, "write", write)
    assert shop.worker().work() and shop.store.get(id).state == "done"
    assert "preview.jpg" not in written and "result.json" in written


def test_the_heart_beats_during_one_long_step_and_not_when_nothing_moves(
    tmp_path: Path, hollow_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stall, alive in ((60.0, True), (0.05, False)):
        shop = Shop(tmp_path / str(stall), hollow_bundle, lease=0.4, stall=stall)
        id = shop.submit()
        beats: list[int] = []

        def long_step(
            moment: Moment, shop: Shop = shop, id: str = id, beats: list[int] = beats, alive: bool = alive
        ) -> None:
            beats.append(shop.store.get(id).beat)
            until = time.monotonic() + (10 if alive else 0.25)  # a busy machine's heart is late
            while time.monotonic() < until and shop.store.get(id).beat == beats[0]:
                time.sleep(0.02)
            beats.append(shop.store.get(id).beat)

        with monkeypatch.context() as patch:
            watch(patch, long_step)
            shop.worker().work()
        assert (beats[1] > beats[0]) == alive
        shop.store.close()


def test_a_result_that_could_not_be_reported_is_not_made_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = shop.submit()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish", lambda *a, **k: (_ for _ in ()).throw(StoreBroken("away")))
        with pytest.raises(StoreBroken):
            shop.worker().work()
    assert shop.store.get(id).state == "queued"
    monkeypatch.setattr(Restorer, "restore", lambda *a, **k: pytest.fail("made again"))
    shop.worker().work()
    assert image.read(shop.result(id)).width == 40


class TestFullDisk:
    def test_an_upload_is_refused_and_leaves_nothing(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StoreFull, match="no room"):
                shop.submit()
        assert not shop.folders.all() and not sum(shop.store.counts().values())
        shop.submit()  # and when there is room again, it goes on

    def test_a_real_limit_on_the_size_of_files(self, shop: Shop) -> None:
        """The system itself refuses the write, half-way through the file."""
        import signal

        data = png(200)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, hard))
            with pytest.raises(StoreFull):
                shop.folders.put(shop.folders.make(), data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert not shop.files()

    def test_a_result_waits_for_room(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        id = shop.submit()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
            with pytest.raises(StoreFull):
                shop.worker().work()
        job = shop.store.get(id)
        assert (job.state, job.attempts) == ("queued", 0)
        shop.worker().work()
        assert image.read(shop.result(id)).width == 40

    def test_a_table_without_room_says_so(self, shop: Shop) -> None:
        """SQLite's own limit stands for a full disk: it raises the very error."""
        with shop.store._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StoreFull, match="no room"):
            for seed in range(200):
                shop.submit(png(8, seed), Request(seed=seed))
        # What was accepted before is there, and no refused upload is left.
        assert len(shop.folders.all()) == sum(shop.store.counts().values()) > 0


class TestBrokenTable:
    def spoil(self, path: Path, how: str) -> None:
        if how == "gone":
            path.unlink()
        elif how == "garbage":
            path.write_bytes(b"this is no database" * 1000)
        else:
            data = bytearray(path.read_bytes())
            for at in range(4096, len(data), 64):  # every page but the header's
                data[at : at + 32] = b"\xff" * 32
            path.write_bytes(data)

    @pytest.mark.parametrize("how", ["gone", "garbage", "pages"])
    def test_no_accepted_job_is_lost_and_none_is_done_twice(
        self, tmp_path: Path, hollow_bundle: Bundle, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop = Shop(tmp_path / "data", hollow_bundle)
        done = shop.submit(png(40, 1))
        shop.worker().work()
        kept = shop.result(done)
        waiting = [shop.submit(png(40, seed)) for seed in (2, 3)]
        running = shop.store.claim("elsewhere:1", 0.0)
        assert running is not None and running.id == waiting[0]
        shop.store.close()
        self.spoil(tmp_path / "data" / "jobs.db", how)
        again = Shop(tmp_path / "data", hollow_bundle)
        made: list[int] = []
        real = Restorer.restore
        monkeypatch.setattr(Restorer, "restore", lambda *a, **k: (made.append(1), real(*a, **k))[1])
        while again.worker().work():
            pass
        assert again.store.counts() == {"queued": 0, "running": 0, "done": 3, "failed": 0}
        assert again.result(done) == kept and len(made) == 2
        assert (how == "gone") != bool(list((tmp_path / "data").glob("jobs.db.broken-*")))
        again.store.close()

    def test_a_table_that_breaks_while_it_is_used_is_told(
        self, tmp_path: Path, hollow_bundle: Bundle
    ) -> None:
        shop = Shop(tmp_path / "data", hollow_bundle)
        shop.submit()
        shop.store.close()
        self.spoil(tmp_path / "data" / "jobs.db", "pages")
        with pytest.raises(StoreBroken):
            shop.store.counts()
            shop.submit(png(50))
        shop.store.close()


class TestClock:
    def test_jumps_are_not_seen_and_time_goes_on(self) -> None:
        wall, elapsed = [1000.0], [50.0]
        clock = Clock(wall=lambda: wall[0], elapsed=lambda: elapsed[0])
        wall[0], elapsed[0] = 9e9, 51.0
        assert clock.now() == 1001.0
        wall[0], elapsed[0] = -9e9, 60.0
        assert clock.now() == 1010.0

    def test_it_never_says_less_than_what_has_been(self) -> None:
        assert Clock(floor=5000.0, wall=lambda: 0.0, elapsed=lambda: 0.0).now() == 5000.0


class TestRetention:
    def test_all_is_deleted_after_its_time(self, shop: Shop) -> None:
        id = shop.submit()
        shop.worker().work()
        waiting = shop.submit(png(41))
        ended = shop.store.get(id).ended
        assert ended is not None
        present = [ended]
        clock = Clock(wall=lambda: present[0], elapsed=lambda: present[0])
        sweeper = Sweeper(shop.store, shop.folders, clock, keep=100.0)
        present[0] = ended + 99
        assert sweeper.sweep() == 0 and shop.result(id)
        present[0] = ended + 101
        assert sweeper.sweep() == 1
        with pytest.raises(NoSuchJob):
            shop.store.get(id)
        assert shop.folders.all() == {shop.store.get(waiting).folder}  # what waits is kept, however long
        assert shop.store.fact("seen") == present[0]

    def test_deleted_rows_leave_no_trace_in_the_file(self, shop: Shop) -> None:
        id = shop.submit()
        shop.store.delete(id)
        shop.store.close()  # which writes the log into the file
        assert id.encode() not in (shop.config.data / "jobs.db").read_bytes()

    def test_a_folder_without_a_job_is_deleted_later_whatever_the_clock_says(self, shop: Shop) -> None:
        stray = shop.folders.make()
        shop.folders.put(stray, b"half an upload")
        shop.submit()
        present = [0.0]
        sweeper = Sweeper(shop.store, shop.folders, Clock(), keep=100.0, elapsed=lambda: present[0])
        os.utime(shop.folders.root / stray, (0, 0))  # so old by the clock
        sweeper.sweep()
        present[0] = GRACE - 1
        sweeper.sweep()
        assert stray in shop.folders.all()
        present[0] = GRACE + 1
        sweeper.sweep()
        assert len(shop.folders.all()) == 1 and stray not in shop.folders.all()


def test_folders_take_no_foreign_names(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "data")
    keep = tmp_path / "data" / "keep"
    keep.mkdir()
    for name in ("..", "../keep", "/etc", "", "a" * 31):
        folders.drop(name)
    assert keep.is_dir() and folders.root.is_dir()


def test_a_worker_goes_on_after_the_table_was_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relume.service.worker.PAUSE", 0.01)
    real, calls = Store.claim, []

    def sometimes(self: Store, *args: Any) -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise StoreBroken("away")
        return real(self, *args)

    monkeypatch.setattr(Store, "claim", sometimes)
    id = shop.submit()
    worker = shop.worker()
    thread = threading.Thread(target=worker.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not shop.store.get(id).over and time.monotonic() < deadline:
        time.sleep(0.02)
    worker.leave.set()
    thread.join()
    assert shop.store.get(id).state == "done" and len(calls) >= 3


class TestManyInFlight:
    def test_small_jobs_get_past_large_ones_and_nothing_starves(self) -> None:
        lanes = Lanes(4, 6400)
        assert lanes.widest() == Lane(0, None)
        large = lanes.enter(10**9)
        widest = lanes.widest()
        assert large.most is None and widest is not None and widest.most == 800
        middle, small, other = lanes.enter(800), lanes.enter(100), lanes.enter(1)
        assert (middle.most, small.most, other.most) == (800, 100, 100) and lanes.widest() is None
        lanes.leave(small)
        lanes.leave(large)
        assert lanes.enter(1) == small, "a small one leaves the wide lane to others"
        assert lanes.enter(1) == large

    def test_the_time_of_jobs_in_flight_sums_to_the_time_of_the_worker(self) -> None:
        now = [0.0]
        lanes = Lanes(2, 6400, elapsed=lambda: now[0])
        now[0] = 5.0
        first = lanes.enter(1)
        began_first = lanes.clock()
        now[0] = 7.0
        second = lanes.enter(1)
        began_second = lanes.clock()
        now[0] = 11.0
        first_seconds = lanes.clock() - began_first
        lanes.leave(first)
        now[0] = 12.0
        second_seconds = lanes.clock() - began_second
        lanes.leave(second)
        assert (first_seconds, second_seconds) == (4.0, 3.0)
        assert first_seconds + second_seconds == 12.0 - 5.0

    def test_a_bounded_claim_takes_the_oldest_that_fits(self, shop: Shop) -> None:
        large, small, later = shop.submit(png(40, 1)), shop.submit(png(8, 2)), shop.submit(png(9, 3))
        claimed = [shop.store.claim("a:1", 0.0, most) for most in (63, 100, 100, 100, None)]
        assert [job and job.id for job in claimed] == [None, small, later, None, large]

    def test_a_thumbnail_is_done_while_a_scan_runs(
        self, tmp_path: Path, hollow_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The scan's thread waits at its second step until the thumbnail, sent later, is done."""
        shop = Shop(tmp_path / "data", hollow_bundle, max_pixels=64 * 40 * 40)
        scan, thumbnail = shop.submit(png(300)), shop.submit(png(40))
        worker = shop.worker()
        seen: list[str] = []

        def hold(moment: Moment) -> None:
            if moment.tiles > 1 and moment.done == 2:
                deadline = time.monotonic() + 20
                while not shop.store.get(thumbnail).over and time.monotonic() < deadline:
                    time.sleep(0.005)
                seen.extend(shop.store.get(each).state for each in (scan, thumbnail))
            if moment.done == moment.tiles > 1:
                worker.leave.set()

        watch(monkeypatch, hold)
        worker.run()
        assert seen == ["running", "done"]
        assert shop.store.counts()["done"] == 2, "who leaves ends what is in flight"
        for id, side in ((scan, 300), (thumbnail, 40)):
            np.testing.assert_array_equal(image.read(shop.result(id)).pixels, image.read(png(side)).pixels)
        shop.store.close()
