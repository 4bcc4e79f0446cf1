r"""The roofline: what a machine can do, measured, and how near to it a computation comes.

.. math:: P(I) = \min(P_{\max},\; I \cdot B), \qquad I = \text{FLOP} / \text{bytes}

Left of the ridge :math:`P_{\max} / B` memory is the bound, right of it arithmetic.

Source: Williams, Waterman, Patterson, *Roofline: An Insightful Visual Performance Model for Multicore
Architectures*, 2009; copy bandwidth as McCalpin, *STREAM*, 1995.
"""

__all__ = ["Peak", "Place", "Work", "copy_bandwidth", "matmul_rate", "place"]

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from relume.bench.clock import Call
from relume.errors import UsageError

Bound = Literal["compute", "memory"]


@dataclass(frozen=True)
class Peak:
    """What was measured of a machine: FLOP/s of a large matrix product, bytes/s of a large copy."""

    flop_per_s: float
    bytes_per_s: float

    @property
    def ridge(self) -> float:
        """The intensity in FLOP a byte at which both bounds meet."""
        return self.flop_per_s / self.bytes_per_s

    def attainable(self, intensity: float) -> float:
        """FLOP/s that the roof allows at an intensity."""
        return min(self.flop_per_s, intensity * self.bytes_per_s)


@dataclass(frozen=True)
class Work:
    """What a computation has to do: multiplications and additions, and the bytes it cannot do without."""

    flop: float
    bytes: float


@dataclass(frozen=True)
class Place:
    """Where a computation stands under the roof.

    ``of_peak`` is its share of the matrix product's FLOP/s, ``of_attainable`` of what the roof allows at its
    intensity.
    """

    flop_per_s: float
    intensity: float
    of_peak: float
    of_attainable: float
    bound: Bound


def place(work: Work, seconds: float, peak: Peak) -> Place:
    """Where ``work`` that took ``seconds`` stands.

    Raises
    ------
    UsageError
        If the time or the bytes are not above zero.

    >>> place(Work(flop=4e9, bytes=1e9), 2.0, Peak(flop_per_s=8e9, bytes_per_s=1e9))
    Place(flop_per_s=2000000000.0, intensity=4.0, of_peak=0.25, of_attainable=0.5, bound='memory')
    """
    if seconds <= 0 or work.bytes <= 0:
        raise UsageError(f"{work.bytes:g} bytes in {seconds:g} s have no place under a roof")
    rate, intensity = work.flop / seconds, work.flop / work.bytes
    return Place(
        flop_per_s=rate,
        intensity=intensity,
        of_peak=rate / peak.flop_per_s,
        of_attainable=rate / peak.attainable(intensity),
        bound="compute" if intensity >= peak.ridge else "memory",
    )


def matmul_rate(
    multiply: Call, side: int, *, tries: int = 5, clock: Callable[[], float] = time.perf_counter
) -> float:
    """FLOP/s of a product of two ``side`` × ``side`` matrices, the best of ``tries`` after a warm-up."""
    multiply()
    return 2.0 * side**3 / _best(multiply, tries, clock)


def copy_bandwidth(
    threads: int, *, mebibytes: int = 128, tries: int = 5, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Bytes/s of a copy by ``threads`` threads, the best of ``tries``; what is read and written counts.

    Half of the ``mebibytes`` is read and half is written; they should exceed the last cache severalfold.
    """
    there = np.ones(mebibytes * 2**20 // 8, np.float32)
    here = np.zeros_like(there)
    parts = list(zip(np.array_split(here, threads), np.array_split(there, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(*part), parts))

        copy()
        return float((there.nbytes + here.nbytes) / _best(copy, tries, clock))


def _best(call: Call, tries: int, clock: Callable[[], float]) -> float:
    taken = []
    for _ in range(tries):
        before = clock()
        call()
        taken.append(clock() - before)
    return min(taken)
