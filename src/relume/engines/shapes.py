r"""Something made once for each set of input shapes, the latest of them kept."""

__all__ = ["MOST", "ByShapes", "Shapes"]

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

MOST = 12  # three sides of tiles, batches of 1, 2, 4 and 8

Shapes = tuple[tuple[int, ...], ...]


class ByShapes:
    """``make(shapes)``, remembered for the ``MOST`` sets of shapes that were used last. Not thread-safe.

    >>> made = ByShapes(lambda shapes: len(shapes))
    >>> made(((1, 3), (1,))), len(made)
    (2, 1)
    """

    def __init__(self, make: Callable[[Shapes], Any]) -> None:
        self._make = make
        self._made: OrderedDict[Shapes, Any] = OrderedDict()

    def __call__(self, shapes: Shapes) -> Any:
        if shapes not in self._made:
            made = self._make(shapes)
            while len(self._made) >= MOST:
                self._made.popitem(last=False)
            self._made[shapes] = made
        self._made.move_to_end(shapes)
        return self._made[shapes]

    def values(self) -> tuple[Any, ...]:
        """What is remembered, the latest last."""
        return tuple(self._made.values())

    def __len__(self) -> int:
        return len(self._made)
