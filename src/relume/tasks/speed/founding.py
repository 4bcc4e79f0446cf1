r"""The founding shape: a conditional U-Net that predicts noise, 300 steps, PyTorch eager at float32.

Its net is not trained here: time does not depend on what the weights are. ``recipe`` is the net of
``relume train ddpm``; ``lean`` is a narrower one whose arithmetic is just above that of the embedded model,
so that it flatters nobody.
"""

__all__ = ["SHAPES", "chain_seconds", "founding_subjects", "made", "one_step", "torch_threads"]

import importlib.util
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from relume.bench.roofline import Work
from relume.diffusion import Table
from relume.engines.engine import version_of
from relume.errors import MissingExtra
from relume.tasks.generate import TRAINED_STEPS, drawn, table
from relume.tasks.speed.flops import module_work, total
from relume.tasks.speed.subject import Picture, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES: dict[str, dict[str, Any]] = {"recipe": {}, "lean": {"base": 16}}


def founding_subjects(
    pictures: Sequence[Picture], *, threads: int | None = None, shapes: Sequence[str] = ("recipe",)
) -> list[Subject]:
    """One subject a shape and picture: one step is timed, and a picture is modelled as 300 of them.

    Raises
    ------
    MissingExtra
        If torch is not installed.
    """
    return [_subject(shape, picture, threads) for shape in shapes for picture in pictures]


def made(shape: str) -> Any:
    """The net of a shape, its weights small random numbers: zeros would be friendlier to a processor."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("the founding shape", "train")
    import torch

    from relume.nets import build

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        net = build("unet", SHAPES[shape]).eval()
        for weight in net.parameters():
            if not weight.any():
                weight.normal_(std=0.01)
    return net


def chain_seconds(shape: str, picture: Picture, *, threads: int | None = None) -> list[float]:
    """The seconds of each of the 300 steps of one whole chain, run once."""
    net, chain, stamps = made(shape), table("ddpm", TRAINED_STEPS), [time.perf_counter()]
    with torch_threads(threads):
        report = lambda *_: stamps.append(time.perf_counter())  # noqa: E731
        drawn(net, chain, picture.shape[:2], [0], damaged=picture, progress=report)
    return [after - before for before, after in pairwise(stamps)]


def one_step(shape: str, picture: Picture, *, threads: int | None = None) -> Callable[[], Picture]:
    """One evaluation of the chain, with the noise and the sums of a step, ready to be called."""
    net, chain = made(shape), table("ddpm", TRAINED_STEPS)
    # The last step draws no noise and the start does: one evaluation and one draw, as in any step between.
    one = Table(name="one step of ddpm", start=chain.start, steps=chain.steps[-1:], order=chain.order)

    def evaluate() -> Picture:
        with torch_threads(threads):
            return drawn(net, one, picture.shape[:2], [0], damaged=picture)

    return evaluate


def _subject(shape: str, picture: Picture, threads: int | None) -> Subject:
    evaluate, (height, width) = one_step(shape, picture, threads=threads), picture.shape[:2]
    return Subject(
        name=f"founding shape ({shape}), {TRAINED_STEPS} steps, {width}×{height}",
        kind="founding",
        size=(height, width),
        evaluate=evaluate,
        engine="pytorch",
        version=version_of("torch"),
        device="cpu",
        precision="f32",
        steps=TRAINED_STEPS,
        evaluations=TRAINED_STEPS,
        work=_work(shape, height, width),
        alone={"kind": "founding", "shape": shape, "height": height, "width": width, "threads": threads},
    )


def _work(shape: str, height: int, width: int) -> Work:
    """Counted on the meta device: shapes only, nothing is computed."""
    import torch

    net = made(shape).to("meta")
    multiple = net.config.multiple_of
    x = torch.empty(1, 3, height + -height % multiple, width + -width % multiple, device="meta")
    return total(module_work(net, x, torch.ones(1, device="meta"), x), "f32")


@contextmanager
def torch_threads(count: int | None) -> "Iterator[None]":
    """So many threads of torch while the block lasts; its own choice without a number."""
    import torch

    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
