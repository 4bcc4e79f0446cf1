r"""The options that a server and its workers share, there and back."""

__all__ = [
    "DATABASE",
    "TOKEN",
    "add_service",
    "command_of",
    "config_of",
    "hand_on",
    "log_to_stderr",
    "secret",
]

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.options import add_model, count, duration, memory
from relume.errors import UsageError
from relume.files import one_line

if TYPE_CHECKING:
    from relume.service.config import Config

DATABASE = "RELUME_DATABASE"  # may hold a password, which a command line would show to everybody
TOKEN = "RELUME_TOKEN"
_DIED = "seconds without a sign of life after which a worker counts as dead"


def add_service(parser: argparse.ArgumentParser) -> None:
    """Where jobs are kept, which model works on them, and what one picture may cost."""
    group = parser.add_argument_group("jobs")
    group.add_argument(
        "--data", type=Path, metavar="DIR", help="uploads and results (default: among your data)"
    )
    group.add_argument(
        "--database",
        metavar="URL",
        help="the job table, also from RELUME_DATABASE or RELUME_DATABASE_FILE: "
        "postgresql://USER@HOST/NAME or sqlite:///FILE "
        "(default: a SQLite file in --data)",
    )
    group.add_argument(
        "--keep",
        type=duration,
        default=86400.0,
        metavar="TIME",
        help="delete jobs so long after their end (24h)",
    )
    group.add_argument("--lease", type=duration, default=30.0, metavar="TIME", help=f"{_DIED} (30s)")
    group.add_argument(
        "--jobs", type=count, default=4, metavar="N", help="jobs in flight at once on one engine (default: 4)"
    )
    group.add_argument(
        "--batch",
        type=count,
        default=1,
        metavar="N",
        help="steps that the engine evaluates at once: 1, 2, 4, …; more than 1 pays on a GPU (default: 1)",
    )
    group.add_argument(
        "--calls",
        type=count,
        default=2,
        metavar="N",
        help="evaluations on a CPU at once, each with its part of the threads: more is done in all, and one "
        "picture alone takes longer (default: 2)",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-bytes", type=memory, default=200 * 2**20, metavar="SIZE", help="of one upload (200M)"
    )
    limits.add_argument(
        "--max-pixels", type=count, default=100_000_000, metavar="N", help="of one picture (100 million)"
    )
    limits.add_argument(
        "--max-queue",
        type=count,
        default=2_000_000_000,
        metavar="N",
        help="pixels × evaluations that may wait; more is answered with 429 (2 billion)",
    )
    limits.add_argument(
        "--max-memory", type=memory, metavar="SIZE", help="refuse pictures that need more, such as 2G"
    )
    add_model(parser)


def secret(name: str) -> str | None:
    """What the environment holds under ``name``, or the first line of the file that ``name_FILE`` names.

    Raises:
        UsageError: both are set, or the file cannot be read or is empty.
    """
    said, path = os.environ.get(name) or None, os.environ.get(f"{name}_FILE") or None
    if path is None:
        return said
    if said is not None:
        raise UsageError(f"{name} and {name}_FILE are both set: keep one of them")
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file that {name}_FILE names cannot be read: {one_line(error)}") from error
    if not lines or not lines[0].strip():
        raise UsageError(f"the file that {name}_FILE names is empty")
    return lines[0].strip()


def config_of(args: argparse.Namespace) -> "Config":
    """As the options of :func:`add_service` say."""
    from relume.service.config import Config, default_folder

    return Config(
        data=args.data or default_folder(),
        database=args.database or secret(DATABASE),
        model=args.model,
        engine=args.engine,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        force=args.force,
        max_bytes=args.max_bytes,
        max_pixels=args.max_pixels,
        max_queue=args.max_queue,
        max_memory=args.max_memory,
        keep=args.keep,
        lease=args.lease,
        jobs=args.jobs,
        batch=args.batch,
        calls=args.calls,
    )


def hand_on(config: "Config") -> None:
    """Puts into the environment what the workers are told there, and takes away what they need not know."""
    for name in (TOKEN, f"{TOKEN}_FILE", f"{DATABASE}_FILE"):
        os.environ.pop(name, None)
    if config.database is not None:
        os.environ[DATABASE] = config.database


def command_of(config: "Config") -> list[str]:
    """The command of a worker process so configured, less the database: that is in the environment."""
    values: dict[str, object] = {
        "--data": config.data,
        "--model": config.model,
        "--engine": config.engine,
        "--device": config.device,
        "--precision": config.precision,
        "--threads": config.threads,
        "--max-pixels": config.max_pixels,
        "--max-memory": config.max_memory,
        "--keep": f"{config.keep}s",
        "--lease": f"{config.lease}s",
        "--jobs": config.jobs,
        "--batch": config.batch,
        "--calls": config.calls,
    }
    told = [word for name, value in values.items() if value is not None for word in (name, str(value))]
    flags = ["--force"] if config.force else []
    return [sys.executable, "-m", "relume", "work", *told, *flags]


def log_to_stderr(args: argparse.Namespace) -> None:
    """What the service has to say: warnings with -q, every job with -v. No names, no pixels, no addresses."""
    level = logging.WARNING if args.quiet else logging.DEBUG if args.verbose else logging.INFO
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(message)s"))
    logger = logging.getLogger("relume.service")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
    for name in ("uvicorn.error",):
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).setLevel(logging.WARNING)
