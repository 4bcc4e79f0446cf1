r"""The attacks of benchmarks/attacks, a few of each: nothing gets through, and the counting works.

The whole of it runs for itself; docs/RELIABILITY.md says what came of it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")
pytest.importorskip("uvicorn")

ATTACKS = Path(__file__).parents[2] / "benchmarks" / "attacks"
ONE_FORMAT = """
import sys; sys.path.insert(0, {attacks!r})
from pathlib import Path
import fuzzing, json, pictures
tally = fuzzing.fuzz({script!r}, Path({folder!r}), {seeds}, {goal})
print(json.dumps([tally.total, tally.counts]))
"""


def run(*command: str) -> Any:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def attack(name: str, folder: Path) -> dict[str, Any]:
    rows: dict[str, Any] = run(str(ATTACKS), name, "--quick", "--folder", str(folder))[name]
    assert json.loads((folder / name / "rows.json").read_text()) == rows
    return rows


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded and measured as Linux does")
@pytest.mark.parametrize(
    ("script", "seeds", "goal"),
    [
        ("decoding.py", "pictures.seeds()['TIFF']", 60),
        ("forms.py", "[bytes([i]) * 200 for i in range(9)]", 40),
    ],
)
def test_fuzzing_counts_each_input_and_finds_no_error_inside(
    script: str, seeds: str, goal: int, tmp_path: Path
) -> None:
    pytest.importorskip("atheris")
    told = {"attacks": str(ATTACKS), "script": script, "folder": str(tmp_path), "seeds": seeds, "goal": goal}
    total, counts = run("-c", ONE_FORMAT.format(**told))
    assert total == goal == sum(counts.values())
    assert not set(map(int, counts)) & {500, 598, 599}
    assert not (tmp_path / "tally.found").exists()


def test_a_process_that_dies_is_counted_and_its_input_kept(tmp_path: Path) -> None:
    """The counting itself: a fuzzer that aborts at every third input."""
    script = tmp_path / "dies.py"
    script.write_text(
        f"import os, sys; sys.path.insert(0, {str(ATTACKS)!r})\n"
        "from pathlib import Path; from tally import Tally\n"
        "tally = Tally(Path(sys.argv[1]))\n"
        "for number in range(int(sys.argv[3])):\n"
        "    tally.begins(b'input %d' % number)\n"
        "    if number == 2: os.abort()\n"
        "    tally.ended(422)\n"
    )
    told = {
        "attacks": str(ATTACKS),
        "script": str(script),
        "folder": str(tmp_path / "f"),
        "seeds": "[]",
        "goal": 7,
    }
    total, counts = run("-c", ONE_FORMAT.format(**told))
    assert total == 7 and counts == {"422": 5, "599": 2}
    kept = sorted((tmp_path / "f" / "tally.found").glob("crash-*.bin"))
    assert len(kept) == 2 and {each.read_bytes() for each in kept} == {b"input 2"}


def test_the_api_answers_as_it_is_described(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    rows = attack("api", tmp_path)
    assert rows["operations"] >= 12 and rows["tried"] > 50 and rows["wrong"] == {}
    assert "500" not in rows["statuses"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux does")
def test_names_and_crowds_reach_nothing(tmp_path: Path) -> None:
    named = attack("names", tmp_path)
    assert named["tried"] == 18 and named["written_outside"] == named["read_outside"] == []
    others = attack("half-open", tmp_path)["others"]["statuses"]
    assert set(others) == {"200", "202"}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux does")
def test_polyglots_are_what_their_first_bytes_say(tmp_path: Path) -> None:
    command = (
        f"import sys; sys.path.insert(0, {str(ATTACKS)!r})\n"
        "import json, pictures, unfolding\n"
        "bombs = list(pictures._tiff_bombs(pictures._zeros(1 << 24)))[:2]\n"
        "files = [*list(pictures.polyglots())[::4], *bombs]\n"
        "print(json.dumps([[row['name'], row['right']] for row in unfolding._each(files)]))\n"
    )
    assert [name for name, right in run("-c", command) if not right] == []
