r"""``relume doctor``: what will really run on this machine."""

__all__ = ["add", "run"]

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume._version import __version__
from relume.cli.extras import EXTRAS, missing
from relume.cli.options import Subparsers, add_talk
from relume.cli.streams import as_json
from relume.errors import BundleError, EngineUnavailable, RelumeError

if TYPE_CHECKING:
    from relume.bundle import Bundle
    from relume.engines import Engine, Status

MODEL = "photo"
SIDE = 256  # of the tile that each engine is tried on


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="tell what will really run on this machine",
        description="Tries every engine with the model on this machine, verifies the installed models, and "
        "names what is missing with the line that installs it.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--model", default=MODEL, metavar="NAME|DIR", help=f"what to try (default: {MODEL})")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Examines; 0 when restoring works, 5 without a whole model, 6 without an engine."""
    facts: dict[str, Any] = {"relume": __version__, "machine": _machine(), "models": _models(args.model)}
    model = facts["models"][0]
    bundle = _bundle(args.model) if model["ok"] else None
    facts["engines"] = _engines(bundle)
    facts["auto"] = _auto(facts["engines"])
    facts["extras"] = {extra: _extra(extra) for extra in EXTRAS}
    print(as_json(facts) if args.json else _text(facts), end="")
    if not model["ok"]:
        return BundleError.exit_code
    return 0 if facts["auto"] is not None else EngineUnavailable.exit_code


def _machine() -> dict[str, Any]:
    usable = os.cpu_count()
    memory = None
    if sys.platform == "linux":
        usable = len(os.sched_getaffinity(0))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "memory_bytes": memory,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _bundle(name: str) -> "Bundle":
    from relume import bundle as bundles

    return bundles.find(name)


def _models(wanted: str) -> list[dict[str, Any]]:
    """The model that is asked for first, then all others that are installed."""
    from relume import bundle as bundles

    others = [bundle.path.name for bundle in bundles.installed() if bundle.path.name != wanted]
    found = []
    for name in (wanted, *others):
        try:
            bundle = bundles.find(name)
            bundle.verify()
        except BundleError as error:
            found.append({"name": name, "ok": False, "reason": str(error)})
        else:
            found.append(
                {
                    "name": name,
                    "ok": True,
                    "version": bundle.card["version"],
                    "hash": bundle.hash,
                    "path": str(bundle.path),
                }
            )
    return found


def _engines(bundle: "Bundle | None") -> list[dict[str, Any]]:
    from relume import engines

    return [_engine(status, bundle) for status in engines.probe()]


def _engine(status: "Status", bundle: "Bundle | None") -> dict[str, Any]:
    """What an engine says of itself and, where a model is there, what runs when it is tried."""
    facts: dict[str, Any] = {
        "name": status.name,
        "available": status.available,
        "reason": status.reason,
        "version": status.version,
        "devices": list(status.devices),
        "precisions": list(status.precisions),
        "runs": None,
    }
    if not status.available or bundle is None:
        return facts
    try:
        facts["runs"] = _try(status.name, bundle)
    except (RelumeError, ImportError) as error:
        facts["reason"] = str(error)
    return facts


def _try(name: str, bundle: "Bundle") -> dict[str, Any]:
    from relume import engines

    engine = engines.load(bundle, "local", engine=name, build=_build)
    _time(engine, bundle)
    return {
        "device": engine.device,
        "precision": engine.precision,
        "tile": SIDE,
        "seconds_per_tile": round(_time(engine, bundle), 4),
    }


def _build(kind: str, config: dict[str, Any]) -> Any:
    from relume.nets import build

    return build(kind, config)


def _time(engine: "Engine", bundle: "Bundle") -> float:
    import numpy as np

    sizes = {"batch": 1, "height": SIDE, "width": SIDE}
    ports = bundle.facts("local")["inputs"]
    shapes = [
        [sizes.get(size, 1) if isinstance(size, str) else size for size in port["shape"]] for port in ports
    ]
    arrays = [np.full(shape, 0.5, np.float32) for shape in shapes]
    began = time.perf_counter()
    engine(*arrays)
    return time.perf_counter() - began


def _auto(found: list[dict[str, Any]]) -> str | None:
    """The engine that ``auto`` comes to."""
    from relume import engines

    runs = {facts["name"] for facts in found if facts["runs"] is not None}
    return next((module.NAMES[0] for module in engines.AUTO if module.NAMES[0] in runs), None)


def _extra(extra: str) -> dict[str, Any]:
    from importlib import metadata

    lacking = missing(extra)
    versions = {}
    for module in EXTRAS[extra]:
        if module not in lacking:
            names = metadata.packages_distributions().get(module, [module])
            versions[module] = metadata.version(names[0])
    line = f'pip install "relume[{extra}]"' if lacking else None
    return {"installed": not lacking, "versions": versions, "missing": lacking, "install": line}


def _text(facts: dict[str, Any]) -> str:
    machine = facts["machine"]
    memory = f", {machine['memory_bytes'] / 2**30:.1f} GiB" if machine["memory_bytes"] else ""
    lines = [
        f"relume {facts['relume']}, Python {machine['python']}, {machine['platform']}",
        f"{machine['processor']}, {machine['usable_cores']} of {machine['cores']} cores{memory}",
        "",
    ]
    for model in facts["models"]:
        state = f"{model['version']}, verified, {model['path']}" if model["ok"] else model["reason"]
        lines.append(f"model  {model['name']:<10} {state}")
    for engine in facts["engines"]:
        lines.append(f"engine {engine['name']:<10} {_engine_text(engine)}")
    for extra, state in facts["extras"].items():
        versions = ", ".join(f"{name} {version}" for name, version in state["versions"].items())
        lines.append(f"extra  {extra:<10} {versions if state['installed'] else state['install']}")
    verdict = f"relume restore runs on {facts['auto']}" if facts["auto"] else "relume restore cannot run here"
    return "\n".join([*lines, "", verdict]) + "\n"


def _engine_text(engine: dict[str, Any]) -> str:
    if engine["runs"] is None and not engine["available"]:
        return str(engine["reason"])
    what = f"{engine['version']}; {', '.join(engine['devices'])}; {', '.join(engine['precisions'])}"
    if engine["runs"] is None:
        return f"{what}; not tried: {engine['reason'] or 'there is no whole model'}"
    runs = engine["runs"]
    return (
        f"{what}; runs on {runs['device']} at {runs['precision']}, "
        f"{1000 * runs['seconds_per_tile']:.0f} ms for a tile of {runs['tile']}×{runs['tile']}"
    )
