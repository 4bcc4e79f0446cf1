r"""Faults and attacks: what was tried, how many times, and what became of it.

    python benchmarks/attacks [SUITE ...] [--quick] [--folder DIR]

Everything runs on this machine and is sent to its own loopback address alone. A suite that was stopped goes
on where it was. Counts and findings lie in ``--folder``.
"""

import argparse
import json
from pathlib import Path

from suites import SUITES

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "suites", nargs="*", choices=[[], *SUITES], help=f"{', '.join(SUITES)} (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="a hundredth of it: does it still run?")
    parser.add_argument("--folder", type=Path, default=Path("attacks"), help="counts and findings (attacks/)")
    args = parser.parse_args()
    for name in args.suites or SUITES:
        folder = args.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = SUITES[name](folder, 0.01 if args.quick else 1.0)
        (folder / "rows.json").write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
        print(json.dumps({name: rows}), flush=True)


if __name__ == "__main__":
    main()
