r"""Checkpoints → a bundle that every engine runs, if the engines agree.

The averaged weights are stored once, as fp16; both graphs point into that file. Before the bundle appears,
every engine that is installed runs it on the same pictures. An engine that differs from torch by more than
the tolerance at f32 stops the export; a lower precision that does is left out of the card.
"""

__all__ = ["TOLERANCE_DB", "export_photo", "parity"]

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from relume import bundle as bundles
from relume import engines
from relume._version import __version__
from relume.bundle import Bundle
from relume.degrade.recipes import recipe
from relume.diffusion import residual_shift
from relume.errors import EngineUnavailable, TrainingError
from relume.nets import build
from relume.train.checkpoint import averaged
from relume.train.losses import DAMAGE_WEIGHT
from relume.train.objectives import Restore
from relume.train.objectives.restore import LEVELS
from relume.train.onnx_graph import export_graph
from relume.train.photos import Photos, find_photos

# Least PSNR in dB against torch at f32, over the [0,1] range of the restored pictures.
TOLERANCE_DB: Mapping[str, float] = {"f32": 60.0, "bf16": 45.0}
TILE = {"size": 512, "overlap": 128}
_SIDE = 256


def export_photo(
    local_checkpoint: Path,
    tone_checkpoint: Path,
    out: Path,
    *,
    name: str = "photo",
    training: Mapping[str, Any] | None = None,
    quality: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    parity_photos: Path | None = None,
    report: Callable[[str], None] = print,
) -> Bundle:
    """Write the photo restorer's bundle to the folder ``out``.

    ``training`` and ``quality`` go into the card as they are; the recipes and steps are added.
    ``parity_photos`` is a folder of photographs to compare the engines on; drawn patterns without it.

    Raises
    ------
    TrainingError
        If a checkpoint is of another net or learned something else, or the engines disagree.
    OutputExists
        If ``out`` is there and ``overwrite`` is not asked for.
    """
    local, local_facts, local_step = averaged(local_checkpoint)
    tone, tone_facts, tone_step = averaged(tone_checkpoint)
    if local_facts["net"] != "restorer" or tone_facts["net"] != "tone":
        raise TrainingError("the photo bundle is made of a 'restorer' and a 'tone' checkpoint, in this order")
    nets = {"local": (local, local_facts), "tone": (tone, tone_facts)}
    card = _card(name, nets, out_of=training, quality=quality)
    for part, facts, step in (("local", local_facts, local_step), ("tone", tone_facts, tone_step)):
        card["training"][part] = {"recipe": facts, "step": step, "samples": step * facts["batch"]}
    with bundles.writing(out, overwrite=overwrite) as folder:
        tensors = {
            f"{part}.{key}": value.half().contiguous()
            for part, (net, _) in nets.items()
            for key, value in net.state_dict().items()
        }
        save_file(tensors, folder / bundles.WEIGHTS)
        (folder / bundles.WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
        for part, (net, _) in nets.items():
            _round(net)
            _graph(part, net, card["graphs"][part], folder)
        written = bundles.write_card(folder, card)
        measured = parity(written, _pictures(parity_photos), report=report)
        card["precisions"] = [
            precision
            for precision, least in TOLERANCE_DB.items()
            if measured.get(precision, {}) and min(measured[precision].values()) >= least
        ]
        if "f32" not in card["precisions"]:
            raise TrainingError(
                f"the engines disagree at f32 ({measured.get('f32')}): "
                f"at least {TOLERANCE_DB['f32']} dB is wanted"
            )
        card["parity"] = {
            "tolerance_psnr_db": TOLERANCE_DB["bf16"],
            **{
                f"{precision}_{engine}_psnr_db": round(value, 1)
                for precision, values in measured.items()
                for engine, value in values.items()
            },
        }
        bundles.write_card(folder, card)
    return bundles.find(out)


def parity(
    bundle: Bundle, pictures: NDArray[np.float32], *, report: Callable[[str], None] = print
) -> dict[str, dict[str, float]]:
    """Least PSNR (dB) of each installed engine against torch at f32: precision → engine → dB.

    ``pictures`` is N×3×H×W in [0,1]. Both graphs are compared; the chain is entered at t = 1 and t = 0.5.
    """
    everything = Bundle(bundle.path, replace_precisions(bundle))
    cases = _cases(pictures)
    reference = engines.load(everything, "local", engine="pytorch", precision="f32", build=build)
    tone_reference = engines.load(everything, "tone", engine="pytorch", precision="f32", build=build)
    expected = [np.clip(reference(*case)[:, :3], 0, 1) for case in cases]
    thumbnails = pictures[:, :, ::4, ::4]
    tones = [tone_reference(thumbnail[None]) for thumbnail in thumbnails]
    measured: dict[str, dict[str, float]] = {}
    for precision in TOLERANCE_DB:
        for engine in ("openvino", "onnx"):
            try:
                candidate = engines.load(everything, "local", engine=engine, precision=precision)
                tone = engines.load(everything, "tone", engine=engine, precision="f32")
            except EngineUnavailable as error:
                report(f"parity {engine} {precision}: not compared ({error})")
                continue
            errors = [
                float(np.mean((np.clip(candidate(*case)[:, :3], 0, 1) - want) ** 2))
                for case, want in zip(cases, expected, strict=True)
            ]
            errors += [
                float(np.mean((np.asarray(tone(thumbnail[None])) - want) ** 2))
                for thumbnail, want in zip(thumbnails, tones, strict=True)
            ]
            least = -10 * float(np.log10(max(*errors, 1e-15)))
            measured.setdefault(precision, {})[engine] = least
            report(f"parity {engine} {precision}: {least:.1f} dB against torch f32")
    return measured


def replace_precisions(bundle: Bundle) -> Any:
    """The card with every precision allowed, so that they can be measured."""
    return {**bundle.card, "precisions": list(TOLERANCE_DB)}


def _kappa(facts: Mapping[str, Any]) -> float:
    """The noise of the chain that a local net learned; the engines know one kind of chain and of answer."""
    aim = Restore(**facts.get("settings", {})) if facts["objective"] == "restore" else None
    if aim is None or aim.predicts != "residual" or aim.start != "damaged":
        raise TrainingError(
            "a bundle's local net answers with the residual, on a chain from the damaged picture: "
            "export a run of the objective 'restore' with predicts='residual' and start='damaged'"
        )
    return aim.kappa


def _card(
    name: str,
    nets: Mapping[str, tuple[nn.Module, dict[str, Any]]],
    *,
    out_of: Mapping[str, Any] | None,
    quality: Mapping[str, Any] | None,
) -> dict[str, Any]:
    schedule = replace(residual_shift(LEVELS), kappa=_kappa(nets["local"][1]))
    local, tone = nets["local"], nets["tone"]
    picture = ["batch", 3, "height", "width"]
    return {
        "name": name,
        "version": __version__,
        "task": "restore",
        "title": "Old photographs",
        "description": (
            "Repairs scratches, cracks, dust, folds, noise, blur and JPEG on tiles; restores tone and colour "
            "for the whole photograph by one smooth transform."
        ),
        "licence": "Apache-2.0",
        "graphs": {
            "local": {
                "file": "graph.onnx",
                "net": {"kind": local[1]["net"], "config": _plain(local[0])},
                "prefix": "local.",
                "inputs": [
                    {"name": "x", "shape": picture},
                    {"name": "condition", "shape": ["batch", 4, "height", "width"]},
                    {"name": "t", "shape": ["batch"]},
                ],
                "outputs": [{"name": "restored", "shape": ["batch", 4, "height", "width"]}],
            },
            "tone": {
                "file": "tone.onnx",
                "net": {"kind": tone[1]["net"], "config": _plain(tone[0])},
                "prefix": "tone.",
                "inputs": [{"name": "picture", "shape": picture}],
                "outputs": [{"name": "parameters", "shape": ["batch", tone[0].out.out_features]}],
            },
        },
        "multiple_of": local[0].config.multiple_of,
        "tile": TILE,
        "schedule": {"kappa": schedule.kappa, "sqrt_eta": list(schedule.sqrt_eta)},
        "steps": [1, 2, 4],
        "damage_weight": DAMAGE_WEIGHT,
        "training": dict(out_of or {}),
        "quality": dict(quality or {}),
    }


def _plain(net: nn.Module) -> dict[str, Any]:
    from dataclasses import asdict

    config: dict[str, Any] = json.loads(json.dumps(asdict(net.config)))
    return config


def _round(net: nn.Module) -> None:
    """Give the net the values that are stored, so that the graph and the file agree."""
    with torch.no_grad():
        for value in net.state_dict().values():
            value.copy_(value.half())


def _graph(part: str, net: nn.Module, facts: Mapping[str, Any], folder: Path) -> None:
    examples: tuple[torch.Tensor, ...]
    if part == "tone":
        examples = (torch.rand(2, 3, 64, 64),)
    else:
        examples = (torch.rand(2, 3, 64, 96), torch.rand(2, 4, 64, 96), torch.rand(2))
    ports = [*facts["inputs"], *facts["outputs"]]
    export_graph(
        net,
        examples,
        input_names=[port["name"] for port in facts["inputs"]],
        output_names=[port["name"] for port in facts["outputs"]],
        dynamic_axes={
            port["name"]: {i: size for i, size in enumerate(port["shape"]) if isinstance(size, str)}
            for port in ports
        },
        tensors_file=folder / bundles.WEIGHTS,
        prefix=facts["prefix"],
        out=folder / facts["file"],
    )


def _pictures(folder: Path | None, *, count: int = 6) -> NDArray[np.float32]:
    """Damaged pictures to compare engines on, N×3×S×S: real photographs, or patterns where there are none."""
    rng = np.random.default_rng(0)
    if folder is None:
        grid = np.indices((_SIDE, _SIDE)) / _SIDE
        waves = [
            np.sin(2 * np.pi * (k + 1) * (grid[0] * np.cos(k) + grid[1] * np.sin(k))) for k in range(count)
        ]
        clean = [np.stack([0.5 + 0.4 * w, 0.5 - 0.3 * w, 0.5 + 0.2 * w**2], axis=-1) for w in waves]
    else:
        files = find_photos(folder)
        photos = Photos([files[i] for i in np.linspace(0, len(files) - 1, count).astype(int)], side=_SIDE)
        clean = [photos.crop(_SIDE, rng).astype(np.float64) for _ in range(count)]
    damaged = [recipe("old-photo")(picture.astype(np.float32), rng).picture for picture in clean]
    return np.stack(damaged).transpose(0, 3, 1, 2).copy()


def _cases(pictures: NDArray[np.float32]) -> list[tuple[NDArray[np.float32], ...]]:
    mask = np.zeros_like(pictures[:1, :1])
    return [
        (picture[None], np.concatenate([picture[None], mask], axis=1), np.full(1, t, np.float32))
        for picture in pictures
        for t in (1.0, 0.5)
    ]
