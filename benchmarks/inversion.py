"""How exactly is the noise behind a picture recovered, by which method, and at how many evaluations?

Toy: a mixture of Gaussians in 16 dimensions with its exact denoiser, float64. Guidance: two classes of one
component each. Photo: the photo restorer's own chain on a crop of the bundled example. Marks: how often a
tree ring is seen where there is none. Provenance: whether one is seen in what the photo restorer made.
"""

import argparse
import io
import json
import math
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from relume import __version__, bundle, engines, image
from relume.bench.machine import machine
from relume.diffusion import (
    NOISE_SAMPLERS,
    RESIDUAL_SAMPLERS,
    Discrete,
    ResidualShift,
    begin,
    gaussian_noise,
    guided,
    mixture_denoiser,
    sample,
    scaled_linear,
)
from relume.invert import anderson, fixed_point, forward_step, invert_sampler, naive_inversion
from relume.invert.inversion import relative
from relume.marks import TreeRing

HERE = Path(__file__).resolve().parent
SCHEDULE = scaled_linear(1000)
SEEDS = 8
SWEEPS = (0, 1, 2, 4, 8)
TOY = (
    ("ddim", 50),
    ("ddim", 10),
    ("dpm++2m", 10),
    ("dpm++2m", 20),
    ("dpm++2s", 10),
    ("dpm++3m", 20),
    ("unipc", 20),
)


class Stopped(Discrete):
    """The grid of the latent models' pipelines: even in time, and it stops at the first level, not at 0."""

    def levels(self, steps: int, *, spacing: Any = "auto") -> Any:
        stride = self.size // steps
        return (*(self.level(i * stride) for i in range(steps, 0, -1)), self.level(1))


def decibels(found: Any, truth: Any) -> float:
    return max(-320.0, 20 * math.log10(relative(found - truth, truth) + 1e-300))


def spread(values: list[float]) -> dict[str, Any]:
    return {"median": float(np.median(values)), "runs": [round(value, 2) for value in values]}


def toy() -> list[dict[str, Any]]:
    """Noise NMSE in dB: naive, the published method (0 sweeps), plain sweeps, accelerated ones."""
    rows = []
    for grid, schedule in (
        ("to the clean picture", SCHEDULE),
        ("to the first level", Stopped(SCHEDULE.betas)),
    ):
        for name, steps in TOY:
            columns: dict[str, list[float]] = {}
            for seed in range(SEEDS):
                rng = np.random.default_rng(seed)
                denoise = mixture_denoiser(schedule, rng.standard_normal((5, 16)), np.full(5, 0.09))
                noise = rng.standard_normal((1, 16))
                table = NOISE_SAMPLERS[name](schedule, steps, spacing="time")
                picture = sample(table, denoise, noise)
                run = partial(invert_sampler, table, schedule, denoise, picture, tolerance=1e-15)
                found = {"naive, eps": naive_inversion(table, schedule, denoise, picture)}
                if schedule is not SCHEDULE:
                    found["naive, x0"] = naive_inversion(table, schedule, denoise, picture, form="x0")
                for sweeps in SWEEPS[: 1 if name == "ddim" else None]:
                    found[f"{sweeps} sweeps"] = run(sweeps=sweeps, refine=fixed_point)
                if name != "ddim":
                    found["8 accelerated"] = run(sweeps=8)
                for column, result in found.items():
                    columns.setdefault(column, []).append(decibels(result.x, noise))
            made = {column: spread(values) for column, values in columns.items()}
            rows.append({"grid": grid, "sampler": name, "steps": steps, "noise_nmse_db": made})
    return rows


METHODS: dict[str, Any] = {
    "naive": naive_inversion,
    "published: forward step, no sweeps": partial(
        invert_sampler, solver=partial(forward_step, step=0.5), sweeps=0
    ),
    "forward step, plain sweeps": partial(invert_sampler, solver=forward_step, refine=fixed_point),
    "fixed point, plain sweeps": partial(invert_sampler, solver=fixed_point, refine=fixed_point),
    "Anderson in both": partial(invert_sampler, solver=anderson, refine=anderson),
    "as shipped: and again where that fails": invert_sampler,
}


def guidance() -> list[dict[str, Any]]:
    """Under guidance: how often within 1e-6, noise and picture NMSE, and what it cost."""
    rows = []
    for name in ("ddim", "dpm++2m"):
        for steps in (10, 20, 50):
            for scale in (1.0, 3.0, 7.5):
                results: dict[str, list[tuple[bool, float, float, int]]] = {}
                for seed in range(SEEDS):
                    rng = np.random.default_rng(seed)
                    exact = mixture_denoiser(SCHEDULE, rng.standard_normal((2, 16)), [0.09, 0.09])
                    denoise, noise = guided(exact, scale), rng.standard_normal((1, 16))
                    table = NOISE_SAMPLERS[name](SCHEDULE, steps)
                    picture = sample(table, denoise, noise, condition=[1, 0])
                    for method, invert in METHODS.items():
                        found = invert(table, SCHEDULE, denoise, picture, condition=[1, 0], tolerance=1e-6)
                        made = 20 * math.log10(found.residual + 1e-16)
                        row = (found.converged, decibels(found.x, noise), made, found.iterations)
                        results.setdefault(method, []).append(row)
                for method, values in results.items():
                    converged, recovered, remade, count = zip(*values, strict=True)
                    rows.append(
                        {
                            "sampler": name,
                            "steps": steps,
                            "guidance": scale,
                            "method": method,
                            "converged": f"{sum(converged)}/{SEEDS}",
                            "noise_nmse_db": spread(list(recovered)),
                            "picture_nmse_db": spread(list(remade)),
                            "evaluations": float(np.median(count)),
                        }
                    )
    return rows


class Restorer:
    """The trained photo restorer's own chain on one 64×64 crop of the bundled example."""

    def __init__(self, top: int = 100, left: int = 100) -> None:
        from relume.nets import build

        model = bundle.find("photo")
        self._engine = engines.load(model, "local", engine="pytorch", precision="f32", threads=1, build=build)
        pixels = image.read(HERE.parent / "examples" / "house-damaged.png").pixels
        crop = pixels[top : top + 64, left : left + 64, :3].transpose(2, 0, 1)
        self.y = np.ascontiguousarray(crop)[None]
        self.condition = np.concatenate([self.y, 0 * self.y[:, :1]], axis=1)
        facts = model.card["schedule"]
        self.schedule = ResidualShift(tuple(facts["sqrt_eta"]), float(facts["kappa"]))

    def denoise(self, x: Any, t: float, condition: Any) -> Any:
        out = self._engine(np.ascontiguousarray(x, np.float32), condition, np.full(1, t, np.float32))
        return np.ascontiguousarray(np.asarray(out)[:, :3])


def photo() -> list[dict[str, Any]]:
    """The trained restorer: does its picture still hold the noise that it began with?"""
    model, rows = Restorer(), []
    y, noise = model.y, gaussian_noise(3, model.y.shape)
    for name, build_table in RESIDUAL_SAMPLERS.items():
        for steps in (1, 2, 4):
            table = build_table(model.schedule, steps)
            start = begin(table, y=y, noise=noise)
            given = {"condition": model.condition, "y": y, "noise": noise}
            picture = sample(table, model.denoise, start, **given)
            nudge = 0.01 * noise(99)
            moved = sample(table, model.denoise, start + nudge, **given)
            run = (table, model.schedule, model.denoise, picture)
            for method, found in (
                ("naive", naive_inversion(*run, **given, tolerance=1e-4)),
                ("ours", invert_sampler(*run, **given, tolerance=1e-4, iterations=200)),
            ):
                rows.append(
                    {
                        "sampler": name,
                        "steps": steps,
                        "method": method,
                        "noise_nmse_db": decibels(found.x - y, start - y),
                        "picture_nmse_db": 20 * math.log10(found.residual),
                        "converged": found.converged,
                        "evaluations": found.iterations,
                        "noise_that_reaches_the_picture": relative(moved - picture, nudge),
                    }
                )
    return rows


def jpeg(quality: int) -> Any:
    def attack(picture: Any) -> Any:
        levels = np.round(picture[0].transpose(1, 2, 0).clip(0, 1) * 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(levels).save(file, "JPEG", quality=quality)
        seen = np.asarray(Image.open(file), np.float32) / np.float32(255)
        return np.ascontiguousarray(seen.transpose(2, 0, 1))[None]

    return attack


ATTACKS: dict[str, Any] = {
    "none": lambda picture: picture,
    "8 bit": lambda picture: (np.round(picture.clip(0, 1) * 255) / 255).astype(np.float32),
    "JPEG 95": jpeg(95),
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "brightness 0.9": lambda picture: np.float32(0.9) * picture,
    "noise 2/255": lambda picture: picture + np.float32(2 / 255) * gaussian_noise(7, picture.shape)(0),
}


def provenance() -> list[dict[str, Any]]:
    """A mark in the restorer's starting noise, looked for in its picture; the damaged picture is known."""
    found: dict[tuple[int, str], list[list[float]]] = {}
    own, other = TreeRing("own"), TreeRing("other")
    for seed, (top, left) in enumerate(((100, 100), (20, 60), (150, 170))):
        model = Restorer(top, left)
        y, given = model.y, {"condition": model.condition, "y": model.y}
        marked = own.embed(gaussian_noise(seed, y.shape[1:])(0))[None]
        for steps in (1, 2, 4):
            table = RESIDUAL_SAMPLERS["residual-shift-deterministic"](model.schedule, steps)
            start = begin(table, y=y, noise=[marked])
            picture = sample(table, model.denoise, start, **given)
            for name, attack in ATTACKS.items():
                run = (table, model.schedule, model.denoise, attack(picture))
                exact = invert_sampler(*run, **given, tolerance=1e-4, iterations=60).x - y
                naive = naive_inversion(*run, **given).x - y
                row = [own.detect(exact[0]), own.detect(naive[0]), other.detect(exact[0])]
                found.setdefault((steps, name), []).append([each.p_value for each in row])
    return [
        {
            "steps": steps,
            "attack": name,
            **dict(zip(("p", "p_naive", "p_other_key"), np.array(values).T.tolist(), strict=True)),
        }
        for (steps, name), values in found.items()
    ]


def marks() -> dict[str, Any]:
    """False alarms on 10,000 unmarked noises, and detection behind an error of the inversion."""
    draws, mark = 10_000, TreeRing("benchmark")
    rng = np.random.default_rng(0)
    values = np.array([mark.detect(rng.standard_normal((1, 64, 64))).p_value for _ in range(draws)])
    found = {}
    for level in (-20, -10, -3, 0, 3, 10):
        hits = 0
        for _ in range(200):
            seen = mark.embed(rng.standard_normal((1, 64, 64)))
            seen += 10 ** (level / 20) * rng.standard_normal(seen.shape)
            hits += mark.detect(seen).p_value < 1e-6
        found[f"{level} dB"] = hits / 200
    alarms = {str(level): float((values < level).mean()) for level in (0.1, 0.01, 0.001)}
    return {
        "noises": draws,
        "size": "64×64",
        "false_alarms_at": alarms,
        "least_p": float(values.min()),
        "found_at_1e-6_with_noise_error_of": found,
    }


PARTS: dict[str, Any] = {
    "toy": toy,
    "guidance": guidance,
    "photo": photo,
    "marks": marks,
    "provenance": provenance,
}


def show(report: dict[str, Any]) -> None:
    for row in report.get("toy", []):
        cells = "  ".join(f"{key} {value['median']:.1f}" for key, value in row["noise_nmse_db"].items())
        print(f"{row['sampler']:8} {row['steps']:3} {row['grid']:21} {cells}")
    for row in report.get("guidance", []):
        noise, picture = row["noise_nmse_db"]["median"], row["picture_nmse_db"]["median"]
        print(
            f"{row['sampler']:8} {row['steps']:3} w={row['guidance']:<4g} {row['method']:36} "
            f"converged {row['converged']}  noise {noise:7.1f} dB  picture {picture:7.1f} dB  "
            f"{row['evaluations']:6.0f} evaluations"
        )
    for row in report.get("photo", []):
        print(*(f"{key} {value}" for key, value in row.items()), sep="  ")
    print(report.get("marks"))
    for row in report.get("provenance", []):
        cells = (f"{key} {max(row[key]):.1e}" for key in ("p", "p_naive"))
        print(
            f"mark: {row['steps']} steps, {row['attack']:14}", *cells, f"other {min(row['p_other_key']):.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="what to run")
    args = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    target = args.out / f"inversion--{args.name}--cpu.json"
    # Parts that are not run again keep the commit that they were measured at.
    report = json.loads(target.read_text()) if target.exists() else {}
    commits = report.get("commits", {part: report.get("commit") for part in PARTS if part in report})
    report |= {"suite": "inversion", "version": __version__, "machine": machine(), "seeds": SEEDS}
    for part in args.parts:
        report[part], commits[part] = PARTS[part](), commit
    report |= {"commit": commit, "commits": commits}
    args.out.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")
    show(report)
    print(target)


if __name__ == "__main__":
    main()
