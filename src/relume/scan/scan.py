r"""The contract of a measurement: frames that are read when they are asked for, and what is known of them."""

__all__ = ["Format", "Frames", "References", "Role", "Scan", "keeps", "known"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from relume.errors import InconsistentScan, UnreadableImage
from relume.files import reading

Frame = npt.NDArray[np.float32]
Sample = npt.NDArray[Any]
Role = Literal["flats", "darks"]


class Frames(Sequence[Frame]):
    """A stack of N frames of H×W, each read when it is asked for.

    An index gives one frame, linear float32 in the units of the file; a slice gives the frames it names, in
    the slice's order, and reads none. No file stays open between two readings, so that a stack can be sent
    to another process.

    Args:
        size: (H, W) in pixels.
        dtype: the type of the stored samples.
        read: frame number → the stored samples (H, W).
        index: which frames of the file these are, in this order.
        name: what errors in reading are told of, with the number of the frame; without it ``read`` says
            itself what is wrong.
    """

    def __init__(
        self,
        size: tuple[int, int],
        dtype: npt.DTypeLike,
        read: Callable[[int], Sample],
        index: Sequence[int],
        name: str | None = None,
    ) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.dtype = np.dtype(dtype)
        self._read = read
        self._index = index
        self._name = name

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W)."""
        return (len(self), *self.size)

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, key: int) -> Frame: ...
    @overload
    def __getitem__(self, key: slice) -> "Frames": ...
    def __getitem__(self, key: int | slice) -> "Frame | Frames":
        if isinstance(key, slice):
            return Frames(self.size, self.dtype, self._read, self._index[key], self._name)
        return self._checked(self._index[key]).astype(np.float32)

    def __iter__(self) -> Iterator[Frame]:
        return (self[i] for i in range(len(self)))

    def raw(self, number: int) -> Sample:
        """One frame in the type in which it is stored."""
        return np.array(self._checked(self._index[number]))

    def stack(self) -> Frame:
        """All frames as one array (N, H, W) of float32."""
        return np.stack(list(self))

    def mean(self) -> Frame:
        """The mean over the frames (H, W); one frame is its own mean."""
        total = np.zeros(self.size)
        for frame in self:
            total += frame
        return (total / len(self)).astype(np.float32)

    def _checked(self, number: int) -> Sample:
        if self._name is None:
            return self._sized(self._read(number), f"frame {number + 1} is")
        with reading(f"{self._name}: frame {number + 1}"):
            return self._sized(self._read(number), "it is")

    def _sized(self, samples: Sample, what: str) -> Sample:
        if samples.shape != self.size:
            raise InconsistentScan(
                f"{what} {_size(samples.shape)}, the others {_size(self.size)}; leave it out"
            )
        return samples


def memory(stack: Sample) -> Frames:
    """Frames of an array (N, H, W), or of one frame (H, W)."""
    whole = stack[None] if stack.ndim == 2 else stack
    return Frames(whole.shape[1:], whole.dtype, whole.__getitem__, range(len(whole)))


class References(NamedTuple):
    """Frames to be used as flats or as darks.

    ``own`` is true for those that the file marks as such, and false for the frames of a file that marks none.
    Exposure (s) and binning are those of these frames, ``None`` where the file does not say.
    """

    frames: Frames
    own: bool
    exposure: float | None = None
    binning: int | None = None


@dataclass(frozen=True)
class Scan:
    """One measurement: its frames, its dark and flat frames, and its metadata.

    Lengths, energies and times are in µm, eV and seconds; ``None`` is what the file does not say. Row 0 is
    the upper border of every frame.

    Args:
        format: the name of the file format.
        path: where it was read from.
        frames: the images with the sample in them.
        flats: images of the empty field, or ``None``. Never divided out on reading.
        darks: images without light, or ``None``.
        angles: one rotation angle a frame, in degrees, or ``None``.
        positions: nominal (y, x) of each frame's upper left corner in a mosaic, in pixels, or ``None``.
        grid: (rows, columns) of a mosaic whose tiles fill a rectangle, or ``None``.
        pixel_size, energy, exposure, binning: of the frames; of exposures that differ, the mean.
        flat_exposure, flat_binning: of the flat frames.
        corrected: whether the file says that a flat field has been divided out already.
        facts: whatever else the file says, by its own names.
        exposures: in seconds, those that the file lists frame by frame, or ``None``.

    Raises:
        UnreadableImage: there is no frame.
        InconsistentScan: frames, flats, darks, angles or positions do not belong together, or flats are there
            and the frames were exposed so differently that one scale does not do.
    """

    format: str
    path: Path
    frames: Frames
    flats: Frames | None = None
    darks: Frames | None = None
    angles: npt.NDArray[np.float64] | None = None
    positions: npt.NDArray[np.float64] | None = None
    grid: tuple[int, int] | None = None
    pixel_size: float | None = None
    energy: float | None = None
    exposure: float | None = None
    binning: int | None = None
    flat_exposure: float | None = None
    flat_binning: int | None = None
    corrected: bool = False
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    exposures: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not len(self.frames) or 0 in self.frames.size:
            raise UnreadableImage("it holds no frame")
        for kind, stack in (("flat", self.flats), ("dark", self.darks)):
            if stack is not None and stack.size != self.frames.size:
                raise InconsistentScan(
                    f"its {kind} frames are {_size(stack.size)}, its images {_size(self.frames.size)}; "
                    f"give {kind} frames of the same camera region and binning"
                )
        for kind, values in (("angles", self.angles), ("positions", self.positions)):
            if values is not None and len(values) != len(self.frames):
                raise InconsistentScan(f"it has {len(values)} {kind} for {len(self.frames)} frames")
        if self.flats is not None:
            self._check_flats()

    def _check_flats(self) -> None:
        if self.binning and self.flat_binning and self.binning != self.flat_binning:
            raise InconsistentScan(
                f"its reference has binning {self.flat_binning}, its images {self.binning}; "
                "take a reference of the same binning, or read the file without its reference"
            )
        if self.corrected:  # what was divided already is not divided again: its scale does not matter
            return
        if self.exposures is not None:
            mean = self.exposures.mean()
            if np.abs(self.exposures / mean - 1).max() > _JITTER:
                raise InconsistentScan(
                    f"its frames were exposed {self.exposures.min():g} to {self.exposures.max():g} s and no "
                    "reference fits them all; save the frames of each exposure as a file of its own, or read "
                    "the file without its reference"
                )
        if abs(self.flat_scale - 1) > _EXPOSURE:
            raise InconsistentScan(
                f"its reference was exposed {self.flat_exposure:g} s, its images {self.exposure:g} s; "
                "take a reference of the same exposure, or read the file without its reference"
            )

    @property
    def flat_scale(self) -> float:
        """What (flat − dark) is multiplied by to match the exposure of the frames: their ratio, near 1."""
        if self.exposure and self.flat_exposure:
            return self.exposure / self.flat_exposure
        return 1.0


# Shutters open a few tenths of a percent longer or shorter than asked; that is scaled, more is refused.
_EXPOSURE = 0.02
# One scale holds for all frames of a scan, so that a frame whose exposure is this far from the mean gets a
# transmission that is wrong by as much. Shutters do that; more is refused.
_JITTER = 0.005


@dataclass(frozen=True)
class Format:
    """One file format: how it is known, and how it is opened.

    ``sniff`` looks at a path that exists, never at more than the first bytes or the names in a folder;
    ``open`` reads the metadata and leaves the frames to be read later; its second argument says which of the
    flat and dark frames come along (:func:`keeps`). ``references`` gives those that the file marks as flats
    or as darks, or ``None``, whatever else is in it.
    """

    name: str
    sniff: Callable[[Path], bool]
    open: Callable[[Path, bool | Role], Scan]
    references: Callable[[Path, Role], References | None] = lambda path, role: None


def keeps(references: bool | Role, role: Role) -> bool:
    """Whether flats or darks come along: all do for true, none for false, else those named."""
    return references is True or references == role


def known(values: npt.ArrayLike) -> npt.NDArray[np.float64] | None:
    """Those that mean something, fewer than were given if some do not; ``None`` if none does.

    What was never filled in is 0.
    """
    listed: npt.NDArray[np.float64] = np.asarray(values, np.float64).ravel()
    listed = listed[np.isfinite(listed) & (listed > 0)]
    return listed if listed.size else None


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[::-1]))
