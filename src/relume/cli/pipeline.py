r"""Three stages over a list: the next item is read and the last one written while one is worked on.

.. code-block:: text

    read      1   2   3   4            a thread
    work          1   2   3   4        the caller's own
    write             1   2   3   4    a thread

No stage is more than one item ahead of the next, so that at most three items are in memory.
"""

__all__ = ["pipeline"]

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Done = TypeVar("Done")


def pipeline(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    work: Callable[[Item, Read], Done],
    write: Callable[[Item, Done], None],
    *,
    overlap: bool = True,
) -> Generator[Item, None, None]:
    """Hands out the items in their order, each when it is written.

    What a stage raises is raised here, when its item's turn comes. On any exception, an interruption too, no
    further item is begun, and a write that runs is waited for: nothing is left half done. Close the iterator
    (``contextlib.closing``) to have the same where the loop round it ends early. Without ``overlap`` the
    stages run one after the other, in the caller's thread.

    >>> list(pipeline([1, 2], lambda n: n, lambda n, read: read + 1, lambda n, done: print(done)))
    2
    3
    [1, 2]
    """
    if not overlap:
        for item in items:
            write(item, work(item, read(item)))
            yield item
        return
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        ahead: list[Future[Read]] = []
        behind: list[tuple[Item, Future[None]]] = []
        try:
            for index, item in enumerate(items):
                given = (ahead.pop() if ahead else reader.submit(read, item)).result()
                ahead += [reader.submit(read, following) for following in items[index + 1 : index + 2]]
                done = work(item, given)
                del given
                written = list(_written(behind))
                behind.append((item, writer.submit(write, item, done)))
                del done
                yield from written
            yield from _written(behind)
        finally:
            for waiting in ahead:
                waiting.cancel()


def _written(behind: list[tuple[Item, Future[None]]]) -> Iterator[Item]:
    while behind:
        item, writing = behind.pop()
        writing.result()
        yield item
