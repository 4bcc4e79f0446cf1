r"""``relume cache`` and what ``relume doctor`` says of it."""

import json
from pathlib import Path

import pytest

from relume.cli import main
from relume.engines.compiled import Shelf


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shelf:
    monkeypatch.setenv("RELUME_HOME", str(tmp_path))
    monkeypatch.delenv("RELUME_CACHE", raising=False)
    made = Shelf({"bundle": "a"})
    assert made.put([(1,)], b"model") and made.put([(2,)], b"model")
    return made


def test_it_tells_where_and_how_many(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.blob")]
    assert facts == {"folder": str(tmp_path / "cache" / "compiled"), "files": 2, "bytes": sum(sizes)}
    assert main(["cache", "info"]) == 0
    assert capsys.readouterr().out.startswith("2 compiled models") and len(sizes) == 2


def test_clear_removes_the_compiled_models_and_nothing_else(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "bundles" / "mine" / "card.json"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    assert main(["cache", "clear"]) == 0
    assert "2 compiled models removed" in capsys.readouterr().out
    assert shelf.take([(1,)]) is None and other.exists()
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out.startswith("0 compiled models")
