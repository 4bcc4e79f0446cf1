r"""``relume quantize``: a model gets an int8 graph, if it passes."""

__all__ = ["add", "run"]

import argparse
from pathlib import Path

from relume.cli.console import Console
from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk

DID_NOT_PASS = 1


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "quantize",
        help="give a model a graph in int8",
        description="Writes a copy of a model whose convolutions also exist in int8, for ONNX Runtime on a "
        "CPU. The int8 graph is kept only if its pictures pass the parity check against f32 (40 dB); its "
        "figure is written into the card in any case.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="NAME|DIR", help="a model or its folder")
    parser.add_argument(
        "--calibrate", type=Path, required=True, metavar="DIR", help="photographs to find the ranges on"
    )
    parser.add_argument(
        "--photos", type=Path, required=True, metavar="DIR", help="other photographs, to judge the result on"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the new model")
    parser.add_argument("--overwrite", action="store_true", help="replace an older model")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Quantizes; 1 when the result did not pass (the model is then written without it)."""
    need("train", "quantize")
    need("onnx", "quantize")
    from relume import bundle as bundles
    from relume.train.quantize import VARIANT, quantize

    console = Console.of(args)
    given = bundles.find(args.model)
    given.verify()
    made = quantize(
        given,
        args.output,
        args.calibrate,
        photos=args.photos,
        overwrite=args.overwrite,
        report=console.note,
    )
    console.note(f"model {made.name} ({made.hash[:12]}): {made.path}")
    return 0 if VARIANT in made.card["precisions"] else DID_NOT_PASS
