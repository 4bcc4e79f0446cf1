r"""``relume doctor``: what will really run on this machine."""

__all__ = ["add", "run"]

import argparse
import os
import platform
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from relume import machine
from relume._version import __version__
from relume.cli.extras import EXTRAS, missing
from relume.cli.options import Subparsers, add_talk, count
from relume.cli.streams import as_json
from relume.errors import BundleError, EngineUnavailable, RelumeError

if TYPE_CHECKING:
    from relume.bundle import Bundle
    from relume.engines import Status

MODEL = "photo"
GRAPH = "local"  # the one that takes the time


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
    parser.add_argument(
        "--benchmark",
        action="store_true",
        help="time the engines anew (two or three seconds); --engine auto goes by it from then on",
    )
    parser.add_argument(
        "--threads", type=count, metavar="N", help="CPU threads of the benchmark and of what auto comes to"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Examines; 0 when restoring works, 5 without a whole model, 6 without an engine."""
    facts: dict[str, Any] = {"relume": __version__, "machine": _machine(), "models": _models(args.model)}
    model = facts["models"][0]
    bundle = _bundle(args.model) if model["ok"] else None
    facts["engines"] = _engines(bundle)
    facts["benchmark"] = _benchmark(bundle, args.threads, fresh=args.benchmark) if bundle else None
    facts["auto"] = _auto(bundle, args.threads)
    facts["cache"] = _cache()
    facts["extras"] = {extra: _extra(extra) for extra in EXTRAS}
    print(as_json(facts) if args.json else _text(facts), end="")
    if not model["ok"]:
        return BundleError.exit_code
    return 0 if facts["auto"] is not None else EngineUnavailable.exit_code


def _machine() -> dict[str, Any]:
    memory = None
    if sys.platform == "linux":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "processor": machine.processor(),
        "graphics": machine.graphics(),
        "cores": os.cpu_count(),
        "usable_cores": machine.usable_cores(),
        "memory_bytes": memory,
    }


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
    from relume import engines

    facts: dict[str, Any] = {
        "name": status.name,
        "available": status.available,
        "reason": status.reason,
        "version": status.version,
        "devices": list(status.devices),
        "precisions": list(status.precisions),
        "passed": [],
        "runs": None,
    }
    if not status.available or bundle is None:
        return facts
    facts["passed"] = list(engines.passed(bundle, status.name))
    try:
        facts["runs"] = _try(status.name, bundle)
    except (RelumeError, ImportError) as error:
        facts["reason"] = str(error)
    return facts


def _try(name: str, bundle: "Bundle") -> dict[str, Any]:
    from relume import engines

    engine = engines.load(bundle, GRAPH, engine=name, build=_build)
    arrays = engines.example(bundle, GRAPH)
    (timing,) = engines.measure([engine], arrays, rounds=1)
    return {
        **engine.facts(),
        "tile": arrays[0].shape[-1],
        "seconds_per_tile": round(timing.median_s, 4),
    }


def _build(kind: str, config: dict[str, Any]) -> Any:
    from relume.nets import build

    return build(kind, config)


def _benchmark(bundle: "Bundle", threads: int | None, *, fresh: bool) -> dict[str, Any] | None:
    """How fast each engine is here, the one that ``auto`` takes first; ``None`` where nobody measured."""
    from relume import engines

    if fresh:
        timings = engines.benchmark(bundle, GRAPH, threads=threads, build=_build)
    else:
        timings = engines.remembered(bundle, GRAPH, threads=threads) or []
    if not timings and not fresh:
        return None
    return {
        "threads": threads,
        "measured": "now" if fresh else "earlier",
        "timings": [asdict(timing) for timing in timings],
    }


def _auto(bundle: "Bundle | None", threads: int | None) -> str | None:
    """The engine that ``auto`` comes to."""
    from relume import engines

    if bundle is None:
        return None
    try:
        return engines.load(bundle, GRAPH, threads=threads, build=_build).name
    except RelumeError:
        return None


def _cache() -> dict[str, Any]:
    """The compiled models that are kept."""
    from relume.engines import compiled

    there = compiled.usage()
    return {"folder": str(there.folder), "files": there.files, "bytes": there.bytes}


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
    about = facts["machine"]
    memory = f", {about['memory_bytes'] / 2**30:.1f} GiB" if about["memory_bytes"] else ""
    lines = [
        f"relume {facts['relume']}, Python {about['python']}, {about['platform']}",
        f"{about['processor']}, {about['usable_cores']} of {about['cores']} cores{memory}",
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
    kept = facts["cache"]
    size = f"{kept['files']} compiled models, {kept['bytes'] / 1e6:.1f} MB"
    lines.append(f"cache  {size}, {kept['folder']}; relume cache clear removes them")
    lines += _benchmark_lines(facts["benchmark"])
    verdict = f"relume restore runs on {facts['auto']}" if facts["auto"] else "relume restore cannot run here"
    return "\n".join([*lines, "", verdict]) + "\n"


def _benchmark_lines(benchmark: dict[str, Any] | None) -> list[str]:
    if benchmark is None:
        return ["", "engines not timed here yet: relume doctor --benchmark"]
    lines = ["", f"a tile on each engine, the first is what auto takes (measured {benchmark['measured']})"]
    for one in benchmark["timings"]:
        lines.append(
            f"  {one['engine']:<9} {one['precision']:<5} {one['device']:<7} "
            f"{1000 * one['median_s']:7.1f} ms, quartiles {1000 * one['spread_s']:.1f} ms apart, "
            f"{one['rounds']} rounds"
        )
    return lines


def _engine_text(engine: dict[str, Any]) -> str:
    if engine["runs"] is None and not engine["available"]:
        return str(engine["reason"])
    what = f"{engine['version']}; {', '.join(engine['devices'])}; {', '.join(engine['precisions'])}"
    if engine["runs"] is None:
        return f"{what}; not tried: {engine['reason'] or 'there is no whole model'}"
    runs = engine["runs"]
    passed = f"passed at {', '.join(engine['passed']) or 'none'}"
    return (
        f"{what}; {passed}; runs on {runs['device']} at {runs['precision']}, "
        f"{1000 * runs['seconds_per_tile']:.0f} ms for a tile of {runs['tile']}×{runs['tile']}"
    )
