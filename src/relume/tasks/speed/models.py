r"""A model on each engine, at each precision, with each number of steps, on each size of picture."""

__all__ = ["Wanted", "model_subjects", "reference", "tile_inputs"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from relume import bundle as bundles
from relume import engines
from relume import tiles as tiling
from relume.bench.roofline import Work
from relume.engines.gate import LEAST_DB
from relume.errors import EngineError, EngineUnavailable
from relume.image import Image
from relume.tasks.restore import Restorer
from relume.tasks.settings import Settings
from relume.tasks.speed.flops import graph_work, total
from relume.tasks.speed.subject import Picture, Subject

ALL = "all"


@dataclass(frozen=True)
class Wanted:
    """Which of a model's combinations to measure; ``all`` engines are those that can run here.

    Precisions: ``all`` are those that the model passed at on an engine, ``auto`` is what the engine takes.
    """

    model: str = "photo"
    engines: Sequence[str] = (ALL,)
    precisions: Sequence[str] = (ALL,)
    steps: Sequence[int] = (1,)
    device: str = "auto"
    threads: int | None = None
    force: bool = False

    def options(self) -> dict[str, Any]:
        return {"device": self.device, "threads": self.threads, "force": self.force}


def model_subjects(wanted: Wanted, pictures: Sequence[Picture], failed: dict[str, str]) -> list[Subject]:
    """Every combination as a subject. What ``all`` came to and cannot run is told in ``failed``.

    Raises
    ------
    BundleError
        If the model is missing or broken.
    EngineUnavailable
        If an engine, device or precision was asked for by name and cannot run here.
    """
    subjects: dict[str, Subject] = {}
    for restorer in _loaded(wanted, failed):
        for picture in pictures:
            work, evaluate = _work(restorer, picture, failed), _evaluation(restorer, picture)
            for steps in wanted.steps:
                subject = _subject(restorer, picture, steps, work, evaluate, wanted)
                subjects.setdefault(subject.name, subject)
    if not subjects:
        raise EngineUnavailable("nothing to measure: " + "; ".join(failed.values()))
    return list(subjects.values())


def reference(wanted: Wanted) -> Restorer:
    """What the pictures of a model are compared with: torch at f32, or what comes nearest to it here."""
    options = {**wanted.options(), "device": "cpu", "precision": "f32"}
    for engine in ("pytorch", "onnx"):
        try:
            return Restorer(wanted.model, engine=engine, **options)
        except EngineUnavailable:
            continue
    return Restorer(wanted.model, engine="openvino", **options)


def _loaded(wanted: Wanted, failed: dict[str, str]) -> Iterator[Restorer]:
    bundle = bundles.find(wanted.model)
    bundle.verify()
    for engine, precision, named in _pairs(wanted, bundle):
        try:
            yield Restorer(wanted.model, engine=engine, precision=precision, **wanted.options())
        except EngineError as error:
            if named:
                raise
            failed[f"{engine} {precision}"] = str(error)


def _pairs(wanted: Wanted, bundle: bundles.Bundle) -> Iterator[tuple[str, str, bool]]:
    """Engine, precision, and whether that was asked for by name."""
    for given in wanted.engines:
        found = [module.NAMES[0] for module in engines.AUTO] if given == ALL else [given]
        for engine in found:
            for precision in wanted.precisions:
                if precision != ALL:
                    yield engine, precision, given != ALL and len(wanted.precisions) == 1
                    continue
                passed = engines.passed(bundle, engine.partition("-")[0]) if engine != "auto" else ()
                for one in passed or ("auto",):
                    yield engine, one, given != ALL and one in ("auto", "f32")


def _subject(
    restorer: Restorer,
    picture: Picture,
    steps: int,
    work: Work | None,
    evaluate: Callable[[], object],
    wanted: Wanted,
) -> Subject:
    engine, (height, width) = restorer.engine, picture.shape[:2]
    image, settings = Image(picture), Settings(steps=steps)
    size, overlap = restorer.tiling(height, width, settings)
    count = len(tiling.grid(height, width, size, overlap))
    plural = "step" if steps == 1 else "steps"
    return Subject(
        name=f"{engine.name} {engine.precision}, {steps} {plural}, {width}×{height}",
        kind="model",
        size=(height, width),
        evaluate=evaluate,
        picture=lambda: restorer.restore(image, settings).image.srgb(),
        engine=engine.name,
        version=engine.version,
        device=engine.device,
        precision=engine.precision,
        steps=steps,
        evaluations=steps * count,
        work=work,
        same_as=f"{steps} {height} {width}",
        least_db=LEAST_DB[engine.precision],
        alone={
            "kind": "model",
            "model": str(restorer.bundle.path),
            "engine": engine.name,
            "precision": engine.precision,
            "steps": steps,
            "height": height,
            "width": width,
            **wanted.options(),
        },
    )


def _evaluation(restorer: Restorer, picture: Picture) -> Callable[[], object]:
    """One evaluation of one tile; the same call whatever the number of steps, so that it is timed once."""
    side, _ = restorer.tiling(*picture.shape[:2])
    inputs = tile_inputs(picture, side)
    return lambda: restorer.engine(*inputs)


def tile_inputs(picture: Picture, side: int) -> tuple[Picture, Picture, Picture]:
    """What the local net is given for a tile of the picture, mirrored where that is smaller."""
    height, width = picture.shape[:2]
    rows, columns = (np.resize(np.r_[0:n, n - 1 : -1 : -1], side) for n in (height, width))
    x = np.ascontiguousarray(picture[rows][:, columns].transpose(2, 0, 1)[None])
    return x, np.concatenate([x, np.zeros_like(x[:, :1])], axis=1), np.ones(1, np.float32)


def _work(restorer: Restorer, picture: Picture, failed: dict[str, str]) -> Work | None:
    if restorer.engine.name == "null":
        return None  # it does none of the graph's work
    side, _ = restorer.tiling(*picture.shape[:2])
    ports = restorer.bundle.facts("local")["inputs"]
    arrays = tile_inputs(picture, side)
    shapes = {port["name"]: array.shape for port, array in zip(ports, arrays, strict=True)}
    try:
        layers = graph_work(restorer.bundle.graph("local"), shapes)
    except (EngineUnavailable, RuntimeError) as error:
        failed["FLOP"] = str(error)
        return None
    return total(layers, restorer.engine.precision)
