r"""Which layers take the time: the profile of each engine, and what each layer reaches."""

__all__ = ["convolution_rate", "profiles"]

from collections.abc import Sequence
from typing import Any

from relume import bundle as bundles
from relume import engines
from relume.bench.report import Operation, Profile, Report
from relume.errors import EngineError, UsageError
from relume.tasks.restore import Restorer
from relume.tasks.speed.flops import LayerWork
from relume.tasks.speed.measure import Note
from relume.tasks.speed.models import Wanted, tile_inputs
from relume.tasks.speed.subject import Picture

EVALUATIONS = 5


def profiles(report: Report, wanted: Wanted, picture: Picture, note: Note) -> list[Profile]:
    """The profile of one tile on each engine and precision that has a row."""
    bundle = bundles.find(wanted.model)
    pairs = dict.fromkeys((row.engine, row.precision) for row in report.rows if row.kind == "model")
    threads = report.machine["threads"]
    found = []
    for engine, precision in pairs:
        note(f"profile: {engine} {precision}")
        options: dict[str, Any] = {**wanted.options(), "threads": threads, "precision": precision}
        try:
            found.append(_profile(bundle, str(engine), options, picture))
        except (EngineError, UsageError) as error:
            note(f"no profile of {engine} {precision}: {error}")
    return found


def convolution_rate(profile: Profile, layers: Sequence[LayerWork]) -> float:
    """FLOP/s of the convolutions alone: what they had to do over the time that they took."""
    flop = sum(each.flop for each in layers if "Conv" in each.operation)
    seconds = sum(each.seconds for each in profile.operations if each.operation == "convolution")
    return flop / seconds


def _profile(bundle: bundles.Bundle, engine: str, options: dict[str, Any], picture: Picture) -> Profile:
    from relume.tasks.restore import _build

    restorer = Restorer(bundle.path, engine=engine, **options)
    height, width = picture.shape[:2]
    side, _ = restorer.tiling(height, width)
    operations = engines.profile(
        bundle,
        "local",
        tile_inputs(picture, side),
        engine=engine,
        build=_build,
        evaluations=EVALUATIONS,
        **options,
    )
    return Profile(
        engine=engine,
        precision=restorer.engine.precision,
        device=restorer.engine.device,
        height=side,
        width=side,
        evaluations=EVALUATIONS,
        operations=[Operation(each.layer, each.operation, each.kernel, each.seconds) for each in operations],
    )
