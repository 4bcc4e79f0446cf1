r"""``relume eval``: measure a model on photographs, beside controls and classical methods."""

__all__ = ["add", "run"]

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume._version import __version__
from relume.cli.console import INTERRUPTED, Console, Progress, say
from relume.cli.options import Subparsers, add_model, add_talk
from relume.cli.pairs import Make, add_pairs, pairs
from relume.cli.rows import add_rows, contenders
from relume.cli.streams import as_json, write_text
from relume.cli.table import per_picture, table
from relume.cli.target import free
from relume.errors import ImageError, NoInput, RelumeError, UsageError
from relume.files import make_folder

if TYPE_CHECKING:
    from relume.tasks import Restorer
    from relume.tasks.contenders import Contender
    from relume.tasks.evaluate import Ruler, Score

PAGE = "index.html"


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "eval",
        help="measure a model on photographs",
        description="Damages clean photographs by a recipe (or takes pairs from two folders), restores them "
        "by the model and by classical methods, and measures all of them by one ruler. Metrics and rows "
        "whose libraries are not installed are left out and named.",
    )
    parser.set_defaults(run=run)
    add_pairs(parser)
    add_rows(parser)
    results = parser.add_argument_group("results")
    results.add_argument("--report", "--json", type=Path, metavar="FILE", help="write all figures as JSON")
    results.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="the best, the median and the worst photograph after each row, and a page that shows them",
    )
    results.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_model(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates; a picture that fails is named and left out, and an interruption keeps what was measured."""
    _check_outputs(args)
    makes = pairs(args)
    console = Console.of(args)
    restorer, entrants = contenders(args, console)
    ruler = _ruler(args, console)
    scores, failed, interrupted = _scores(makes, entrants, ruler, console)
    if interrupted:
        say(f"interrupted: what follows is of {len(scores) // len(entrants)} of {len(makes)} pictures")
    if not scores:
        raise KeyboardInterrupt if interrupted else NoInput("none of the pictures could be evaluated")
    facts = _facts(args, scores, entrants, ruler, restorer, failed, complete=not interrupted)
    print(table(facts, count=len(scores) // len(entrants)))
    if args.report is not None:
        write_text(as_json(facts), args.report, overwrite=args.overwrite)
    if args.pictures is not None and not interrupted:
        _show(args, makes, entrants, scores)
        console.note(f"{args.pictures / PAGE}")
    if interrupted:
        return INTERRUPTED
    return ImageError.exit_code if failed else 0


def _check_outputs(args: argparse.Namespace) -> None:
    free(args.report, overwrite=args.overwrite)
    if args.pictures is None or not args.pictures.exists():
        return
    if not args.pictures.is_dir():
        raise UsageError(f"{args.pictures} is a file: name a folder for the pictures")
    free(args.pictures / PAGE, overwrite=args.overwrite)


def _ruler(args: argparse.Namespace, console: Console) -> "Ruler":
    from relume.tasks.evaluate import Ruler

    ruler = Ruler.here(clean=not args.no_clean)
    for figure, reason in ruler.lacking.items():
        if figure != "clean_psnr":  # that one was left out by --no-clean
            console.note(f"without {figure}: {reason}")
    return ruler


def _scores(
    makes: dict[str, Make], contenders: "list[Contender]", ruler: "Ruler", console: Console
) -> "tuple[list[Score], dict[str, str], bool]":
    from relume.tasks.evaluate import score

    scores: list[Score] = []
    failed: dict[str, str] = {}
    progress = Progress(len(makes), console)
    try:
        for name, make in makes.items():
            progress.begin(name)
            try:
                found = score(make(), contenders, ruler)
            except RelumeError as error:
                failed[name] = str(error)
                found = []
            progress.end()
            if name in failed:
                say(failed[name] if name in failed[name] else f"{name}: {failed[name]}")
            if not console.quiet:
                for each in found:
                    print(per_picture(each))
            scores += found
    except KeyboardInterrupt:
        return scores, failed, True
    finally:
        progress.close()
    return scores, failed, False


def _facts(
    args: argparse.Namespace,
    scores: "list[Score]",
    contenders: "list[Contender]",
    ruler: "Ruler",
    restorer: "Restorer | None",
    failed: dict[str, str],
    *,
    complete: bool,
) -> dict[str, Any]:
    from relume.bench.machine import machine
    from relume.tasks.standings import standings

    drawn = args.clean is None
    damage = {"recipe": args.recipe, "severity": args.severity, "seed": args.seed} if drawn else None
    return {
        "relume": __version__,
        "machine": machine(),
        **_ran(restorer),
        "damage": damage,
        "side": args.side,
        "steps": args.steps,
        "fidelity": args.fidelity,
        "tile": args.tile,
        "complete": complete,
        **standings(scores, contenders, ruler),
        "failed": failed,
    }


def _ran(restorer: "Restorer | None") -> dict[str, Any]:
    """Which model, and where it ran."""
    if restorer is None:
        return {"model": None, "engine": None}
    bundle, engine = restorer.bundle, restorer.engine
    return {
        "model": {"name": bundle.name, "version": bundle.card["version"], "hash": bundle.hash},
        "engine": engine.facts(),
    }


def _show(
    args: argparse.Namespace, makes: dict[str, Make], contenders: "list[Contender]", scores: "list[Score]"
) -> None:
    """Writes the contact sheet. The three photographs are restored once more, so that none was kept."""
    from relume import image
    from relume.tasks.sheet import Section, Shown, sheet
    from relume.tasks.standings import extremes

    make_folder(args.pictures)
    figures = {(each.picture, each.method): each.figures for each in scores}
    sections = []
    for rank, name in extremes(scores, contenders[-1].name).items():
        pair = makes[name]()
        shown = []
        for each in [*contenders, None]:
            label = each.name if each is not None else "truth"
            picture = each.run(pair.damaged).image if each is not None else pair.clean
            file = f"{rank}-{label}.png"
            image.write(picture, args.pictures / file, overwrite=args.overwrite)
            found = figures.get((name, label))
            quality = f": {found['psnr']:.2f} dB, SSIM {found['ssim']:.3f}" if found is not None else ""
            shown.append(Shown(file, label + quality))
        sections.append(Section(f"{rank}: {name}", shown))
    title = f"relume eval: {contenders[-1].name}, by gain in PSNR"
    write_text(sheet(title, sections), args.pictures / PAGE, overwrite=args.overwrite)
