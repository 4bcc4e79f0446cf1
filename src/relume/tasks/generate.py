r"""Generate: pictures from pure noise by a chain of many steps, free or given a damaged picture."""

__all__ = ["TRAINED_STEPS", "drawn", "table"]

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relume.diffusion import NOISE_SAMPLERS, Table, begin, denoiser, gaussian_noise, linear, sample
from relume.diffusion.parametrize import Predicts
from relume.errors import UsageError
from relume.tasks.finish import three_channels

Array = NDArray[np.float32]
Progress = Callable[[int, int], None]

TRAINED_STEPS = 300


def table(sampler: str, steps: int) -> Table:
    """The sampler of that name on the schedule that the nets were trained on.

    Raises
    ------
    UsageError
        If there is none; the message lists those that exist.
    """
    if sampler not in NOISE_SAMPLERS:
        raise UsageError(f"no sampler is called {sampler!r}; there are: {', '.join(NOISE_SAMPLERS)}")
    return NOISE_SAMPLERS[sampler](linear(TRAINED_STEPS), steps)


def drawn(
    net: Any,
    table: Table,
    size: tuple[int, int],
    seeds: Sequence[int],
    *,
    damaged: Array | None = None,
    predicts: Predicts = "eps",
    device: str = "cpu",
    progress: Progress | None = None,
) -> Array:
    """One picture for each seed, N×H×W×3 in [0,1], by a torch net that ``predicts`` the noise.

    ``damaged`` (H×W×1 or 3 sRGB in [0,1]) is what a conditional net restores; it has that ``size``, and is
    mirrored to what the net can take. Each picture has a seed of its own and does not know its neighbours.
    """
    import torch

    condition = None if damaged is None else _conditioned(damaged, net, len(seeds), device)
    shape = size if condition is None else tuple(condition.shape[2:])
    draw = gaussian_noise(seeds, (net.config.channels, *shape))

    def noise(step: int) -> Any:
        return torch.from_numpy(draw(step)).to(device)

    def predict(x: Any, t: float, condition: Any) -> Any:
        return net(x, torch.full((len(x),), t, device=x.device), condition)

    def report(step: int, *_: Any) -> None:
        if progress is not None:
            progress(step, table.evaluations)

    with torch.inference_mode():
        x = sample(
            table,
            denoiser(predict, linear(TRAINED_STEPS), predicts=predicts, clip=1.0),
            begin(table, noise=noise),
            condition=condition,
            noise=noise,
            callback=report,
        )
    pictures = ((x.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return np.ascontiguousarray(pictures[:, : size[0], : size[1]], dtype=np.float32)


def _conditioned(damaged: Array, net: Any, count: int, device: str) -> Any:
    """The damaged picture N×3×H'×W' in [-1,1], mirrored to the size that the net can take."""
    import torch

    multiple = net.config.multiple_of
    height, width = damaged.shape[:2]
    padding = ((0, -height % multiple), (0, -width % multiple), (0, 0))
    padded = np.pad(three_channels(damaged), padding, mode="symmetric")
    batch = torch.from_numpy(2 * padded.transpose(2, 0, 1)[None] - 1).float().to(device)
    return batch.repeat(count, 1, 1, 1)
