"""How much better is a damaged photograph afterwards, beside controls and classical methods?

Held-out photographs, damaged by a recipe; the damage depends on the seed and the file's name alone. Every row
gets the same damaged and the same clean pictures. The file holds every figure of every photograph, rounded to
five digits, and the checksum of the photographs.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from relume import Restorer, Settings, __version__, image
from relume.bench.classical import ROWS, row
from relume.bench.machine import machine
from relume.cli.streams import as_json, write_text
from relume.cli.table import table
from relume.tasks.contenders import Contender, classical, restored
from relume.tasks.evaluate import FIGURES, Ruler, Score, damaged_by, score
from relume.tasks.standings import standings

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "restored": (Settings(), "one evaluation"),
    "4-steps": (Settings(steps=4), "four evaluations"),
    "sharp": (Settings(fidelity=0.0), "fidelity 0: its own detail brought back"),
    "light-kept": (Settings(shading="keep"), "one evaluation, uneven light kept"),
    "tone-kept": (Settings(tone="keep"), "one evaluation, the tone kept"),
}


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of clean photographs, held out")
    parser.add_argument("--count", type=int, help="so many of them, evenly spread (default: all)")
    parser.add_argument("--recipe", default="old-photo")
    parser.add_argument("--severity", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rows", nargs="*", help="classical rows (default: all that run without being asked)"
    )
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--model", default="photo")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    return parser.parse_args(argv)


def contenders(restorer: Restorer, args: argparse.Namespace) -> list[Contender]:
    asked = args.rows if args.rows is not None else [name for name, each in ROWS.items() if not each.asked]
    for name in asked:
        if reason := row(name).lacking():
            sys.exit(f"the row {name} cannot run here: {reason}")
    rows = [classical(row(name)) for name in asked]
    for name in args.settings:
        settings, title = SETTINGS[name]
        rows.append(restored(restorer, settings, name=name, title=title))
    return rows


def chosen(folder: Path, count: int | None) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if image.is_picture(path))
    if not files:
        sys.exit(f"there is no picture in {folder}")
    indices = np.linspace(0, len(files) - 1, min(count or len(files), len(files)))
    return [files[i] for i in np.round(indices).astype(int)]


def checksum(files: list[Path]) -> str:
    """SHA-256 over names and contents, in order."""
    total = hashlib.sha256()
    for path in files:
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def measured(files: list[Path], rows: list[Contender], ruler: Ruler, args: argparse.Namespace) -> list[Score]:
    scores: list[Score] = []
    for number, path in enumerate(files, 1):
        print(f"\r{number}/{len(files)} {path.name:50.50}", end="", file=sys.stderr, flush=True)
        pair = damaged_by(
            path.name, image.read(path), recipe_name=args.recipe, seed=args.seed, severity=args.severity
        )
        scores += score(pair, rows, ruler)
    print(file=sys.stderr)
    return scores


def columns(scores: list[Score]) -> dict[str, dict[str, list[float | None]]]:
    """Row → figure → its values in the order of the photographs: a tenth of the size of a list of scores."""
    rows = dict.fromkeys(each.method for each in scores)
    return {
        name: {figure: [each.figures[figure] for each in scores if each.method == name] for figure in FIGURES}
        for name in rows
    }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, cwd=HERE).stdout.strip()


def filed(suite: str, facts: Mapping[str, Any], args: argparse.Namespace) -> Path:
    """Writes a suite's figures, with version, commit and machine, where ``args.out`` and ``.name`` say."""
    commit = git("rev-parse", "HEAD")
    frame = {"suite": suite, "version": __version__, "commit": commit, "machine": machine()}
    args.out.mkdir(parents=True, exist_ok=True)
    target: Path = args.out / f"{suite}--{args.name}--cpu.json"
    write_text(as_json({**frame, **facts}), target, overwrite=True)
    print(target)
    return target


def main(argv: Sequence[str] | None = None) -> Path:
    args = options(argv)
    restorer = Restorer(args.model, engine=args.engine, precision=args.precision)
    rows, ruler = contenders(restorer, args), Ruler.here()
    files = chosen(args.photos, args.count)
    scores = measured(files, rows, ruler, args)
    facts = standings(scores, rows, ruler)
    print(table(facts, count=len(files)))
    facts["pictures"] = columns(scores)
    engine = restorer.engine
    report = {
        "suite": "quality",
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "model": {"name": restorer.bundle.name, "hash": restorer.bundle.hash},
        "machine": machine(),
        "engine": f"{engine.name} {engine.version} {engine.precision}",
        "damage": {"recipe": args.recipe, "severity": args.severity, "seed": args.seed},
        "photographs": {"names": [path.name for path in files], "sha256": checksum(files)},
        **rounded(facts),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"quality--{args.name}--{engine.device}.json".lower()
    target.write_text(json.dumps(report, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    print(target)
    return target


if __name__ == "__main__":
    main()
