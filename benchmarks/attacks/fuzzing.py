r"""Running a fuzzer in chunks, each a process of its own, until enough inputs were tried.

A process that dies is an outcome like any other: it is counted, its input is kept, and the next one goes on.
"""

__all__ = ["CRASH", "HANG", "fuzz"]

import subprocess
import sys
from pathlib import Path

from tally import Tally

HANG, CRASH = 598, 599  # no HTTP statuses: what is counted for a process that had to be ended, or died
CHUNK = 4000
DEATHS = 20  # after so many there is enough to look at
HERE = Path(__file__).parent


def fuzz(script: str, folder: Path, seeds: list[bytes], goal: int) -> Tally:
    """Runs ``script`` on the corpus in ``folder`` until ``goal`` inputs are counted there."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    tally, deaths = Tally(folder / "tally"), 0
    while tally.total < goal and deaths < DEATHS:
        runs, before = min(CHUNK, goal - tally.total), tally.total
        arguments = [folder / "tally", corpus, runs, before + 1]
        command = [sys.executable, HERE / script, *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            deaths += 1
            _keep(tally, folder, done.stderr)
    return tally


def _keep(tally: Tally, folder: Path, said: str) -> None:
    hang = "libFuzzer: timeout" in said
    tally.ended(HANG if hang else CRASH)
    kept = folder / "tally.found"
    kept.mkdir(exist_ok=True)
    name = f"{'hang' if hang else 'crash'}-{tally.total}"
    (kept / f"{name}.bin").write_bytes(tally.latest)
    (kept / f"{name}.txt").write_text(said[-8000:])
