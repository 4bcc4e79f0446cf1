r"""Provenance: a restored picture that can be told from others, and the answer whether one is.

The mark is the lattice in the picture itself. One in the starting noise would cost nothing, but a restorer is
trained to remove noise: hardly any of it is left in the picture, and none after JPEG (docs/provenance.md).
"""

__all__ = ["MARK", "THRESHOLD", "Verdict", "mark", "verify"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relume import image as images
from relume.errors import UsageError
from relume.image import Image
from relume.marks import Lattice, LatticeDetection
from relume.tasks import sidecar

MARK = "lattice"
# A mark counts as found below this: one key in a million finds as much in a picture without it.
THRESHOLD = 1e-6


def mark(image: Image, key: str) -> Image:
    """The picture with the mark of the key in its luma; everything else of it stays.

    Raises:
        UsageError: the key is empty, or a side of the picture is shorter than 64 pixels.
    """
    return image.with_srgb(Lattice(_checked(key)).embed(image.srgb()))


@dataclass(frozen=True)
class Verdict:
    """What is known about a picture. ``mark`` is None where no key was given, ``findings`` where there is no
    record; ``threshold`` is what the mark's p-value has to stay below."""

    mark: LatticeDetection | None
    findings: tuple[sidecar.Finding, ...] | None
    threshold: float

    @property
    def found(self) -> bool | None:
        """Whether the mark is there."""
        return None if self.mark is None else self.mark.p_value < self.threshold

    @property
    def recorded(self) -> bool | None:
        """Whether the record speaks of this very file, unchanged, and all that is signed holds."""
        if self.findings is None:
            return None
        by_name = {each.what: each.agrees for each in self.findings}
        return by_name["picture"] is True and all(
            by_name.get(what) is not False for what in ("signature", "signer")
        )

    @property
    def made(self) -> bool:
        """The answer: by the mark where a key was given (files are compressed again), else by the record."""
        return bool(self.recorded if self.found is None else self.found)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        seen = self.mark
        return {
            "made_by_relume": self.made,
            "mark": None
            if seen is None
            else {
                "kind": MARK,
                "found": self.found,
                "p_value": seen.p_value,
                "threshold": self.threshold,
                "similarity": seen.similarity,
                "question": seen.question,
                "pitch": seen.pitch,
            },
            "record": None
            if self.findings is None
            else {"agrees": self.recorded, **{each.what: each._asdict() for each in self.findings}},
        }


def verify(
    data: bytes,
    *,
    key: str | None = None,
    record: Mapping[str, Any] | None = None,
    signer: bytes | None = None,
    threshold: float = THRESHOLD,
) -> Verdict:
    """Whether relume made the picture in the bytes of a file.

    Arguments:
        key: of the mark to look for.
        record: from :func:`relume.tasks.sidecar.read`.
        signer: the public key that the record must be signed by, in PEM or as OpenSSH writes it.

    Raises:
        UsageError: neither a key nor a record is given, or the picture is smaller than any mark.
        ImageError: the bytes are no picture.
    """
    if key is None and record is None:
        raise UsageError("nothing to verify by: give the key of the mark, or a record beside the picture")
    if signer is not None and record is None:
        raise UsageError("a signer is asked for, and there is no record that could be signed")
    picture = images.read(data)
    seen = None if key is None else Lattice(_checked(key)).detect(picture.srgb())
    found = None if record is None else tuple(sidecar.compare(record, data, signer=signer))
    return Verdict(seen, found, threshold)


def _checked(key: str) -> str:
    if not key:
        raise UsageError("an empty key marks nothing: give some text that others cannot guess")
    return key
