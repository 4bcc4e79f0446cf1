r"""The options that a server and its workers share, there and back."""

__all__ = ["DATABASE", "add_service", "command_of", "config_of", "log_to_stderr"]

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.options import add_model, count, duration, memory

if TYPE_CHECKING:
    from relume.service.config import Config

DATABASE = "RELUME_DATABASE"  # may hold a password, which a command line would show to everybody
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
        help="the job table, also from RELUME_DATABASE: postgresql://USER@HOST/NAME or sqlite:///FILE "
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


def config_of(args: argparse.Namespace) -> "Config":
    """As the options of :func:`add_service` say."""
    from relume.service.config import Config, default_folder

    return Config(
        data=args.data or default_folder(),
        database=args.database or os.environ.get(DATABASE) or None,
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
    )


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
