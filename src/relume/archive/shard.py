r"""A shard: the i-th of n parts of an archive, the same on every machine and at any time."""

__all__ = ["Shard"]

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePath

from relume.errors import UsageError


@dataclass(frozen=True)
class Shard:
    r"""Part ``index`` of ``count``, counted from 1.

    A picture belongs to the part

    .. math:: 1 + \mathrm{SHA256}(\text{folder/stem}) \bmod n

    so that it depends on nothing but its own name: parts that start hours apart agree, even where pictures
    came or went meanwhile. The suffix and the case of letters are left out, so that pictures whose results
    could have one name (``a.cr2`` and ``a.nef``) are in one part, where that is seen.

    Raises:
        UsageError: ``index`` is not between 1 and ``count``.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            n = self.count
            raise UsageError(f"there is no shard {self}: they go from 1/{n} to {n}/{n}")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From ``i/n``.

        >>> Shard.parse("3/16")
        Shard(index=3, count=16)

        Raises:
            UsageError: it is no such thing.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if match is None:
            raise UsageError(f"{text!r} is no shard: give something like 3/16")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, relative: PurePath) -> bool:
        """Whether a picture, by its place in the archive, is in this part.

        >>> [Shard(i, 3).holds(PurePath("box/a.jpg")) for i in (1, 2, 3)].count(True)
        1
        """
        if self.count == 1:
            return True
        name = relative.with_suffix("").as_posix().casefold()
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.index - 1
