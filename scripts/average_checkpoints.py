#!/usr/bin/env python
"""Average the weights of two training runs, the second of which began with the first's (``--init``).

    python scripts/average_checkpoints.py FIRST SECOND --share 0.5 -o OUT

FIRST may be the folder of a model that the second run began with; then its averaged weights alone are mixed.
The averaged net is often better than either (Wortsman et al., *Model soups*, 2022). What is not a weight (the
optimiser, the recipe) is the second's.
"""

import argparse
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from relume.bundle import CARD, find
from relume.files import placing


def weights(path: Path, wanted: set[str]) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint; or those of the net of a model whose names are ``wanted``."""
    if not (path / CARD).is_file():
        return load_file(path)
    model = find(path)
    for graph in model.card["graphs"].values():
        prefix = graph["prefix"]
        known = {n.removeprefix(prefix): t for n, t in model.tensors().items() if n.startswith(prefix)}
        if known.keys() == wanted:
            return {f"average.{name}": value for name, value in known.items()}
    raise SystemExit(f"the model {model.name} holds no net of this kind")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second, 0…1")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    tensors = load_file(args.second)
    first = weights(args.first, {name[8:] for name in tensors if name.startswith("average.")})
    with safe_open(args.second, "np") as file:
        facts = file.metadata()
    for name, value in tensors.items():
        if name in first and name.startswith(("net.", "average.")) and value.dtype.kind == "f":
            mixed = (1 - args.share) * first[name].astype(np.float64) + args.share * value.astype(np.float64)
            tensors[name] = np.ascontiguousarray(mixed.astype(value.dtype))
    whole = {name: np.ascontiguousarray(np.asarray(value)) for name, value in tensors.items()}
    with placing(args.output, overwrite=False) as partial:
        save_file(whole, partial, metadata=facts)
    print(args.output)


if __name__ == "__main__":
    main()
