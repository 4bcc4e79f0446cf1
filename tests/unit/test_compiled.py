r"""Compiled models on disk: the same bytes as without, and nothing that is broken is ever taken."""

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import engines
from relume.bundle import Bundle
from relume.engines import compiled
from relume.engines.compiled import Shelf
from relume.errors import BundleCorrupt, UsageError

SHAPES = ((1, 3, 32, 32), (1, 4, 32, 32), (1,))


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("RELUME_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    return tmp_path / "home"


@pytest.fixture
def load(tiny_bundle: Bundle) -> Callable[..., Any]:
    pytest.importorskip("openvino")

    def load(bundle: Bundle = tiny_bundle) -> Any:
        return engines.load(bundle, "local", engine="openvino", device="cpu", precision="f32", threads=1)

    return load


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(shape, np.float32) for shape in SHAPES]


def blobs(home: Path) -> list[Path]:
    return sorted(home.rglob("*.blob"))


def spied(engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes whether the engine takes what was kept or compiles."""
    calls: list[str] = []

    def watch(name: str) -> None:
        real = getattr(engine, name)

        def spy(shapes: Any) -> Any:
            found = real(shapes)
            calls.extend([name] if found is not None else [])
            return found

        monkeypatch.setattr(engine, name, spy)

    watch("_kept")
    watch("_compiled")
    return calls


def test_the_second_load_takes_what_the_first_compiled(load: Any, home: Path, monkeypatch: Any) -> None:
    first = load()
    expected = first(*arrays())
    assert len(blobs(home)) == 1
    second = load()
    calls = spied(second, monkeypatch)
    assert second(*arrays()).tobytes() == expected.tobytes()
    assert calls == ["_kept"] and second.runtime == first.runtime and second._model is None
    wider = [np.concatenate([a, a]) for a in arrays()]
    assert second(*wider)[1].shape == expected[0].shape and calls == ["_kept", "_compiled"]


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:1000] + b"\0" + path.read_bytes()[1001:]),
        lambda path: path.write_bytes(os.urandom(4096)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["cut", "empty", "changed", "noise", "a folder"],
)
def test_what_is_broken_is_made_anew(load: Any, home: Path, harm: Any, monkeypatch: Any) -> None:
    expected = load()(*arrays())
    (path,) = blobs(home)
    harm(path)
    engine = load()
    calls = spied(engine, monkeypatch)
    assert engine(*arrays()).tobytes() == expected.tobytes()
    assert calls == ["_compiled"]


def test_a_whole_file_that_the_runtime_refuses_is_forgotten(load: Any, home: Path, monkeypatch: Any) -> None:
    expected = load()(*arrays())
    engine = load()
    engine._shelf.put(SHAPES, b"whole, and no model at all")
    assert engine._shelf.take(SHAPES) == b"whole, and no model at all"
    calls = spied(engine, monkeypatch)
    assert engine(*arrays()).tobytes() == expected.tobytes() and calls == ["_compiled"]
    assert load()._shelf.take(SHAPES) not in (None, b"whole, and no model at all")


def test_files_that_are_not_the_cards_are_neither_kept_nor_stood_for(
    load: Any, home: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    load()(*arrays())
    shutil.copytree(tiny_bundle.path, tmp_path / "other")
    other = replace(tiny_bundle, path=tmp_path / "other")
    weights = other.path / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleCorrupt):
        load(other)
    compiled.clear()
    load(other)(*arrays())  # the library reads what is there, as it did; the result is not kept
    assert blobs(home) == []


def test_off_neither_takes_nor_keeps(load: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.SWITCH, "off")
    load()(*arrays())
    assert blobs(home) == []
    monkeypatch.setenv(compiled.SWITCH, "sometimes")
    with pytest.raises(UsageError, match=compiled.SWITCH):
        load()


def test_a_folder_that_cannot_be_written_is_done_without(load: Any, home: Path) -> None:
    home.parent.joinpath("home").write_text("a file where the folder should be")
    assert load()(*arrays()).shape == (1, 4, 32, 32)
    assert compiled.usage().files == 0 and compiled.clear().files == 0


def test_a_key_has_its_own_shelf() -> None:
    key = {"bundle": "a", "runtime": "1"}
    Shelf(key).put(SHAPES, b"model")
    assert Shelf(dict(reversed(key.items()))).take(SHAPES) == b"model"
    assert Shelf(key).take(SHAPES[:2]) is None
    for part in key:
        other = Shelf({**key, part: "2"})
        assert len(other) == 0 and other.take(SHAPES) is None
        # Nor does a file serve that somebody moved there.
        target = other._place(SHAPES)
        target.parent.mkdir(parents=True)
        shutil.copy(Shelf(key)._place(SHAPES), target)
        assert other.take(SHAPES) is None


def test_the_least_recently_used_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MOST", 3)
    shelf = Shelf({"bundle": "a"})
    for number in range(3):
        shelf.put([(number,)], b"model")
        os.utime(shelf._place([(number,)]), (number, number))
    assert shelf.take([(0,)]) == b"model"  # used just now
    shelf.put([(3,)], b"model")
    assert [shelf.take([(n,)]) is not None for n in range(4)] == [True, False, True, True]


def test_the_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MOST_BYTES", 1000)
    shelf = Shelf({"bundle": "a"})
    assert not shelf.put([(0,)], bytes(251))
    for number in range(9):
        assert shelf.put([(number,)], bytes(200))
        assert compiled.usage().bytes <= 1000
    assert compiled.usage().files == 4  # 18 bytes of mark and 32 of checksum with each
    assert compiled.clear().files == 4 and compiled.usage() == compiled.Usage(compiled._folder(), 0, 0)


def test_parts_that_were_left_behind_go_after_an_hour() -> None:
    shelf = Shelf({"bundle": "a"})
    shelf.put(SHAPES, b"model")
    old, young = (shelf._place(SHAPES).with_name(f".relume-{n}.part") for n in range(2))
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    shelf.put(SHAPES, b"model")
    assert not old.exists() and young.exists() and shelf.take(SHAPES) == b"model"


def test_many_at_once_see_whole_files_or_none() -> None:
    """Writers of one name and of several, readers, and one who clears: a reader gets a blob or nothing."""
    wrong: list[bytes] = []

    def work(number: int) -> None:
        shelf = Shelf({"bundle": "a"})
        for turn in range(20):
            if number == 0 and turn % 5 == 0:
                compiled.clear()
            shelf.put([(turn % 3,)], bytes([turn % 3]) * 5000)
            found = shelf.take([(turn % 3,)])
            wrong.extend([found] if found not in (None, bytes([turn % 3]) * 5000) else [])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_preparing_compiles_what_the_call_then_uses(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load()
    calls = spied(engine, monkeypatch)
    engine.prepare(*SHAPES)
    assert calls == ["_compiled"]
    engine(*arrays())
    assert calls == ["_compiled"]
