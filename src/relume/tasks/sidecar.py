r"""A record beside a restored picture: what it was made from, by what and how, as JSON.

.. code-block:: text

    grandmother-restored.png
    grandmother-restored.png.json    input and output by SHA-256, model by hash, settings, mask, signature

The record can be signed with an Ed25519 key. Unsigned it says what happened; signed, also who says so.
"""

__all__ = ["FORMAT", "Finding", "compare", "digest", "read", "record", "sign", "sidecar_of", "signed_by"]

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume._version import __version__
from relume.bundle import Bundle, find
from relume.errors import BundleError, MissingExtra, UsageError
from relume.files import one_line
from relume.tasks.restore import Restoration
from relume.tasks.settings import Settings

FORMAT = 1
_WHAT = "relume-restoration"


class Finding(NamedTuple):
    """One thing that was compared; ``agrees`` is None where it cannot be told."""

    what: Literal["picture", "signature", "signer", "model"]
    agrees: bool | None
    says: str


def sidecar_of(picture: Path) -> Path:
    """Where the record of a picture stands: the name with ``.json`` after it."""
    return picture.with_name(f"{picture.name}.json")


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def record(
    *,
    source: tuple[str, bytes | None],
    result: tuple[str, bytes],
    bundle: Bundle,
    engine: Mapping[str, Any],
    settings: Settings,
    restoration: Restoration,
    mask: str,
    mark: str | None,
) -> dict[str, Any]:
    """Everything that decided the bytes of a result, ready for JSON.

    ``source`` and ``result`` are a name and the bytes of the file (None for what was read from a stream);
    ``mask`` says where it came from: ``auto``, ``none`` or ``given``; ``mark`` is the kind of the mark that
    was put in. Its key is in no record, not even as a hash, from which a weak one could be guessed.
    """
    name, data = source
    return {
        "what": _WHAT,
        "format": FORMAT,
        "relume": __version__,
        "input": {"name": name, "sha256": None if data is None else digest(data)},
        "output": {"name": result[0], "sha256": digest(result[1])},
        "model": {"name": bundle.name, "version": bundle.card["version"], "hash": bundle.hash},
        "engine": dict(engine),
        "seed": settings.seed,
        "steps": restoration.evaluations // settings.draws,
        "settings": asdict(settings),
        "mask": {"from": mask, **_mask_facts(restoration.mask)},
        "mark": mark,
    }


def _mask_facts(mask: NDArray[np.float32]) -> dict[str, Any]:
    """The mask as it would be saved: its 8-bit levels, hashed row by row, and how much of it is damage."""
    levels = np.round(mask * 255).astype(np.uint8)
    return {
        "height": mask.shape[0],
        "width": mask.shape[1],
        "levels_sha256": digest(levels.tobytes()),
        "damaged": round(float((mask > 0.5).mean()), 6),
    }


def read(path: Path) -> dict[str, Any]:
    """A record from its file.

    Raises:
        UsageError: it cannot be read, or is no record of this kind.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a record: {one_line(error)}") from error
    whole = isinstance(found, dict) and found.get("what") == _WHAT and isinstance(found.get("output"), dict)
    if not whole or not isinstance(found["output"].get("sha256"), str):
        raise UsageError(f"{path} is no record of a restoration by relume")
    if found.get("format") != FORMAT:
        raise UsageError(f"{path} is a record of format {found.get('format')}: a newer relume may read it")
    made: dict[str, Any] = found
    return made


def sign(facts: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """The record with a signature by an Ed25519 private key (PEM or OpenSSH, without a password).

    Raises:
        MissingExtra: the package ``cryptography`` is not installed.
        UsageError: it is no such key.
    """
    _need()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load = load_ssh_private_key if b"OPENSSH" in key else load_pem_private_key
    try:
        private: Any = load(key, password=None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"the signing key cannot be read: {one_line(error)}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError("the signing key is not Ed25519: openssl genpkey -algorithm ed25519 makes one")
    return {
        **facts,
        "signature": {
            "algorithm": "ed25519",
            "public_key": private.public_key().public_bytes_raw().hex(),
            "value": private.sign(_message(facts)).hex(),
        },
    }


def signed_by(facts: Mapping[str, Any]) -> str | None:
    """The public key, in hexadecimal, by which a record is validly signed; None for a signature that fails.

    Raises:
        MissingExtra: the package ``cryptography`` is not installed.
    """
    _need()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        told = facts["signature"]
        public, value = bytes.fromhex(told["public_key"]), bytes.fromhex(told["value"])
        if told["algorithm"] != "ed25519":
            return None
        Ed25519PublicKey.from_public_bytes(public).verify(value, _message(facts))
    except (InvalidSignature, ValueError, TypeError, KeyError):
        return None
    return public.hex()


def compare(facts: Mapping[str, Any], picture: bytes, *, signer: bytes | None = None) -> list[Finding]:
    """What of a record agrees with the bytes of a picture's file, with a signer's public key (PEM or
    OpenSSH), and with what is installed here.

    Raises:
        MissingExtra: a signer is given, and the package ``cryptography`` is not installed.
        UsageError: the signer's key cannot be read.
    """
    same = facts["output"]["sha256"] == digest(picture)
    says = "the file is the one that was written" if same else "the file was changed since it was written"
    return [Finding("picture", same, says), *_signature(facts, signer), _model(facts)]


def _signature(facts: Mapping[str, Any], signer: bytes | None) -> list[Finding]:
    wanted = None if signer is None else _public(signer)
    if "signature" not in facts:
        found = [Finding("signature", None, "unsigned: anybody could have written this record")]
        return found + ([Finding("signer", False, "unsigned")] if wanted is not None else [])
    if not _installed():
        missing = 'cannot be checked: pip install "relume[sign]"'
        return [Finding("signature", None, missing)]
    public = signed_by(facts)
    if public is None:
        found = [Finding("signature", False, "the record was changed after it was signed")]
    else:
        found = [Finding("signature", True, f"valid, by the Ed25519 key {public}")]
    if wanted is not None:
        right = public == wanted
        found.append(Finding("signer", right, "the key that was asked for" if right else "another key"))
    return found


def _model(facts: Mapping[str, Any]) -> Finding:
    told = facts.get("model") or {}
    name, wanted = str(told.get("name")), told.get("hash")
    try:
        same = find(name).hash == wanted
    except BundleError:
        return Finding("model", None, f"{name} {told.get('version')} is not installed here")
    return Finding("model", same, f"{name} is installed here, {'the same' if same else 'another'} version")


def _public(key: bytes) -> str:
    _need()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

    load: Any = load_ssh_public_key if key.lstrip().startswith(b"ssh-") else load_pem_public_key
    try:
        public = load(key)
    except (ValueError, TypeError) as error:
        raise UsageError(f"the signer's public key cannot be read: {one_line(error)}") from error
    if not isinstance(public, Ed25519PublicKey):
        raise UsageError("the signer's public key is not Ed25519")
    return public.public_bytes_raw().hex()


def _message(facts: Mapping[str, Any]) -> bytes:
    """What is signed: the record without its signature, in one way of writing it."""
    plain = {key: value for key, value in facts.items() if key != "signature"}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _installed() -> bool:
    return importlib.util.find_spec("cryptography") is not None


def _need() -> None:
    if not _installed():
        raise MissingExtra("signing", "sign")
