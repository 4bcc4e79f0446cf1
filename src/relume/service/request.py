r"""What one job is asked for, and the key that tells whether it was asked for before."""

__all__ = ["Request", "key_of", "media_type"]

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from relume import image as images
from relume.errors import UsageError
from relume.image import Image
from relume.tasks import Settings, Shading, Tone

# What a format is called on the web.
_MEDIA = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "HEIF": "image/heif",
}


def media_type(format: str) -> str:
    """The media type of a format's files.

    >>> media_type("JPEG")
    'image/jpeg'
    """
    return _MEDIA.get(format, "application/octet-stream")


@dataclass(frozen=True)
class Request:
    """The options of one job; those of restoring are explained in :class:`~relume.tasks.Settings`.

    Parameters
    ----------
    kind:
        ``restore``, or ``mask``: only find the damage.
    format, bit_depth, quality, keep_metadata:
        How the result is written, as in :func:`relume.image.encode`.
    """

    kind: Literal["restore", "mask"] = "restore"
    steps: int | None = None
    seed: int = 0
    fidelity: float = 1.0
    mask: Literal["auto", "none", "twice"] = "auto"
    preserve: bool = False
    tone: Tone = "revive"
    shading: Shading = "even"
    strength: float = 1.0
    samples: int = 1
    uncertainty: bool = False
    tile: int | None = None
    format: str | None = None
    bit_depth: int | None = None
    quality: int = 95
    keep_metadata: bool = True

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Request":
        """From what :meth:`facts` gave."""
        try:
            return cls(**facts)
        except TypeError as error:
            raise UsageError("the stored options are not of this version of relume") from error

    def facts(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    def settings(self, max_memory: int | None = None) -> Settings:
        """The part that the restorer takes.

        Raises
        ------
        UsageError
            When a value is out of its range.
        """
        shared = {each.name for each in fields(Settings)} & {each.name for each in fields(self)}
        return Settings(**{name: getattr(self, name) for name in shared}, max_memory=max_memory)

    def written(self, picture: Image) -> tuple[str, bytes]:
        """The media type and the bytes of a picture in the format that is asked for.

        Raises
        ------
        ImageError
            That format cannot hold it so.
        """
        chosen = replace(picture, format=self.format) if self.format else picture
        data = images.encode(
            chosen, bit_depth=self.bit_depth, keep_metadata=self.keep_metadata, quality=self.quality
        )
        return media_type(chosen.format), data

    def cost(self, pixels: int, *, painted: bool = False) -> int:
        """Pixels times evaluations of the net: what the time is about proportional to.

        ``painted`` says that a picture of the damage came with it, which makes a second pass needless.
        """
        if self.kind == "mask":
            return pixels
        twice = self.mask == "twice" and not painted
        return pixels * self.settings().evaluations * (2 if twice else 1)


def key_of(request: Request, upload: bytes, mask: bytes | None, model: str) -> str:
    """The idempotency key: 32 hexadecimal digits of a SHA-256 over picture, mask, options and model.

    The same request gives the same key, so sending it twice makes one job. Who does not have the picture
    cannot guess the key.
    """
    parts = {
        "upload": hashlib.sha256(upload).hexdigest(),
        "mask": None if mask is None else hashlib.sha256(mask).hexdigest(),
        "options": request.facts(),
        "model": model,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
