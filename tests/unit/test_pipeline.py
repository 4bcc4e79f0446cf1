r"""Read, work, write: in order, at most one ahead, and nothing left half done."""

import threading
from contextlib import closing
from typing import Any

import pytest

from relume.cli.pipeline import pipeline


class Stages:
    """Three stages that note what they do; ``raising`` is a stage and the item at which it fails."""

    def __init__(
        self, raising: tuple[str, int] | None = None, error: type[BaseException] = ValueError
    ) -> None:
        self.log: list[tuple[str, int]] = []
        self.alive = self.most = 0
        self._raising, self._error, self._lock = raising, error, threading.Lock()

    def _do(self, name: str, item: int, change: int) -> None:
        with self._lock:
            self.log.append((name, item))
            self.alive += change
            self.most = max(self.most, self.alive)
        if self._raising == (name, item):
            raise self._error(item)

    def read(self, item: int) -> int:
        self._do("read", item, 1)
        return item * 10

    def work(self, item: int, given: int) -> int:
        assert given == item * 10
        self._do("work", item, 0)
        return given + 1

    def write(self, item: int, done: int) -> None:
        assert done == item * 10 + 1
        self._do("write", item, -1)

    def of(self, name: str) -> list[int]:
        return [item for what, item in self.log if what == name]


@pytest.mark.parametrize("overlap", [True, False])
def test_order_is_kept_and_the_memory_is_bounded(overlap: bool) -> None:
    stages, items = Stages(), list(range(20))
    assert list(pipeline(items, stages.read, stages.work, stages.write, overlap=overlap)) == items
    assert all(stages.of(name) == items for name in ("read", "work", "write"))
    assert stages.most <= (3 if overlap else 1)


def test_the_stages_really_run_at_the_same_time() -> None:
    """Work on 1 waits until 2 is read, and the write of 1 until 2 is worked on: in turn this would hang."""
    reading, working = threading.Event(), threading.Event()

    def read(item: int) -> int:
        if item == 2:
            reading.set()
        return item

    def work(item: int, given: int) -> int:
        if item == 1:
            assert reading.wait(30)
        else:
            working.set()
        return given

    def write(item: int, done: int) -> None:
        if item == 1:
            assert working.wait(30)

    assert list(pipeline([1, 2], read, work, write)) == [1, 2]


@pytest.mark.parametrize("name", ["read", "work", "write"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_a_stage_raises_ends_it_in_turn(name: str, error: Any) -> None:
    stages, seen = Stages((name, 3), error), []
    with pytest.raises(error), closing(pipeline(range(9), stages.read, stages.work, stages.write)) as items:
        seen += items
    assert seen in ([0, 1, 2], [0, 1])
    assert stages.of("write")[:3] == [0, 1, 2], "what was worked on before is written"
    assert max(stages.of("work")) <= 4 and max(stages.of("read")) <= 5
    assert threading.active_count() == 1 or not any(
        thread.name.startswith(("read", "write")) for thread in threading.enumerate()
    )


def test_closing_early_waits_for_the_write() -> None:
    stages = Stages()
    with closing(pipeline(range(9), stages.read, stages.work, stages.write)) as items:
        assert next(items) == 0
    assert stages.of("write") == stages.of("work") == [0, 1]
    assert stages.of("read") in ([0, 1], [0, 1, 2])


def test_nothing_is_nothing() -> None:
    stages = Stages()
    assert list(pipeline([], stages.read, stages.work, stages.write)) == [] == stages.log
