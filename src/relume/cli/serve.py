r"""``relume serve``: the page and the API."""

__all__ = ["add", "run"]

import argparse

from relume.cli.console import Console
from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk, count, duration, from_zero
from relume.cli.serving import TOKEN, add_service, command_of, config_of, hand_on, log_to_stderr, secret
from relume.errors import UsageError

_EPILOG = """\
The token can also come from the environment, as RELUME_TOKEN, where other users do not see it, or from the
file that RELUME_TOKEN_FILE names. The service listens on this machine alone unless --host says otherwise;
then give a token.
"""


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "serve",
        help="the page and the API",
        description="Serves a page on which photographs are restored, and an HTTP API.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)
    group = parser.add_argument_group("serving")
    group.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    group.add_argument(
        "--port", type=from_zero, default=8000, help="0 takes any that is free (default: 8000)"
    )
    group.add_argument("--token", help="what callers have to show (default: nothing)")
    group.add_argument(
        "--cors", action="append", default=[], metavar="ORIGIN", help="a site whose pages may call the API"
    )
    group.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name the service is called by"
    )
    group.add_argument("--workers", type=count, default=1, metavar="N", help="worker processes (default: 1)")
    group.add_argument(
        "--drain", type=duration, default=30.0, metavar="TIME", help="what running jobs get to end (30s)"
    )
    add_service(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Serves until asked to stop."""
    need("serve", "relume serve")
    from relume.service.config import Web
    from relume.service.server import serve

    log_to_stderr(args)
    token = args.token or secret(TOKEN)
    if args.port > 65535:
        raise UsageError(f"there is no port {args.port}")
    web = Web(
        host=args.host,
        port=args.port,
        token=token or None,
        origins=tuple(args.cors),
        hosts=tuple(args.allow_host),
        workers=args.workers,
        drain=args.drain,
    )
    config = config_of(args)
    hand_on(config)
    told = Console.of(args).note
    serve(config, web, worker=command_of(config), told=lambda address: told(f"relume listens on {address}"))
    return 0
