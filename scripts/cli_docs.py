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
    return "\n".join(parts + chapters(parser, "relume", 2))


def chapters(parser: argparse.ArgumentParser, called: str, depth: int) -> list[str]:
    """The help of all commands of a parser, and of their own commands one level deeper."""
    parts = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                parts.append(f"{'#' * depth} {called} {name}\n\n```\n{command.format_help()}```\n")
                parts += chapters(command, f"{called} {name}", depth + 1)
    return parts


if __name__ == "__main__":
    if "--check" in sys.argv[1:] and sys.version_info[:2] != (3, 11):
        sys.exit(0)  # argparse words its help a little differently in each Python
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text() != text:
            sys.exit("docs/cli.md is out of date: run python scripts/cli_docs.py")
    else:
        PAGE.write_text(text)
