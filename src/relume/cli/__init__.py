r"""The command line: one command a file.

A command is a module with ``add(subparsers)``, which declares its options, and ``run(args) -> int``, which
does the work and returns the exit code. To add one, write the file and put it into :data:`COMMANDS`. What
is heavy is imported inside ``run``, so that ``relume --version`` loads neither numpy nor a runtime.

====  =================================================================
code  meaning
====  =================================================================
0     done
1     an error inside relume (``-v`` shows where)
2     the call itself is wrong
3     some inputs failed; they are named on stderr and in the report
4     no usable input
5     the model is missing or corrupt
6     the device, the memory or an optional dependency is missing
130   interrupted
====  =================================================================
"""

__all__ = ["COMMANDS", "main", "parser"]

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from relume._version import __version__
from relume.cli import (
    archive,
    bench,
    cache,
    calibrate,
    client,
    compare,
    degrade,
    doctor,
    edit,
    evaluate,
    export,
    generate,
    mask,
    models,
    plan,
    quantize,
    restore,
    serve,
    train,
    verify,
    work,
    xray,
)
from relume.cli.console import INTERRUPTED, say
from relume.cli.options import Parser
from relume.errors import OutOfMemory, RelumeError

COMMANDS: list[ModuleType] = [
    restore,
    archive,
    mask,
    edit,
    verify,
    compare,
    degrade,
    models,
    doctor,
    cache,
    evaluate,
    plan,
    bench,
    train,
    export,
    calibrate,
    quantize,
    generate,
    xray,
    serve,
    work,
    client,
]

_CODES = """\
exit codes: 0 done, 1 internal error, 2 usage, 3 some inputs failed, 4 no usable input, 5 model missing or
corrupt, 6 device or memory, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; errors become one line on stderr.

    Args:
        argv: the arguments after the program's name; None: those of this process.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    relume ...
    0
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbose = False
    try:
        args = parser().parse_args(arguments)
        verbose = bool(args.verbose)
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except SystemExit as leaving:  # argparse leaves this way after --help and --version
        return leaving.code if isinstance(leaving.code, int) else 0
    except RelumeError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        say("not enough memory; give --max-memory, or make the picture smaller")
        return OutOfMemory.exit_code
    except Exception as error:
        if verbose:
            traceback.print_exc()
        say(f"internal error: {type(error).__name__}: {error}" + ("" if verbose else " (-v shows where)"))
        return RelumeError.exit_code


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    made = Parser(
        prog="relume",
        description="Makes damaged pictures whole again.",
        epilog=_CODES + "\nrelume COMMAND --help tells the options of a command",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"relume {__version__}")
    subparsers = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(subparsers)
    return made
