r"""The rows that ``relume eval`` is asked for: classical methods, diffusion checkpoints and the model."""

__all__ = ["add_rows", "contenders"]

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from relume.cli.console import Console
from relume.cli.export import checkpoint
from relume.cli.extras import need
from relume.cli.generate import trained
from relume.cli.options import count, number
from relume.cli.running import load
from relume.errors import UsageError

if TYPE_CHECKING:
    from relume.tasks import Restorer
    from relume.tasks.contenders import Contender

MODEL = "model"


class _Chain(NamedTuple):
    """A checkpoint of ``relume train ddpm``, and how it is sampled."""

    path: Path
    sampler: str
    steps: int | None


def add_rows(parser: argparse.ArgumentParser) -> None:
    """Which rows the table has, and how the model runs."""
    group = parser.add_argument_group("rows")
    group.add_argument(
        "--rows",
        type=_names,
        metavar="NAME,…",
        help="model, identity, blur, median, nlmeans, denoise, bm3d, inpaint, inpaint-ns, clahe, "
        "autocontrast, greyworld, combined (default: all but bm3d that can run here)",
    )
    group.add_argument(
        "--chain",
        type=_chain,
        action="append",
        default=[],
        metavar="FILE[,SAMPLER[,N]]",
        help="one more row: a checkpoint of relume train ddpm, by a sampler of relume generate in N steps "
        "(default: ddpm, 300); may be repeated",
    )
    group.add_argument(
        "--steps", type=_steps, default=[None], metavar="N,…", help="evaluations per tile; a row for each"
    )
    group.add_argument("-w", "--fidelity", type=number(0, 1), default=1.0, metavar="0…1", help="default: 1")
    group.add_argument("--tile", type=count, metavar="N", help="side of the tiles (default: the model's)")
    group.add_argument(
        "--no-clean",
        action="store_true",
        help="do not measure the harm done to clean pictures: half the time",
    )


def contenders(args: argparse.Namespace, console: Console) -> "tuple[Restorer | None, list[Contender]]":
    """The rows of the table, classical ones first; the model is loaded only if it is among them.

    Raises:
        UsageError: a row is unknown or twice there, or one that was asked for cannot run here.
        MissingExtra: a chain is asked for, and torch is not installed.
    """
    from relume.bench.classical import ROWS

    names = args.rows
    if names is None:
        names = [*(name for name, each in ROWS.items() if not each.asked), MODEL]
    rows = _classical([name for name in names if name != MODEL], args.rows is not None, console)
    rows += [_diffused(chain, args.seed) for chain in args.chain]
    restorer = load(args, console) if MODEL in names else None
    if restorer is not None:
        rows += _restored(restorer, args)
    if not rows:
        raise UsageError("a table has at least one row: give --rows some names, or --chain")
    twice = {row.name for row in rows if [each.name for each in rows].count(row.name) > 1}
    if twice:
        raise UsageError(f"two rows would be called {twice.pop()}: evaluate them one after the other")
    return restorer, rows


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _steps(text: str) -> list[int | None]:
    return list(dict.fromkeys(count(part) for part in text.split(",")))


def _chain(text: str) -> _Chain:
    file, *how = text.split(",")
    if not file or len(how) > 2:
        raise argparse.ArgumentTypeError(f"{text!r} is no FILE, FILE,SAMPLER or FILE,SAMPLER,N")
    return _Chain(Path(file), how[0] if how else "ddpm", count(how[1]) if len(how) == 2 else None)


def _classical(names: list[str], asked: bool, console: Console) -> "list[Contender]":
    from relume.bench.classical import row
    from relume.tasks.contenders import classical

    rows = []
    for each in map(row, names):
        reason = each.lacking()
        if reason is None:
            rows.append(classical(each))
        elif asked:
            raise UsageError(f"the row {each.name} cannot run here: {reason}")
        else:
            console.note(f"without {each.name}: {reason}")
    return rows


def _diffused(chain: _Chain, seed: int) -> "Contender":
    need("train", "a chain of a checkpoint")
    from relume.tasks.contenders import diffused
    from relume.tasks.generate import TRAINED_STEPS, table

    steps = chain.steps or TRAINED_STEPS
    net, _, predicts = trained(checkpoint(chain.path), None, conditional=True, device="cpu")
    name, title = f"{chain.sampler}@{steps}", f"{chain.path}, {chain.sampler}, {steps} steps"
    return diffused(net, table(chain.sampler, steps), name=name, title=title, seed=seed, predicts=predicts)


def _restored(restorer: "Restorer", args: argparse.Namespace) -> "list[Contender]":
    from relume.tasks import Settings
    from relume.tasks.contenders import restored

    rows = []
    for steps in args.steps:
        settings = Settings(steps=steps, seed=args.seed, fidelity=args.fidelity, tile=args.tile)
        name = restorer.bundle.name if len(args.steps) == 1 else f"{restorer.bundle.name}@{steps}"
        title = f"{restorer.bundle.card['title']}, fidelity {args.fidelity:g}"
        rows.append(restored(restorer, settings, name=name, title=title))
    return rows
