r"""Bundles: found by name, complete or not there, and never reaching out of their folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import bundle
from relume.bundle import Bundle
from relume.errors import BundleCorrupt, BundleNotFound, OutputExists, UsageError


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Empty places to look for bundles in."""
    monkeypatch.setenv("RELUME_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    monkeypatch.setattr(bundle.sys, "platform", "linux")
    return {"home": tmp_path / "home/bundles", "data": tmp_path / "data/relume/bundles"}


def change_card(path: Path, **changes: Any) -> None:
    card = json.loads((path / "card.json").read_text())
    (path / "card.json").write_text(json.dumps({**card, **changes}))


def test_a_written_bundle_is_found_verified_and_read(hollow_bundle: Bundle, facts: dict[str, Any]) -> None:
    found = bundle.find(str(hollow_bundle.path))
    found.verify()
    assert found == hollow_bundle
    assert set(found.card["files"]) == {"weights.safetensors", "local.onnx", "tone.onnx"}
    assert {key: found.card[key] for key in facts} == facts
    assert found.graph("local").read_bytes() == b"a graph"
    tensors = found.tensors()
    assert tensors["local.a"].dtype == np.float16 and tensors["local.a"].shape == (2,)


def test_the_hash_stands_for_every_file(hollow_bundle: Bundle) -> None:
    before = hollow_bundle.hash
    assert bundle.find(hollow_bundle.path).hash == before
    (hollow_bundle.path / "local.onnx").write_bytes(b"another graph")
    card = {key: value for key, value in hollow_bundle.card.items() if key != "files"}
    assert bundle.write_card(hollow_bundle.path, card).hash != before


def test_names_are_looked_up_in_order(hollow_bundle: Bundle, homes: dict[str, Path]) -> None:
    shutil.copytree(hollow_bundle.path, homes["data"] / "tiny")
    assert bundle.find("tiny").path == (homes["data"] / "tiny").resolve()
    shutil.copytree(hollow_bundle.path, homes["home"] / "tiny")
    assert bundle.find("tiny").path == (homes["home"] / "tiny").resolve()
    assert [found.path for found in bundle.installed() if found.name == "tiny"] == [bundle.find("tiny").path]


def test_a_folder_of_the_same_name_does_not_hide_an_installed_bundle(
    hollow_bundle: Bundle, homes: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hollow_bundle.path.parent)
    assert bundle.find("tiny").path == hollow_bundle.path
    shutil.copytree(hollow_bundle.path, homes["data"] / "tiny")
    assert bundle.find("tiny").path == (homes["data"] / "tiny").resolve()
    assert bundle.find("./tiny").path == hollow_bundle.path


def test_a_missing_bundle_lists_those_that_are_there(hollow_bundle: Bundle, homes: dict[str, Path]) -> None:
    shutil.copytree(hollow_bundle.path, homes["data"] / "tiny")
    with pytest.raises(BundleNotFound, match=r'"photograph".*tiny'):
        bundle.find("photograph")
    with pytest.raises(BundleNotFound):
        bundle.find("../data/relume/bundles/tiny")
    with pytest.raises(UsageError, match="local, tone"):
        hollow_bundle.graph("loacl")


def test_a_broken_bundle_is_not_listed_but_explained(hollow_bundle: Bundle, homes: dict[str, Path]) -> None:
    shutil.copytree(hollow_bundle.path, homes["data"] / "tiny")
    (homes["data"] / "tiny/card.json").write_text("{")
    assert "tiny" not in [found.name for found in bundle.installed()]
    with pytest.raises(BundleCorrupt, match=r"card\.json"):
        bundle.find("tiny")


@pytest.mark.parametrize("name", ["weights.safetensors", "local.onnx"])
def test_verify_finds_one_changed_byte_and_a_missing_file(hollow_bundle: Bundle, name: str) -> None:
    content = bytearray((hollow_bundle.path / name).read_bytes())
    content[-1] ^= 1
    (hollow_bundle.path / name).write_bytes(content)
    with pytest.raises(BundleCorrupt, match=name):
        hollow_bundle.verify()
    (hollow_bundle.path / name).unlink()
    with pytest.raises(BundleCorrupt, match=name):
        hollow_bundle.verify()


def test_truncated_weights_are_reported(hollow_bundle: Bundle) -> None:
    weights = hollow_bundle.path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(BundleCorrupt, match="weights"):
        hollow_bundle.tensors()


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "..", "a/b", "a\\b", "C:evil", "", ".hidden", "card.json"]
)
def test_a_card_may_not_name_files_outside(hollow_bundle: Bundle, name: str) -> None:
    change_card(hollow_bundle.path, files={**hollow_bundle.card["files"], name: "0" * 64})
    with pytest.raises(BundleCorrupt, match="own folder"):
        bundle.find(hollow_bundle.path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"name": None},
        {"graphs": []},
        {"files": {"weights.safetensors": "abc"}},
        {"graphs": {"local": {}}},
        {"graphs": {"local": {"file": "../local.onnx"}}},
    ],
)
def test_unusable_cards_are_refused(hollow_bundle: Bundle, changes: dict[str, Any]) -> None:
    change_card(hollow_bundle.path, **changes)
    with pytest.raises(BundleCorrupt):
        bundle.find(hollow_bundle.path)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), bundle.writing(tmp_path / "new" / "one") as folder:
        (folder / "weights.safetensors").write_bytes(b"half")
        raise RuntimeError
    with pytest.raises(BundleCorrupt), bundle.writing(tmp_path / "new" / "one"):
        pass
    assert list((tmp_path / "new").iterdir()) == []


def test_overwriting_has_to_be_asked_for(hollow_bundle: Bundle, facts: dict[str, Any]) -> None:
    path = hollow_bundle.path
    with pytest.raises(OutputExists), bundle.writing(path):
        pass
    with pytest.raises(ZeroDivisionError), bundle.writing(path, overwrite=True):
        raise ZeroDivisionError
    hollow_bundle.verify()
    with bundle.writing(path, overwrite=True) as folder:
        (folder / "only.bin").write_bytes(b"x")
        bundle.write_card(folder, {**facts, "graphs": {}})
    assert set(bundle.find(path).card["files"]) == {"only.bin"}
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.jpg").write_bytes(b"x")
    with pytest.raises(OutputExists), bundle.writing(tmp_path / "photos", overwrite=True):
        pass
    assert (tmp_path / "photos" / "dear.jpg").exists()
