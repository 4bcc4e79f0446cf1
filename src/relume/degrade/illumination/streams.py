r"""Random numbers of a measurement: one seed, and streams that do not disturb each other."""

__all__ = ["stream", "log_uniform"]

from typing import Literal

import numpy as np

Purpose = Literal["instrument", "session", "drift", "sample", "mosaic", "noise", "flat"]
_ORDER: tuple[Purpose, ...] = ("instrument", "session", "drift", "sample", "mosaic", "noise", "flat")


def stream(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """The generator for one purpose: another sample leaves the noise as it is, and so on."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_ORDER.index(purpose), index)))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Between ``low`` and ``high``, every factor as likely as any other."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
