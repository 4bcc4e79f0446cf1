r"""The job table, on a real SQLite file and a real PostgreSQL server: what holds on both."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from relume.errors import Busy, LostLease, NoSuchJob, StoreBroken, UsageError
from relume.service.leases import Observer, name_of_this_worker
from relume.service.store import Job, Store

PLENTY = 10**12


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = Store(url)
    made.delete_ended(float("inf"))
    for state in ("queued", "running"):
        while made.counts()[state]:
            job = made.claim("cleaner", 0)
            for lease in made.leases() if job is None else ():
                made.expire(lease, attempts=1, problem={}, now=0)
            if job is not None:
                made.fail(job, {}, 0)
    made.delete_ended(float("inf"))
    made.set_fact("rate", 1e6)
    yield made
    made.close()


def submit(store: Store, id: str, **more: Any) -> tuple[Job, bool]:
    facts = {"folder": f"folder-{id}", "request": {"n": id}, "cost": 100, "now": 1.0, "limit": PLENTY}
    return store.submit(id, **{**facts, **more})


@pytest.mark.parametrize("id", ["\0", "a\0", "", "'; --", "\ud7ff\U0010ffff", "x" * 10_000])
def test_what_cannot_be_an_id_is_no_job(store: Store, id: str) -> None:
    submit(store, "a")
    for ask in (store.get, store.delete):
        with pytest.raises(NoSuchJob):
            ask(id)
    assert set(store.many([id, "a"])) == {"a"}


def test_a_job_goes_its_way(store: Store) -> None:
    job, new = submit(store, "a")
    assert new and job.state == "queued" and job.request == {"n": "a"} and not job.over
    taken = store.claim("w", 2.0)
    assert taken is not None and (taken.id, taken.state, taken.attempts) == ("a", "running", 1)
    assert store.claim("w", 2.0) is None
    store.beat(taken, {"eta": 3.5})
    assert store.get("a").progress == {"eta": 3.5} and store.get("a").beat == taken.beat + 1
    store.finish(taken, {"parts": {}}, 5.0)
    done = store.get("a")
    assert (done.state, done.ended, done.outcome, done.over) == ("done", 5.0, {"parts": {}}, True)
    assert done.token is None and done.worker is None and done.progress is None
    assert store.counts() == {"queued": 0, "running": 0, "done": 1, "failed": 0}


def test_the_same_request_is_the_same_job(store: Store) -> None:
    first, _ = submit(store, "a")
    again, new = submit(store, "a", folder="other")
    assert not new and again == first


def test_a_failed_job_can_be_tried_again(store: Store) -> None:
    submit(store, "a")
    taken = store.claim("w", 2.0)
    assert taken is not None
    store.fail(taken, {"status": 422}, 3.0)
    assert store.get("a").outcome == {"status": 422}
    again, new = submit(store, "a", folder="other")
    assert new and again.state == "queued" and again.folder == "other" and again.attempts == 0


def test_the_oldest_comes_first(store: Store) -> None:
    for id, now in (("late", 9.0), ("early", 1.0), ("middle", 5.0)):
        submit(store, id, now=now)
    order = [job.id for job in iter(lambda: store.claim("w", 10.0), None)]
    assert order == ["early", "middle", "late"]


def test_who_lost_the_lease_writes_nothing(store: Store) -> None:
    submit(store, "a")
    old = store.claim("old", 2.0)
    (lease,) = store.leases()
    assert old is not None and (lease.id, lease.worker) == ("a", "old")
    assert store.expire(lease, attempts=5, problem={}, now=3.0)
    assert not store.expire(lease, attempts=5, problem={}, now=3.0)
    new = store.claim("new", 4.0)
    assert new is not None and new.attempts == 2
    for change in (
        lambda: store.beat(old, {"eta": 0}),
        lambda: store.finish(old, {"by": "old"}, 5.0),
        lambda: store.fail(old, {}, 5.0),
        lambda: store.release(old),
    ):
        with pytest.raises(LostLease):
            change()
    assert store.get("a") == new
    store.finish(new, {"by": "new"}, 6.0)
    assert store.get("a").outcome == {"by": "new"}


def test_a_beat_saves_the_lease(store: Store) -> None:
    submit(store, "a")
    job = store.claim("w", 2.0)
    (seen,) = store.leases()
    assert job is not None
    store.beat(job)
    assert not store.expire(seen, attempts=1, problem={}, now=3.0)
    assert store.get("a").state == "running"


def test_a_job_on_which_workers_die_fails_in_the_end(store: Store) -> None:
    submit(store, "a")
    for attempt in range(1, 4):
        assert store.claim("w", 2.0) is not None
        (lease,) = store.leases()
        store.expire(lease, attempts=3, problem={"status": 500}, now=7.0)
        assert store.get("a").state == ("queued" if attempt < 3 else "failed")
    assert store.get("a").outcome == {"status": 500} and store.get("a").ended == 7.0


def test_a_release_is_not_an_attempt(store: Store) -> None:
    submit(store, "a")
    for _ in range(4):
        job = store.claim("w", 2.0)
        assert job is not None and job.attempts == 1
        store.release(job)
    assert store.get("a").state == "queued"


def test_deleting_ends_all_claims(store: Store) -> None:
    submit(store, "a")
    job = store.claim("w", 2.0)
    assert job is not None and store.delete("a").folder == "folder-a"
    with pytest.raises(LostLease):
        store.beat(job)
    for gone in (store.get, store.delete):
        with pytest.raises(NoSuchJob):
            gone("a")
    # The same request begins anew, and the old worker has no part in it.
    submit(store, "a", folder="second")
    with pytest.raises(LostLease):
        store.finish(job, {}, 3.0)


def test_only_what_ended_before_is_deleted(store: Store) -> None:
    for id in "abc":
        submit(store, id, now=float(ord(id)))
    for ended in (10.0, 20.0):
        job = store.claim("w", 2.0)
        assert job is not None
        store.finish(job, {}, ended)
    assert store.delete_ended(15.0) == ["folder-a"]
    assert store.folders() == {"folder-b", "folder-c"}
    assert set(store.many(["a", "b", "c"])) == {"b", "c"}


def test_the_queue_is_bounded_by_work_and_says_when_to_come_back(store: Store) -> None:
    store.set_fact("rate", 50.0)
    submit(store, "a", cost=1000, limit=300)  # one job always fits
    with pytest.raises(Busy) as full:
        submit(store, "b", cost=200, limit=1100)
    assert full.value.retry_after == pytest.approx((1000 + 200 - 1100) / 50)
    with pytest.raises(Busy) as full:
        submit(store, "b", cost=200, limit=1100, workers=2)
    assert full.value.retry_after == pytest.approx(1.0)
    submit(store, "b", cost=100, limit=1100)
    assert store.waiting() == 1100 and store.waiting(store.get("a")) == 0


def test_the_rate_follows_what_is_measured(store: Store) -> None:
    store.set_fact("rate", 100.0)
    for id in "ab":
        submit(store, id, cost=1000)
        job = store.claim("w", 2.0)
        assert job is not None
        store.finish(job, {}, 3.0, seconds=5.0)
    assert 100.0 < store.rate() < 200.0
    assert store.rate() == pytest.approx(200 - 100 * 0.7**2)


def _race(count: int, what: Callable[[int], Any]) -> list[Any]:
    """What ``count`` threads give that all begin at once."""
    start, results, errors = threading.Barrier(count), [None] * count, []

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = what(number)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    return results


def test_many_who_submit_the_same_make_one_job(store: Store) -> None:
    answers = _race(8, lambda n: submit(store, "a", folder=f"folder-{n}"))
    assert [new for _, new in answers].count(True) == 1
    assert len({job.folder for job, _ in answers}) == 1


def test_many_who_claim_get_each_job_once(store: Store) -> None:
    for number in range(20):
        submit(store, f"{number:02}", now=float(number))
    answers = _race(5, lambda n: [job.id for job in iter(lambda: store.claim(f"w{n}", 1.0), None)])
    assert sorted(id for ids in answers for id in ids) == [f"{number:02}" for number in range(20)]


def test_the_queue_does_not_overflow_in_a_race(store: Store) -> None:
    def one(number: int) -> bool:
        try:
            submit(store, str(number), cost=100, limit=300)
        except Busy:
            return False
        return True

    assert _race(8, one).count(True) == 3 and store.waiting() == 300


class TestObserver:
    def test_a_worker_is_dead_when_its_number_stands_still(self, store: Store) -> None:
        submit(store, "a")
        job = store.claim("elsewhere:1", 2.0)
        time = [0.0]
        observer = Observer(store, lease=30, attempts=5, elapsed=lambda: time[0])
        assert job is not None and observer.look(0.0) == 0
        time[0] = 29
        assert observer.look(0.0) == 0
        store.beat(job)
        time[0] = 31
        assert observer.look(0.0) == 0  # it has moved; the count begins anew
        time[0] = 60
        assert observer.look(0.0) == 0
        time[0] = 61
        assert observer.look(0.0) == 1 and store.get("a").state == "queued"

    def test_clocks_that_jump_end_no_lease(self, store: Store) -> None:
        """The time of day of all who take part may be anything: only the stopwatch counts."""
        submit(store, "a", now=1e9)
        job = store.claim("elsewhere:1", -5e9)
        observer = Observer(store, lease=30, attempts=5, elapsed=lambda: 0.0)
        for wall in (0.0, 1e12, -1e12):
            assert observer.look(wall) == 0
        assert job is not None
        store.beat(job)
        store.finish(job, {}, -1e9)
        assert store.get("a").state == "done"

    def test_a_process_of_this_machine_that_has_ended_is_known_at_once(self, store: Store) -> None:
        submit(store, "a")
        submit(store, "b", now=2.0)
        here = name_of_this_worker()
        ended = subprocess.Popen(["true"])
        ended.wait()
        assert store.claim(here, 0.0) is not None
        assert store.claim(here.rsplit(":", 1)[0] + f":{ended.pid}", 0.0) is not None
        assert Observer(store, lease=30, attempts=5, elapsed=lambda: 0.0).look(0.0) == 1
        assert store.get("a").state == "running" and store.get("b").state == "queued"


def test_several_processes_may_open_it_at_once(url: str) -> None:
    for opened in _race(4, lambda n: Store(url)):
        opened.counts()
        opened.close()


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    for wrong in ("mysql://x/y", "nonsense", "oracle://a"):
        with pytest.raises(UsageError, match="postgresql://"):
            Store(wrong)
    with pytest.raises(StoreBroken):
        Store(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
    pytest.importorskip("psycopg")
    with pytest.raises(StoreBroken) as away:
        Store(f"postgresql://u:secret@/db?host={tmp_path}")
    assert "secret" not in str(away.value)


def test_what_is_submitted_is_what_is_kept(store: Store) -> None:
    job, _ = submit(store, "a")
    assert job == store.get("a")
