r"""``relume models``: which models are installed, what they are, and whether they are whole."""

__all__ = ["add", "run"]

import argparse
from typing import TYPE_CHECKING, Any

from relume.cli.console import say
from relume.cli.options import Subparsers, add_talk
from relume.cli.streams import as_json
from relume.errors import BundleError

if TYPE_CHECKING:
    from relume.bundle import Bundle

DEFAULT = "photo"


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "models", help="list, show or verify models", description="Lists, shows or verifies models."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the installed models")
    listing.set_defaults(run=_list)
    info = actions.add_parser("info", help="what a model is")
    info.set_defaults(run=_info)
    info.add_argument("name", metavar="NAME|DIR")
    verify = actions.add_parser("verify", help="compare the files of models with their checksums")
    verify.set_defaults(run=_verify)
    verify.add_argument("name", nargs="?", metavar="NAME|DIR", help="one model (default: all)")
    for action in (listing, info):
        action.add_argument("--json", action="store_true", help="for programs")
    for action in (listing, info, verify):
        add_talk(action)


def run(args: argparse.Namespace) -> int:
    """Does what the action is."""
    code: int = args.run(args)
    return code


def _list(args: argparse.Namespace) -> int:
    from relume import bundle as bundles

    facts = [_facts(bundle) for bundle in bundles.installed()]
    if args.json:
        print(as_json(facts), end="")
        return 0
    for fact in facts:
        size = f"{fact['bytes'] / 1e6:.1f} MB"
        print(f"{fact['name']:<12} {fact['version']:<8} {size:>9}  {fact['title']}  {fact['path']}")
    if not facts:
        say("no model is installed; put one into the folder bundles/ of $RELUME_HOME")
    return 0


def _facts(bundle: "Bundle") -> dict[str, Any]:
    files = [bundle.path / name for name in bundle.card["files"]]
    return {
        "name": bundle.name,
        "version": bundle.card["version"],
        "title": bundle.card.get("title", ""),
        "task": bundle.card["task"],
        "bytes": sum(path.stat().st_size for path in files if path.is_file()),
        "hash": bundle.hash,
        "path": str(bundle.path),
    }


def _info(args: argparse.Namespace) -> int:
    from relume import bundle as bundles

    bundle = bundles.find(args.name)
    if args.json:
        print(as_json({**_facts(bundle), "card": bundle.card}), end="")
        return 0
    for key, value in {**_facts(bundle), **_plain(bundle)}.items():
        print(f"{key:<12} {value}")
    for name, graph in bundle.card["graphs"].items():
        inputs = ", ".join(f"{port['name']} {port['shape']}" for port in graph["inputs"])
        print(f"graph {name:<6} {graph['file']}: {graph['net']['kind']}({inputs})")
    return 0


def _plain(bundle: "Bundle") -> dict[str, object]:
    """What of the card fits on a line."""
    keys = ("description", "licence", "multiple_of", "tile", "steps", "precisions", "parity", "quality")
    return {key: bundle.card[key] for key in keys if key in bundle.card}  # type: ignore[literal-required]


def _verify(args: argparse.Namespace) -> int:
    from relume import bundle as bundles

    # The default model is looked at even where its card is too broken to be listed.
    names = [args.name] if args.name else sorted({DEFAULT, *(each.path.name for each in bundles.installed())})
    code = 0
    for name in names:
        try:
            bundle = bundles.find(name)
            bundle.verify()
        except BundleError as error:
            say(str(error))
            code = error.exit_code
        else:
            print(f"{bundle.name}: {len(bundle.card['files'])} files are what the card says")
    return code
