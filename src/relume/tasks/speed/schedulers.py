r"""The same net by the schedulers of ``diffusers`` and by the samplers here, on one grid of times."""

__all__ = ["SAMPLERS", "scheduler_subjects"]

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from relume.diffusion import NOISE_SAMPLERS, begin, denoiser, gaussian_noise, linear, sample
from relume.errors import EngineUnavailable, UsageError
from relume.tasks.generate import TRAINED_STEPS
from relume.tasks.speed.founding import made, torch_threads
from relume.tasks.speed.subject import Picture, Subject

# Name of ours → class and settings of theirs; deterministic ones, so that both have to give one picture.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": True}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {"solver_order": 2, "final_sigmas_type": "zero"}),
}
AGREE_DB = 60.0


def scheduler_subjects(
    pictures: Sequence[Picture], *, steps: Sequence[int], threads: int | None = None, shape: str = "recipe"
) -> list[Subject]:
    """Two subjects for each sampler, number of steps and picture: theirs, and ours right after it.

    Only numbers of steps that divide the 300 (2 or more) are taken: there both have the same times.

    Raises
    ------
    EngineUnavailable
        If diffusers or torch is not installed.
    UsageError
        If none of the numbers of steps will do.
    """
    counts = [n for n in steps if n > 1 and TRAINED_STEPS % n == 0]
    if not counts:
        raise UsageError(
            f"the schedulers of diffusers need steps that divide {TRAINED_STEPS}: give --steps 4"
        )
    for package in ("torch", "diffusers"):
        if importlib.util.find_spec(package) is None:
            raise EngineUnavailable(f"its schedulers need {package}: pip install {package}")
    net = made(shape)
    subjects = []
    for picture in pictures:
        start = _start(picture)
        for count in counts:
            for name in SAMPLERS:
                for who, run in (("diffusers", _theirs), ("relume", _ours)):
                    call = _bounded(run(net, name, count, start), threads)
                    subjects.append(_subject(who, name, count, picture, call))
    return subjects


def _bounded(run: Callable[[], Picture], threads: int | None) -> Callable[[], Picture]:
    def bounded() -> Picture:
        with torch_threads(threads):
            return run()

    return bounded


def _subject(who: str, name: str, steps: int, picture: Picture, run: Callable[[], Picture]) -> Subject:
    height, width = picture.shape[:2]
    return Subject(
        name=f"{who} {name}, founding net, {steps} steps, {width}×{height}",
        kind="scheduler",
        size=(height, width),
        picture=run,
        engine="pytorch",
        version=_version(who),
        device="cpu",
        precision="f32",
        steps=steps,
        evaluations=steps,
        same_as=f"{name} {steps} {height} {width}",
        least_db=AGREE_DB,
    )


def _version(who: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(who)


def _start(picture: Picture) -> tuple[Any, Any]:
    """The noise that a chain begins with, and the condition; whole multiples of eight of the picture."""
    import torch

    height, width = (n - n % 8 for n in picture.shape[:2])
    condition = torch.from_numpy(2 * picture[None, :height, :width].transpose(0, 3, 1, 2) - 1).contiguous()
    return torch.from_numpy(gaussian_noise(0, (1, 3, height, width))(0)), condition


def _ours(net: Any, name: str, steps: int, start: tuple[Any, Any]) -> Callable[[], Picture]:
    import torch

    schedule = linear(TRAINED_STEPS)
    chain = NOISE_SAMPLERS[name](schedule, steps, spacing="time")
    ask = denoiser(lambda x, t, condition: net(x, torch.full((1,), t), condition), schedule)

    def run() -> Picture:
        with torch.inference_mode():
            x = begin(chain, noise=lambda k: start[0])
            return _picture(sample(chain, ask, x, condition=start[1]))

    return run


def _theirs(net: Any, name: str, steps: int, start: tuple[Any, Any]) -> Callable[[], Picture]:
    import diffusers
    import torch

    kind, settings = SAMPLERS[name]
    common = {"num_train_timesteps": TRAINED_STEPS, "timestep_spacing": "trailing"}
    betas = {"trained_betas": list(linear(TRAINED_STEPS).betas)}

    def run() -> Picture:
        scheduler = getattr(diffusers, kind)(**common, **betas, prediction_type="epsilon", **settings)
        scheduler.set_timesteps(steps)
        x = start[0]
        with torch.inference_mode():
            for timestep in scheduler.timesteps:
                t = torch.full((1,), (int(timestep) + 1) / TRAINED_STEPS)
                x = scheduler.step(net(x, t, start[1]), timestep, x).prev_sample
        return _picture(x)

    return run


def _picture(x: Any) -> Picture:
    made = ((x[0].float() + 1) / 2).permute(1, 2, 0).clamp(0, 1).numpy()
    return np.ascontiguousarray(made, np.float32)
