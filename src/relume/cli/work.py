r"""``relume work``: one more worker for the jobs of a service, on this machine or another."""

__all__ = ["add", "run"]

import argparse

from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk, count
from relume.cli.serving import add_service, config_of, log_to_stderr


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "work",
        help="work on the jobs of a service",
        description="Works on the jobs of a service that runs elsewhere: on the same --data and --database.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--parent", type=count, help=argparse.SUPPRESS)  # ends with this process
    add_service(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Works until asked to stop."""
    need("serve", "relume work")
    from relume.service.server import work

    log_to_stderr(args)
    work(config_of(args), parent=args.parent)
    return 0
