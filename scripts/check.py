"""Runs the checks that need no test: format, lint, types, layers, doctests. All are run, then judged."""

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
CHECKS = [
    [BIN / "ruff", "format", "--check", "-q", "."],
    [BIN / "ruff", "check", "-q", "."],
    [BIN / "mypy"],
    [BIN / "lint-imports"],
    [sys.executable, "scripts/cli_docs.py", "--check"],
    # The kernels hold no example, and import Triton, which not every system has.
    [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--doctest-modules",
        "src/relume",
        "--ignore=src/relume/ops/kernels",
    ],
]

if __name__ == "__main__":
    failed = [check for check in CHECKS if subprocess.run(check).returncode != 0]
    for check in failed:
        print("failed:", *check[:3], file=sys.stderr)
    sys.exit(1 if failed else 0)
