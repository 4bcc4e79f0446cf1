r"""A model on disk.

.. code-block:: text

    photo/
    ├── card.json             what the model is: graphs, shapes, schedule, licence, the SHA-256 of each file
    ├── weights.safetensors   every tensor once, fp16, named graph prefix + name in the state dict
    └── local.onnx  …         one graph a file; the weights inside are pointers into weights.safetensors

A bundle is data only: nothing in it is executed, and its card may name no file outside its folder.
Bundles are looked for in ``$RELUME_HOME/bundles``, in the user's data folder and in the package itself, in
this order.
"""

__all__ = [
    "Bundle",
    "Card",
    "Graph",
    "Net",
    "Port",
    "WEIGHTS",
    "find",
    "installed",
    "user_folder",
    "writing",
    "write_card",
]

import functools
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy.typing as npt

from relume.errors import BundleCorrupt, BundleNotFound, OutputExists, UsageError
from relume.files import digest

CARD = "card.json"
WEIGHTS = "weights.safetensors"
FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Port(TypedDict):
    """An input or output of a graph. A size that may vary is a name: ``["batch", 3, "height", "width"]``."""

    name: str
    shape: list[int | str]


class Net(TypedDict):
    """What ``nets.build(kind, config)`` needs to make the torch module."""

    kind: str
    config: dict[str, Any]


class Graph(TypedDict):
    """One network of a bundle."""

    file: str
    net: Net
    prefix: str
    inputs: list[Port]
    outputs: list[Port]
    variants: NotRequired[dict[str, str]]
    """Files that hold the graph at another precision: ``{"int8": "graph.int8.onnx"}``."""


class Card(TypedDict):
    """The facts about a model; a task reads its tiling, schedule and steps here instead of assuming them."""

    format: int
    name: str
    version: str
    task: str
    graphs: dict[str, Graph]
    files: dict[str, str]
    title: NotRequired[str]
    description: NotRequired[str]
    licence: NotRequired[str]
    multiple_of: NotRequired[int]
    tile: NotRequired[dict[str, int]]
    side: NotRequired[int]  # pixels along the shorter side of what a background net sees
    views: NotRequired[int]  # ways to lay an image before it, whose answers are averaged
    error: NotRequired[dict[str, dict[str, float]]]  # how its log-variance becomes a standard error
    schedule: NotRequired[dict[str, Any]]
    steps: NotRequired[list[int]]
    damage_weight: NotRequired[float]  # how much more damage weighed than its absence when the net learned
    detail: NotRequired[dict[str, Any]]  # what its answers lack of fine detail
    precisions: NotRequired[list[str]]
    parity: NotRequired[dict[str, float | None]]
    training: NotRequired[dict[str, Any]]
    quality: NotRequired[dict[str, Any]]


@dataclass(frozen=True)
class Bundle:
    """A folder whose card has been read and understood; :meth:`verify` checks the files behind it."""

    path: Path
    card: Card

    @property
    def name(self) -> str:
        return self.card["name"]

    @property
    def hash(self) -> str:
        """SHA-256 of the card, in hexadecimal. The card holds those of the files: this one stands for all."""
        text = json.dumps(self.card, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights: what was fitted to them stays true where only the card's text changes."""
        return self.card["files"][WEIGHTS]

    def graph(self, name: str, precision: str = "f32") -> Path:
        """The ONNX file of a graph: the one made for this precision, or else the one of all precisions.

        Raises:
            UsageError: the card has no such graph.
            BundleCorrupt: the file is not there.
        """
        facts = self.facts(name)
        return self._file(facts.get("variants", {}).get(precision, facts["file"]))

    def facts(self, name: str) -> Graph:
        """What the card says about a graph.

        Raises:
            UsageError: the card has no such graph.
        """
        graphs = self.card["graphs"]
        if name not in graphs:
            raise UsageError(f'model "{self.name}" has no graph "{name}"; it has {", ".join(graphs)}')
        return graphs[name]

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """All tensors of the bundle, in fp16 as they are stored.

        Raises:
            BundleCorrupt: the weights are missing or cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return cast(dict[str, npt.NDArray[Any]], load_file(self._file(WEIGHTS)))
        except (SafetensorError, OSError, ValueError) as error:
            raise BundleCorrupt(f"{self.path / WEIGHTS} cannot be read ({error}); install it anew") from error

    def verify(self) -> None:
        """Compares every file with its SHA-256 in the card.

        Raises:
            BundleCorrupt: a file is missing or is not the one that the card speaks of.
        """
        for name, expected in self.card["files"].items():
            if _digest(self._file(name)) != expected:
                raise BundleCorrupt(
                    f'{self.path / name} is not what the card of "{self.name}" promises (SHA-256 differs); '
                    "install the model anew"
                )

    def _file(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise BundleCorrupt(f'model "{self.name}" lacks its file {path}; install the model anew')
        return path


def find(name_or_path: str | os.PathLike[str]) -> Bundle:
    """Opens a bundle by its name, or by the path of its folder.

    A bare word is a name first; only when no bundle is so called it may be a folder beside you.

    Raises:
        BundleNotFound: there is none; the message lists those that are there.
        BundleCorrupt: its card cannot be used.
    """
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, str) and _NAME.fullmatch(name_or_path):
        for root in _roots():
            if (root / name_or_path / CARD).is_file():
                return _open(root / name_or_path)
    if (path / CARD).is_file():
        return _open(path)
    there = ", ".join(bundle.name for bundle in installed()) or "none"
    raise BundleNotFound(
        f'no model "{name_or_path}"; installed: {there}; or give a folder that holds a {CARD}'
    )


def installed() -> list[Bundle]:
    """All bundles that :func:`find` knows by name, sorted; those with a broken card are left out."""
    found: dict[str, Bundle] = {}
    for root in _roots():
        for card in sorted(root.glob(f"*/{CARD}")):
            if card.parent.name in found or not _NAME.fullmatch(card.parent.name):
                continue
            try:
                found[card.parent.name] = _open(card.parent)
            except BundleCorrupt:  # find() by this name says what is wrong with it
                continue
    return [found[name] for name in sorted(found)]


@contextmanager
def writing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Makes a bundle folder that is either complete or not there.

    Gives an empty folder beside ``path`` to write into; it takes that name when the block ends without an
    exception, and vanishes otherwise. An older bundle is replaced only with ``overwrite``.

    Raises:
        OutputExists: something is at ``path``, at the start or by the end.
        BundleCorrupt: what was written is no bundle (:func:`write_card` is the last step).
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise OutputExists(f"{target} exists; choose another folder or ask to overwrite it")
    if target.exists() and not (target / CARD).is_file():
        raise OutputExists(f"{target} exists and is no model; choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        yield new
        _open(new).verify()
        _swap(new, target, Path(scratch) / "old", overwrite=overwrite)


def write_card(folder: Path, facts: Mapping[str, Any]) -> Bundle:
    """Writes the card of a folder whose other files are complete.

    ``format`` and ``files`` (SHA-256 of everything else in the folder) are added here.

    Raises:
        BundleCorrupt: the facts are no card, or speak of files that are not there.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name != CARD)
    card = {**facts, "format": FORMAT, "files": {name: _digest(folder / name) for name in names}}
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _check(json.loads(text), folder / CARD)
    scratch = folder / f"{CARD}.part"
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(folder / CARD)
    return _open(folder)


def _swap(new: Path, target: Path, old: Path, *, overwrite: bool) -> None:
    if target.exists():
        if not overwrite:
            raise OutputExists(
                f"{target} has appeared meanwhile; choose another folder or ask to overwrite it"
            )
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            shutil.move(old, target)
        raise


def user_folder() -> Path:
    """Where relume keeps what belongs to a user: ``$RELUME_HOME``, or a folder of the system's choice."""
    home = os.environ.get("RELUME_HOME")
    return Path(home).expanduser() if home else _data_folder()


def _data_folder() -> Path:
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "relume"


def _roots() -> list[Path]:
    folders = dict.fromkeys([user_folder(), _data_folder()])
    return [*(folder / "bundles" for folder in folders), Path(__file__).parent / "bundles"]


def _open(path: Path) -> Bundle:
    try:
        card = json.loads((path / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleCorrupt(f"{path / CARD} cannot be read ({error}); install the model anew") from error
    return Bundle(path.resolve(), _check(card, path / CARD))


def _check(card: object, where: Path) -> Card:
    """Refuses a card that later code would stumble over, and any file name that leads out of the folder."""
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else None
        raise BundleCorrupt(f"{where} has format {found!r}; this relume reads format {FORMAT}")
    wanted = {"name": str, "version": str, "task": str, "graphs": dict, "files": dict}
    for key, kind in wanted.items():
        if not isinstance(card.get(key), kind):
            raise BundleCorrupt(f'{where} lacks a usable "{key}"; install the model anew')
    for name, expected in card["files"].items():
        if not _NAME.fullmatch(name) or name == CARD:
            raise BundleCorrupt(
                f"{where} names {name!r}, which is no file of its own folder; do not trust this model"
            )
        if not isinstance(expected, str) or not _SHA256.fullmatch(expected):
            raise BundleCorrupt(f"{where} has no SHA-256 for {name}; install the model anew")
    for name, graph in card["graphs"].items():
        _check_graph(name, graph, card["files"], where)
    return cast(Card, card)


def _check_graph(name: str, graph: object, files: Mapping[str, str], where: Path) -> None:
    def ports(value: object) -> bool:
        return isinstance(value, list) and all(
            isinstance(port, dict)
            and isinstance(port.get("name"), str)
            and isinstance(port.get("shape"), list)
            and all(isinstance(size, int | str) for size in port["shape"])
            for port in value
        )

    usable = (
        isinstance(graph, dict)
        and isinstance(graph.get("file"), str)
        and graph["file"] in files
        and isinstance(graph.get("variants", {}), dict)
        and all(isinstance(file, str) and file in files for file in graph.get("variants", {}).values())
        and isinstance(graph.get("prefix"), str)
        and isinstance(graph.get("net"), dict)
        and isinstance(graph["net"].get("kind"), str)
        and isinstance(graph["net"].get("config"), dict)
        and ports(graph.get("inputs"))
        and ports(graph.get("outputs"))
        and len(graph["outputs"]) == 1
    )
    if not usable:
        raise BundleCorrupt(f'{where} describes its graph "{name}" wrongly; install the model anew')


def _digest(path: Path) -> str:
    state = path.stat()
    return _digest_of(path, state.st_size, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(maxsize=256)
def _digest_of(path: Path, size: int, changed: int, node: int) -> str:
    """A file is read once by a process, as long as it is the same file."""
    return digest(path)
