r"""The scheduler: steps of many pictures on one engine, and what each picture notices of the others."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relume import Restorer, Settings, image
from relume.bundle import Bundle
from relume.engines import BATCH_TOLERANCE, openvino
from relume.errors import EngineError, OutOfMemory, UsageError
from relume.tasks.progress import Moment
from relume.tasks.scheduler import Scheduler
from relume.tasks.steps import Chain, one_by_one


def chain(seed: int, steps: int, side: int = 2) -> Chain:
    """A tile whose every step depends on all that were before."""
    x = np.random.default_rng(seed).random((1, 3, side, side), dtype=np.float32)
    t = np.full(1, seed, np.float32)
    for _ in range(steps):
        x = yield x, t
    return x[0]


def net(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Knows nothing of batches, so any mix-up of places or pictures shows in the bits."""
    return np.cos(3 * x[:, ::-1]) * (1 + t[:, None, None, None])


class Recorded:
    """A net that keeps a record: who was in each batch, by the seed of its tile."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        self.batches.append([int(seed) for seed in t])
        return net(x, t)

    @property
    def order(self) -> list[int]:
        return [seed for batch in self.batches for seed in batch]


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


class Crowd:
    """Pictures in threads of their own, and a device that moves only when told."""

    def __init__(self, *, batch: int = 1) -> None:
        self.net = Recorded()
        self.scheduler = Scheduler(self.net, batch=batch, thread=False)
        self.threads: list[threading.Thread] = []

    def enter(self, *chains: Chain) -> threading.Thread:
        thread = threading.Thread(target=lambda: list(self.scheduler.run(chains)), daemon=True)
        before = self.scheduler.waiting
        thread.start()
        self.threads.append(thread)
        until(lambda: self.scheduler.waiting > before)
        return thread

    def step(self, waiting: int) -> list[int]:
        """Lets the device evaluate one batch, as soon as so many evaluations wait."""
        until(lambda: self.scheduler.waiting == waiting)
        self.scheduler.step()
        return self.net.batches[-1]


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_whoever_is_beside_it_a_picture_has_the_same_bits(data: st.DataObject) -> None:
    """Any number of pictures, tiles, steps and sizes, any batch: as if each was alone."""
    batch = data.draw(st.integers(1, 9))
    tile = st.tuples(st.integers(0, 99), st.integers(1, 4), st.sampled_from([2, 3]))
    pictures = data.draw(st.lists(st.lists(tile, max_size=6), min_size=1, max_size=5))
    sizes: list[int] = []

    def engine(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        return net(x, t)

    scheduler = Scheduler(engine, batch=batch)
    with ThreadPoolExecutor(len(pictures)) as pool:
        done = list(pool.map(lambda tiles: list(scheduler.run(chain(*tile) for tile in tiles)), pictures))
    for tiles, results in zip(pictures, done, strict=True):
        alone = list(one_by_one(net)(chain(*tile) for tile in tiles))
        assert [a.tobytes() for a in alone] == [b.tobytes() for b in results]
    assert all(size <= batch and size.bit_count() == 1 for size in sizes)
    assert sum(sizes) == sum(steps for tiles in pictures for _, steps, _ in tiles)


def test_batches_fill_with_steps_of_different_pictures() -> None:
    crowd = Crowd(batch=4)
    for seed in range(3):
        crowd.enter(chain(seed, 2))
    crowd.enter(chain(9, 2, side=3))
    assert crowd.step(4) == [0, 1], "three of a kind wait: two go, as batches are powers of two"
    batches = [sorted(crowd.step(4)), sorted(crowd.step(3)), sorted(crowd.step(2)), sorted(crowd.step(1))]
    assert batches.count([9]) == 2, "another size goes by itself"
    for thread in crowd.threads:
        thread.join()
    assert sorted(crowd.net.order) == [0, 0, 1, 1, 2, 2, 9, 9]


@pytest.mark.parametrize(("side", "turns"), [(2, 8), (1, 6)])
def test_a_thumbnail_does_not_wait_for_a_scan(side: int, turns: int) -> None:
    """A hundred tiles are under way: four steps of another picture have every second turn."""
    crowd = Crowd()
    scan = crowd.enter(*(chain(100 + k, 1) for k in range(100)))
    for _ in range(10):
        crowd.step(2)
    thumbnail = crowd.enter(chain(1, 4, side=side))
    served = []
    while served.count(1) < 4:
        served += crowd.step(3)
    thumbnail.join()
    assert len(served) <= turns
    while scan.is_alive():
        crowd.scheduler.step()
    assert sorted(set(crowd.net.order) - {1}) == list(range(100, 200))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_scan_is_not_starved_by_thumbnails(batch: int) -> None:
    """Three thumbnails at any moment, each followed by the next: a quarter of the device is the scan's."""
    crowd = Crowd(batch=batch)
    crowd.enter(*(chain(1000 + k, 1) for k in range(200)))
    ahead = 2 * batch
    until(lambda: crowd.scheduler.waiting == ahead)
    entered = 0
    for _ in range(40):
        while entered - sum(seed < 1000 for seed in crowd.net.order) < 3:
            crowd.enter(chain(entered, 1))
            entered += 1
        crowd.step(ahead + 3)
    share = np.mean([seed >= 1000 for seed in crowd.net.order])
    assert share >= 0.25 - 1 / 40


def test_of_one_picture_the_earlier_tile_comes_first() -> None:
    """So its rows can be blended, and few of its tiles are in memory."""
    crowd = Crowd()
    crowd.enter(*(chain(k, 3) for k in range(4)))
    order = [crowd.step(2)[0] for _ in range(9)]
    assert order == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_who_leaves_is_not_evaluated_any_more() -> None:
    record = Recorded()
    scheduler = Scheduler(record, thread=False)
    thread = threading.Thread(target=lambda: (until(lambda: scheduler.waiting == 2), scheduler.step()))
    thread.start()
    closed: list[int] = []

    def noticed(number: int) -> Chain:
        try:
            return (yield from chain(number, 2))
        finally:
            closed.append(number)

    class Enough(Exception):
        pass

    def stopping() -> Chain:
        yield from chain(0, 1)
        raise Enough

    with pytest.raises(Enough):
        list(scheduler.run([stopping(), noticed(1), noticed(2)]))
    thread.join()
    assert scheduler.waiting == 0 and scheduler.step() == 0
    assert record.order == [0] and closed == [1], "the second tile was under way, the third not yet"


def test_nobody_fails_because_of_a_neighbour() -> None:
    def engine(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        if (t == 13).any():
            raise EngineError("unlucky")
        return net(x, t)

    scheduler = Scheduler(engine, batch=4)

    def picture(seed: int) -> Any:
        try:
            return [x.tobytes() for x in scheduler.run([chain(seed, 5), chain(seed, 5)])]
        except EngineError as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(picture, (7, 13, 8)))
    assert results[1] == "unlucky"
    for seed, got in ((7, results[0]), (8, results[2])):
        assert got == [x.tobytes() for x in one_by_one(net)([chain(seed, 5), chain(seed, 5)])]


def test_batches_that_do_not_fit_into_the_memory_become_smaller() -> None:
    sizes: list[int] = []

    def engine(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        if len(x) > 2:
            raise OutOfMemory("too many")
        return net(x, t)

    chains = lambda: (chain(k, 2) for k in range(40))  # noqa: E731
    got = list(Scheduler(engine, batch=8).run(chains()))
    assert [a.tobytes() for a in got] == [b.tobytes() for b in one_by_one(net)(chains())]
    # Eight, then four at most: each failure halves what is tried from then on. (A first batch may be small.)
    tried = [size for size in sizes if size > 2]
    assert len(tried) <= 2 and tried == sorted(set(tried), reverse=True)


def test_wrong_calls_say_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="1 or more"):
        Scheduler(net, batch=0)


def photograph(height: int, width: int, seed: int) -> image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image.from_array(levels)


PICTURES = [(150, 131, 0.3), (40, 50, 0.5), (64, 200, 1.0)]


@pytest.fixture(scope="module", params=["openvino", "onnx"])
def restorer(request: pytest.FixtureRequest, tiny_bundle: Bundle) -> Restorer:
    return Restorer(tiny_bundle.path, engine=request.param, precision="f32", threads=1)


def crowd_of(restorer: Restorer, scheduler: Scheduler) -> list[tuple[Any, Any]]:
    """Each of the pictures alone, and all of them at once."""
    wanted = [
        (photograph(height, width, k), Settings(fidelity=fidelity, seed=k))
        for k, (height, width, fidelity) in enumerate(PICTURES)
    ]
    alone = [restorer.restore(*each) for each in wanted]
    with ThreadPoolExecutor(len(wanted)) as pool:
        together = list(pool.map(lambda each: restorer.restore(*each, run=scheduler.run), wanted))
    return list(zip(alone, together, strict=True))


def test_restored_beside_others_a_picture_has_the_same_bytes(restorer: Restorer) -> None:
    for alone, together in crowd_of(restorer, Scheduler(restorer.engine)):
        assert together.image.pixels.tobytes() == alone.image.pixels.tobytes()
        assert together.mask.tobytes() == alone.mask.tobytes()


def test_restored_in_batches_it_is_the_same_to_what_the_engine_states(restorer: Restorer) -> None:
    sizes: list[int] = []

    def engine(*arrays: np.ndarray) -> Any:
        sizes.append(len(arrays[0]))
        return restorer.engine(*arrays)

    steps = 4  # each hands its difference on to the next
    bound = steps * BATCH_TOLERANCE["f32"]
    for alone, together in crowd_of(restorer, Scheduler(engine, batch=4)):
        assert np.abs(together.image.pixels - alone.image.pixels).max() <= bound
        assert np.abs(together.mask - alone.mask).max() <= bound
    assert max(sizes) > 1, "nothing ran in a batch"


def test_what_an_observer_raises_ends_one_picture_and_no_other(restorer: Restorer) -> None:
    class Enough(Exception):
        pass

    def stop(moment: Moment) -> None:
        if moment.done == 3:
            raise Enough

    scheduler = Scheduler(restorer.engine)
    given, wanted = photograph(120, 130, 5), Settings(steps=2)
    told: list[float] = []
    with ThreadPoolExecutor(2) as pool:
        stopped = pool.submit(restorer.restore, given, wanted, observe=stop, run=scheduler.run)
        whole = pool.submit(
            restorer.restore, given, wanted, observe=lambda m: told.append(m.share), run=scheduler.run
        )
    with pytest.raises(Enough):
        stopped.result()
    assert whole.result().image.pixels.tobytes() == restorer.restore(given, wanted).image.pixels.tobytes()
    assert told == sorted(told) and told[-1] == 1 and scheduler.waiting == 0


def test_detection_shares_the_engine_too(restorer: Restorer) -> None:
    given = photograph(90, 70, 6)
    found = restorer.detect(given, run=Scheduler(restorer.engine).run)
    assert found.tobytes() == restorer.detect(given).tobytes()


def test_a_chain_may_ask_for_nothing() -> None:
    def silent(value: float) -> Chain:
        if value < 0:
            yield (np.zeros((1, 1), np.float32),)
        return np.full((1, 1), value, np.float32)

    scheduler = Scheduler(net, batch=2)
    results = list(scheduler.run([silent(1), chain(0, 3), silent(2), silent(3)]))
    assert [float(results[i][0, 0]) for i in (0, 2, 3)] == [1, 2, 3]
    assert results[1].tobytes() == next(iter(one_by_one(net)([chain(0, 3)]))).tobytes()


def test_so_many_evaluations_run_at_once_as_the_engine_takes() -> None:
    together = threading.Barrier(2, timeout=20)

    lock, under_way, seen = threading.Lock(), 0, []

    def pair(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        nonlocal under_way
        with lock:
            under_way += 1
            seen.append(under_way)
            early = len(seen) <= 2  # at the end the two steps of one chain may be all that is left
        if early:
            together.wait()  # breaks unless a second evaluation is under way
        answer = net(x, t)
        with lock:
            under_way -= 1
        return answer

    seeds = [1, 2, 3, 4]
    got = list(Scheduler(pair, calls=2).run(chain(seed, 2) for seed in seeds))
    assert len(seen) == 8 and max(seen) == 2
    alone = list(one_by_one(net)(chain(seed, 2) for seed in seeds))
    assert [each.tobytes() for each in got] == [each.tobytes() for each in alone]
    with pytest.raises(UsageError, match="hold nothing"):
        Scheduler(net, calls=0)


def test_on_an_engine_for_several_calls_a_picture_has_the_same_bytes(tiny_bundle: Bundle) -> None:
    if not openvino.probe().available:
        pytest.skip(openvino.probe().reason)
    one, two = (
        Restorer(tiny_bundle.path, engine="openvino", precision="f32", threads=2, calls=calls)
        for calls in (1, 2)
    )
    assert (one.engine.calls, two.engine.calls) == (1, 2)
    scheduler = Scheduler(two.engine, calls=two.engine.calls)
    for (_, together), (alone, _) in zip(crowd_of(two, scheduler), crowd_of(one, scheduler), strict=True):
        assert together.image.pixels.tobytes() == alone.image.pixels.tobytes()
        assert together.mask.tobytes() == alone.mask.tobytes()
