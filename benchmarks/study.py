"""What of the recipe matters? One thing is changed at a time, everything else is held equal.

Every variant sees the same number of samples, drawn with the same seed, on one thread; all are then given the
same held-out photographs with the same damage. The same command goes on after an interruption: what is
finished is not trained again. Writes one JSON and a table in Markdown.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quality import checksum, chosen, columns, git, rounded
from relume import __version__, image
from relume.bench.classical import ROWS, row
from relume.bench.machine import machine
from relume.diffusion import gaussian_noise
from relume.files import placing
from relume.image import Image
from relume.tasks.contenders import Answer, Contender, classical, diffused
from relume.tasks.evaluate import Ruler, Score, damaged_by, score
from relume.tasks.finish import three_channels
from relume.tasks.generate import TRAINED_STEPS, table
from relume.tasks.standings import standings
from relume.tasks.tone import ToneTransform, apply_transform, cautious, colour, thumbnail
from relume.train import Run, train
from relume.train.checkpoint import last
from relume.train.objectives import Restore, objective
from variants import DEFAULT, VARIANTS, Variant, checkpoint

HERE = Path(__file__).resolve().parent
CONTROLS = ("identity", "blur", "denoise")
CHAINS = [("ddpm", TRAINED_STEPS), *((name, steps) for name in ("ddim", "dpm++2m") for steps in (10, 20, 50))]
SHOWN = (("aligned", "tone_aligned_psnr", 2), ("PSNR", "psnr", 2), ("SSIM", "ssim", 3))


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="photographs to learn from")
    parser.add_argument("--photos", type=Path, required=True, help="clean photographs, held out")
    parser.add_argument("--runs", type=Path, default=Path("runs/study"), help="a folder of runs")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="V")
    parser.add_argument("--budget-samples", type=int, default=100_000, help="for each variant")
    parser.add_argument("--half", action="store_true", help="local nets and U-Nets of half the width")
    parser.add_argument("--seed", type=int, default=0, help="of the training and of the damage")
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--count", type=int, default=48, help="so many held-out photographs, evenly spread")
    parser.add_argument("--side", type=int, default=160, help="side of the middle crop that is judged")
    parser.add_argument("--recipe", default="old-photo")
    parser.add_argument("--chain-steps", type=int, nargs="+", help="only chains of so many steps")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    if args.budget_samples < 1 or args.side < 16 or args.side % 16:
        parser.error("--budget-samples counts from 1; --side is a multiple of 16")
    args.runs = args.runs.resolve()  # a student's recipe names its teacher by path
    return args


# --- training ---------------------------------------------------------------------------------------------


def order(names: Sequence[str]) -> list[str]:
    """Those variants and the teachers they need, each after its teacher; the default is always one."""
    asked = {DEFAULT, *names}
    asked |= {teacher for name in asked if (teacher := VARIANTS[name].teacher)}
    return sorted((name for name in VARIANTS if name in asked), key=lambda n: VARIANTS[n].teacher is not None)


def trained(name: str, args: argparse.Namespace) -> Path:
    """The finished checkpoint of a variant, trained on from wherever it stands."""
    variant, path = VARIANTS[name], checkpoint(args.runs, name)
    config = variant.config(args.runs, samples=args.budget_samples, seed=args.seed, half=args.half)
    if path.is_file():
        _, facts, step = last(path)
        wanted = json.loads(json.dumps(asdict(config)))
        if {key: facts.get(key) for key in wanted} != wanted:
            sys.exit(f"{path} was trained by another recipe or budget: name another folder with --runs")
        if step == config.steps:
            return path
    print(f"{name}: {variant.title}", file=sys.stderr)
    run = Run(
        data=args.data,
        out=path.parent,
        device="cpu",
        precision="f32",
        workers=0,
        save_every=args.save_every,
        look_every=max(1, config.steps // 10),
        init=checkpoint(args.runs, variant.teacher) if variant.teacher else None,
    )
    return train(config, run, report=lambda line: print(f"  {line}", file=sys.stderr))


# --- reading out ------------------------------------------------------------------------------------------


def torch_row(name: str, title: str, net: Any, steps: int, run: Callable[[Any], Any]) -> Contender:
    """A contender from a function of the damaged picture, 1×3×H×W."""

    def answer(picture: Image) -> Answer:
        pixels = three_channels(picture.srgb()).transpose(2, 0, 1)
        with torch.inference_mode():
            restored = run(torch.from_numpy(np.ascontiguousarray(pixels))[None])[0].clamp(0, 1)
        return Answer(Image(np.ascontiguousarray(restored.permute(1, 2, 0).numpy())), evaluations=steps)

    return Contender(name, title, answer, parameters=sum(int(each.numel()) for each in net.parameters()))


def restorer_rows(name: str, title: str, net: Any, aim: Restore, args: argparse.Namespace) -> list[Contender]:
    """One step; and, where the chain was learned, two and four straight steps and four of a sampled chain."""

    def noise(damaged: Any) -> Callable[[int], Any]:
        drawn = gaussian_noise([args.seed], tuple(damaged.shape[1:]))
        return lambda step: torch.from_numpy(drawn(step))

    rows = [torch_row(name, title, net, 1, lambda y: aim.answer(net, y))]
    if aim.chain == 0:
        return rows
    for steps in (2, 4):
        row_title = f"{title}; {steps} steps"
        rows.append(
            torch_row(
                f"{name}/{steps}", row_title, net, steps, lambda y, n=steps: aim.answer(net, y, steps=n)
            )
        )
    if aim.kappa > 0:
        rows.append(
            torch_row(
                f"{name}/4-sampled",
                f"{title}; 4 steps, sampled",
                net,
                4,
                lambda y: aim.answer(net, y, steps=4, noise=noise(y)),
            )
        )
    return rows


def chain_rows(
    name: str, variant: Variant, net: Any, predicts: Any, args: argparse.Namespace
) -> list[Contender]:
    """The net that predicts noise, by each sampler."""
    return [
        diffused(
            net,
            table(sampler, steps),
            name=f"{name}/{sampler}-{steps}",
            title=f"{variant.title}; {sampler}, {steps} steps",
            seed=args.seed,
            predicts=predicts,
        )
        for sampler, steps in CHAINS
        if not args.chain_steps or steps in args.chain_steps
    ]


def rows_of(name: str, args: argparse.Namespace) -> list[Contender]:
    """Every way in which a finished variant is read out."""
    variant = VARIANTS[name]
    net, facts, _ = last(checkpoint(args.runs, name))
    aim: Any = objective(facts["objective"], facts["settings"])
    if facts["objective"] == "epsilon":
        return chain_rows(name, variant, net, aim.predicts, args)
    if facts["objective"] == "restore":
        return restorer_rows(name, variant.title, net, aim, args)
    if facts["objective"] == "tone":
        return [toned(name, variant, net, args)]
    return [torch_row(name, variant.title, net, 1, lambda y: aim.answer(net, y))]


def toned(name: str, variant: Variant, net: Any, args: argparse.Namespace) -> Contender:
    """The tone net reads a thumbnail, as in the product; the default repairs what it made of the picture."""
    local, facts, _ = last(checkpoint(args.runs, DEFAULT))
    restore: Any = objective(facts["objective"], facts["settings"])

    def both(damaged: Any) -> Any:
        picture = damaged[0].permute(1, 2, 0).numpy()
        small = thumbnail(picture)
        seen = small[0].transpose(1, 2, 0)
        transform = cautious(ToneTransform.from_parameters(net(torch.from_numpy(small)).numpy()), seen)
        revived = apply_transform(picture, colour(transform, seen, "revive"))
        return restore.answer(local, torch.from_numpy(revived).permute(2, 0, 1)[None])

    return torch_row(name, variant.title, torch.nn.ModuleList([net, local]), 1, both)


# --- measuring --------------------------------------------------------------------------------------------


def middle(picture: Image, side: int) -> Image:
    pixels = three_channels(picture.srgb())
    if min(pixels.shape[:2]) < side:
        sys.exit(f"a held-out photograph is smaller than --side {side}: give a smaller one")
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return Image(np.ascontiguousarray(pixels[top : top + side, left : left + side]))


def measured(files: list[Path], rows: list[Contender], ruler: Ruler, args: argparse.Namespace) -> list[Score]:
    scores: list[Score] = []
    for number, path in enumerate(files, 1):
        print(f"\r{number}/{len(files)} {path.name:50.50}", end="", file=sys.stderr, flush=True)
        clean = middle(image.read(path), args.side)
        scores += score(damaged_by(path.name, clean, recipe_name=args.recipe, seed=args.seed), rows, ruler)
    print(file=sys.stderr)
    return scores


def training(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """How a variant was trained, and its curve on the photographs that its run held out."""
    path = checkpoint(args.runs, name)
    _, facts, step = last(path)
    lines = [json.loads(line) for line in (path.parent / "log.jsonl").read_text().splitlines()]
    curve = [line for line in lines if "held_out_psnr" in line]
    teacher = VARIANTS[name].teacher
    if teacher:
        facts["settings"] = {**facts["settings"], "teacher": teacher}
    return {
        "recipe": facts,
        "samples": step * facts["batch"],
        "samples_before": training(teacher, args)["samples"] if teacher else 0,
        "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "samples_per_s": [line["samples_per_s"] for line in lines if "samples_per_s" in line][-1],
        "curve": [[line["step"] * facts["batch"], line["held_out_psnr"]] for line in curve],
    }


def markdown(facts: dict[str, Any]) -> str:
    """One line a row, as it was measured."""
    intervals = {
        each["ours"]: each["intervals"] for each in facts["differences"] if each["theirs"] == DEFAULT
    }
    heads = ["row", "what it is", *(head for head, _, _ in SHOWN), "aligned − default [95 %]", "gradient"]
    heads += ["NFE", "s", "M parameters"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name, each in facts["rows"].items():
        means, found = facts["means"][name], intervals.get(name, {}).get("tone_aligned_psnr")
        cells = [f"`{name}`", each["title"], *(_cell(means[figure], digits) for _, figure, digits in SHOWN)]
        cells.append(f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]" if found else "–")
        millions = None if each["parameters"] is None else each["parameters"] / 1e6
        cells += [_cell(means["gradient_energy"], 2), _cell(each["evaluations"], 0)]
        cells += [_cell(each["seconds_median"], 3), _cell(millions, 2)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def main(argv: Sequence[str] | None = None) -> Path:
    args = options(argv)
    torch.set_num_threads(1)
    names = order(args.variants)
    for name in names:
        trained(name, args)
    rows = [classical(row(name)) for name in CONTROLS if not ROWS[name].lacking()]
    rows += [each for name in names for each in rows_of(name, args)]
    ruler, files = Ruler.here(clean=False), chosen(args.photos, args.count)
    scores = measured(files, rows, ruler, args)
    facts = standings(scores, rows, ruler, against=DEFAULT)
    facts["pictures"] = columns(scores)
    suite = "study-half" if args.half else "study"
    report = {
        "suite": suite,
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "machine": {**machine(), "threads": 1},
        "budget_samples": args.budget_samples,
        "half": args.half,
        "seed": args.seed,
        "training": {name: training(name, args) for name in names},
        "damage": {"recipe": args.recipe, "severity": 1.0, "seed": args.seed, "side": args.side},
        "photographs": {"names": [path.name for path in files], "sha256": checksum(files)},
        **rounded(facts),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"{suite}--{args.name}--cpu.json".lower()
    for path, text in (
        (target, json.dumps(report, allow_nan=False, ensure_ascii=False) + "\n"),
        (target.with_suffix(".md"), markdown(report)),
    ):
        with placing(path, overwrite=True) as partial:
            partial.write_text(text, encoding="utf-8")
    print(markdown(report), target, sep="\n")
    return target


if __name__ == "__main__":
    main()
