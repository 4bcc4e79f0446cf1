r"""Pillow's warnings (large pictures, odd EXIF), kept from leaking out of :func:`relume.image.read`.

``warnings.catch_warnings`` saves and restores one list for the whole process. Entered from several threads,
it may restore in the wrong order and leave its filter behind; here the first one in saves, and the last one
out restores.
"""

__all__ = ["quiet"]

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_lock = threading.Lock()
_stack = ExitStack()
_inside = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Ignores the warnings that modules of Pillow give, and no others."""
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            _stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _stack.close()
