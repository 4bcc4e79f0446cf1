r"""What can go wrong, and what it means to a caller.

Every error that relume raises on purpose is a :class:`RelumeError`. Its message is one line for a person and
holds the way out; its ``exit_code`` is what the command line ends with.

.. code-block:: text

    RelumeError                     1
    ├── UsageError                  2   the call itself is wrong (also a ValueError)
    │   └── OutputExists            2   a file stands where the result should go
    ├── ImageError                  3   one picture cannot be read or written
    │   ├── UnreadableImage         3   truncated, empty, not a picture
    │   ├── UnsupportedImage        3   a picture, of a kind that is refused (animated, ...)
    │   ├── InconsistentScan        3   parts that contradict each other (a reference of another binning, ...)
    │   └── ImageTooLarge           3   more pixels than the limit allows
    ├── NoInput                     4   nothing usable among the inputs
    ├── BundleError                 5
    │   ├── BundleNotFound          5   no model of that name
    │   └── BundleCorrupt           5   a checksum, a card or a tensor is wrong
    ├── EngineError                 6
    │   ├── EngineUnavailable       6   the engine, device or precision asked for cannot run here
    │   └── OutOfMemory             6   the device or the stated memory bound is too small
    ├── MissingExtra                6   an optional dependency is not installed (also an ImportError)
    ├── TrainingError               1   a run cannot start, resume or continue
    └── ServiceError                1   the service cannot take or keep work
        ├── Busy                    1   the queue is full; holds when to come back
        ├── Draining                1   the service is about to stop
        ├── NoSuchJob               1   there is no such job (any more)
        ├── NotReady                1   the job has no result (yet)
        ├── LostLease               1   another worker has the job, or it was deleted
        ├── Unreachable             1   nobody answers at the service's address
        ├── StoreFull               1   no room is left for pictures or jobs
        └── StoreBroken             1   the job table cannot be read or reached
"""

__all__ = [
    "RelumeError",
    "UsageError",
    "OutputExists",
    "ImageError",
    "UnreadableImage",
    "UnsupportedImage",
    "InconsistentScan",
    "ImageTooLarge",
    "NoInput",
    "BundleError",
    "BundleNotFound",
    "BundleCorrupt",
    "EngineError",
    "EngineUnavailable",
    "OutOfMemory",
    "MissingExtra",
    "TrainingError",
    "ServiceError",
    "Busy",
    "Draining",
    "NoSuchJob",
    "NotReady",
    "LostLease",
    "Unreachable",
    "StoreFull",
    "StoreBroken",
]


class RelumeError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UsageError(RelumeError, ValueError):
    """The call itself is wrong: an option, a value, a combination."""

    exit_code = 2


class OutputExists(UsageError):
    """A file stands where the result should go, and overwriting was not asked for."""


class ImageError(RelumeError):
    """One picture cannot be read or written."""

    exit_code = 3


class UnreadableImage(ImageError):
    """The file is empty, truncated, or not a picture."""


class UnsupportedImage(ImageError):
    """The file is a picture of a kind that is refused on purpose."""


class InconsistentScan(ImageError):
    """The parts of a measurement contradict each other: sizes, binning, exposure, counts."""


class ImageTooLarge(ImageError):
    """The picture has more pixels than the limit allows."""


class NoInput(RelumeError):
    """None of the inputs holds a usable picture."""

    exit_code = 4


class BundleError(RelumeError):
    """A model on disk cannot be used."""

    exit_code = 5


class BundleNotFound(BundleError):
    """There is no model of that name or at that path."""


class BundleCorrupt(BundleError):
    """A checksum, the card or a tensor is not what it should be."""


class EngineError(RelumeError):
    """A model cannot be run."""

    exit_code = 6


class EngineUnavailable(EngineError):
    """The engine, device or precision that was asked for cannot run on this machine."""


class OutOfMemory(EngineError):
    """The device, or the memory bound that was stated, is too small for the work."""


class MissingExtra(RelumeError, ImportError):
    """An optional dependency is not installed; the message holds the ``pip install`` line."""

    exit_code = 6

    def __init__(self, what: str, extra: str, *, install: str | None = None) -> None:
        way = install or f'pip install "relume[{extra}]"'
        super().__init__(f"{what} needs an optional dependency: {way}")
        self.extra = extra


class TrainingError(RelumeError):
    """A training run cannot start, resume or continue."""


class ServiceError(RelumeError):
    """The service cannot take or keep work."""


class Busy(ServiceError):
    """The queue is full; ``retry_after`` says in how many seconds there should be room."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Draining(ServiceError):
    """The service is about to stop and takes nothing new."""


class NoSuchJob(ServiceError):
    """There is no such job: it never was, it was deleted, or its time is over."""


class NotReady(ServiceError):
    """The job has no result, not yet or not at all."""


class LostLease(ServiceError):
    """The job was given to another worker, or deleted, while this one worked on it."""


class Unreachable(ServiceError):
    """Nobody answers at the service's address, or not any more."""


class StoreFull(ServiceError):
    """No room is left on the disk for pictures or jobs."""


class StoreBroken(ServiceError):
    """The job table cannot be read or reached."""
