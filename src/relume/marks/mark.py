r"""What every mark has in common."""

__all__ = ["Detection", "Floats", "Mark", "seed_of"]

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    r"""How much an array looks like a key.

    ``similarity`` is a cosine, 1 for an untouched mark. ``p_value`` bounds the probability of so much
    likeness by chance: for any array at all, at most a share p of all keys gives a value of p or less.
    """

    similarity: float
    p_value: float


class Mark(Protocol):
    """A mark of one key; ``medium`` says what it is put into: starting noise (…, C, H, W) or a picture
    H×W×C in [0,1]."""

    medium: ClassVar[Literal["noise", "picture"]]

    def embed(self, array: NDArray[Any]) -> NDArray[Any]:
        """A marked copy, of the same shape and dtype."""
        ...

    def detect(self, array: NDArray[Any]) -> Detection:
        """How much one array looks like the key."""
        ...


def seed_of(key: str) -> int:
    """All bits of a key, as the seed of a generator."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")
