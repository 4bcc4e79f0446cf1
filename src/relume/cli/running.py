r"""A restorer as the options want it, and what really runs told."""

__all__ = ["load"]

import argparse
from typing import TYPE_CHECKING

from relume.cli.console import Console, say

if TYPE_CHECKING:
    from relume.tasks import Restorer


def load(args: argparse.Namespace, console: Console, *, measure: bool = False) -> "Restorer":
    """The model of the options of :func:`~relume.cli.options.add_model`, its files verified, on an engine.

    When ``auto`` cannot have the first engine of its order, that is said even with -q. ``measure`` says that
    there is work enough to time the engines first.

    Raises:
        BundleError: the model is missing, or not what its card says.
        EngineError: the engine, device or precision that was asked for cannot run here.
    """
    from relume import bundle as bundles
    from relume import engines
    from relume.tasks import Restorer

    bundle = bundles.find(args.model)
    bundle.verify()
    restorer = Restorer(
        bundle.path,
        engine=args.engine,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        force=args.force,
        measure=measure,
    )
    engine = restorer.engine
    first = engines.AUTO[0]
    if engine.chosen == "order" and engine.name not in first.NAMES:
        reason = first.probe().reason or f"not with device {args.device}, precision {args.precision}"
        say(f"note: {first.NAMES[0]} does not run here ({reason}); {engine.name} runs instead")
    console.detail(f"model {bundle.name} {bundle.card['version']} ({bundle.hash[:12]}), {bundle.path}")
    console.detail(f"engine {engine.name} {engine.version} on {engine.device}, {engine.precision}")
    words = "; ".join(f"{name} {value}" for name, value in engine.runtime.items())
    console.detail(f"  chosen by {engine.chosen}; the runtime says: {words or 'nothing'}")
    return restorer
