"""Writes docs/cli.md from the parsers themselves; with --check, fails where the page is out of date."""

import argparse
import os
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def page() -> str:
    os.environ["COLUMNS"] = "100"
    os.environ["NO_COLOR"] = "1"
    from relume.cli import parser as make_parser

    parser = make_parser()
    parts = ["# The command line\n\nMade from the commands' own help by `python scripts/cli_docs.py`.\n"]
    parts.append(f"```\n{parser.format_help()}```\n")
    actions = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in next(actions).choices.items():
        parts.append(f"## relume {name}\n\n```\n{command.format_help()}```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if "--check" in sys.argv[1:] and sys.version_info[:2] != (3, 11):
        sys.exit(0)  # argparse words its help a little differently in each Python
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text() != text:
            sys.exit("docs/cli.md is out of date: run python scripts/cli_docs.py")
    else:
        PAGE.write_text(text)
