r"""Checkpoints → a bundle that every engine runs, if the engines agree.

The averaged weights are stored once, as fp16; both graphs point into that file. Before the bundle appears,
every engine that is installed runs it on the same pictures. An engine that differs from torch by more than
the tolerance at f32 stops the export; at a lower precision it is kept from running so (:mod:`.parity`).
"""

__all__ = ["export_photo", "plain", "write_bundle"]

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from relume import bundle as bundles
from relume._version import __version__
from relume.bundle import Bundle
from relume.diffusion import residual_shift
from relume.engines.gate import LEAST_DB
from relume.errors import TrainingError
from relume.train.checkpoint import averaged, samples
from relume.train.losses import DAMAGE_WEIGHT
from relume.train.objectives import Restore
from relume.train.objectives.restore import LEVELS
from relume.train.onnx_graph import export_graph
from relume.train.parity import Measured, parity, pictures, verdict

TILE = {"size": 512, "overlap": 128}


def export_photo(
    local_checkpoint: Path,
    tone_checkpoint: Path,
    out: Path,
    *,
    shading_checkpoint: Path | None = None,
    name: str = "photo",
    training: Mapping[str, Any] | None = None,
    quality: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    parity_photos: Path | None = None,
    report: Callable[[str], None] = print,
) -> Bundle:
    """Write the photo restorer's bundle to the folder ``out``.

    Without ``shading_checkpoint`` the light of photographs stays as it is. The folder of a photo bundle
    stands for a checkpoint too: its net of that kind is taken over as it is.
    ``training`` and ``quality`` go into the card as they are; the recipes and steps are added.
    ``parity_photos`` is a folder of photographs to compare the engines on; drawn patterns without it.

    Raises
    ------
    TrainingError
        If a checkpoint is of another net or learned something else, or the engines disagree.
    OutputExists
        If ``out`` is there and ``overwrite`` is not asked for.
    """
    local, local_facts, local_step = averaged(local_checkpoint, "restorer")
    tone, tone_facts, tone_step = averaged(tone_checkpoint, "tone")
    if local_facts["net"] != "restorer" or tone_facts["net"] != "tone":
        raise TrainingError("the photo bundle is made of a 'restorer' and a 'tone' checkpoint, in this order")
    nets = {"local": (local, local_facts), "tone": (tone, tone_facts)}
    learned = {"local": (local_facts, local_step), "tone": (tone_facts, tone_step)}
    if shading_checkpoint is not None:
        shading, shading_facts, shading_step = averaged(shading_checkpoint, "shading")
        if shading_facts["net"] != "shading":
            raise TrainingError(f"{shading_checkpoint} is no checkpoint of photo-shading")
        if shading.config.grid != 32:
            raise TrainingError(
                "the photo bundle shows thumbnails of 64 pixels: train photo-shading with grid 32"
            )
        nets["shading"] = (shading, shading_facts)
        learned["shading"] = (shading_facts, shading_step)
    card = _card(name, nets, out_of=training, quality=quality)
    for part, (facts, step) in learned.items():
        card["training"][part] = {"recipe": facts, "step": step, "samples": samples(step, facts)}
    examples = {
        "local": (torch.rand(2, 3, 64, 96), torch.rand(2, 4, 64, 96), torch.rand(2)),
        "tone": (torch.rand(2, 3, 64, 64),),
        "shading": (torch.rand(2, 3, 64, 64),),
    }
    return write_bundle(
        out,
        card,
        {part: net for part, (net, _) in nets.items()},
        examples,
        measure=lambda written: parity(written, pictures(parity_photos), report=report),
        overwrite=overwrite,
    )


def write_bundle(
    out: Path,
    card: dict[str, Any],
    nets: Mapping[str, nn.Module],
    examples: Mapping[str, tuple[Tensor, ...]],
    *,
    measure: Callable[[Bundle], Measured],
    tensors: Mapping[str, Tensor] | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle of ``nets`` by the name of their graph, if the engines agree on it.

    ``examples`` are inputs to trace each net with, ``measure`` compares the engines on what was written, and
    ``tensors`` go into the weights beside those of the nets.

    Raises
    ------
    TrainingError
        If the engines disagree.
    OutputExists
        If ``out`` is there and ``overwrite`` is not asked for.
    """
    with bundles.writing(out, overwrite=overwrite) as folder:
        stored = {
            f"{part}.{key}": value.half().contiguous()
            for part, net in nets.items()
            for key, value in net.state_dict().items()
        } | {name: value.half().contiguous() for name, value in (tensors or {}).items()}
        save_file(stored, folder / bundles.WEIGHTS)
        (folder / bundles.WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
        for part, net in nets.items():
            _round(net)
            _graph(net, examples[part], card["graphs"][part], folder)
        written = bundles.write_card(folder, card)
        measured = measure(written)
        card |= verdict(measured)
        if "f32" not in card["precisions"]:
            raise TrainingError(
                f"the engines disagree at f32 ({measured.get('f32')}): "
                f"at least {LEAST_DB['f32']} dB is wanted"
            )
        bundles.write_card(folder, card)
    return bundles.find(out)


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
    light: dict[str, Any] = {}
    if "shading" in nets:
        net, facts = nets["shading"]
        grid = net.config.grid
        light["shading"] = {
            "file": "shading.onnx",
            "net": {"kind": facts["net"], "config": plain(net)},
            "prefix": "shading.",
            "inputs": [{"name": "picture", "shape": ["batch", 3, 2 * grid, 2 * grid]}],
            "outputs": [{"name": "points", "shape": ["batch", 6, grid, grid]}],
        }
    picture = ["batch", 3, "height", "width"]
    return {
        "name": name,
        "version": __version__,
        "task": "restore",
        "title": "Old photographs",
        "description": (
            "Repairs scratches, cracks, dust, folds, noise, blur and JPEG on tiles; restores tone and colour "
            "for the whole photograph by one smooth transform"
            + (", and makes uneven light and fading even by one smooth field." if light else ".")
        ),
        "licence": "Apache-2.0",
        "graphs": {
            "local": {
                "file": "graph.onnx",
                "net": {"kind": local[1]["net"], "config": plain(local[0])},
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
                "net": {"kind": tone[1]["net"], "config": plain(tone[0])},
                "prefix": "tone.",
                "inputs": [{"name": "picture", "shape": picture}],
                "outputs": [{"name": "parameters", "shape": ["batch", tone[0].out.out_features]}],
            },
            **light,
        },
        "multiple_of": local[0].config.multiple_of,
        "tile": TILE,
        "schedule": {"kappa": schedule.kappa, "sqrt_eta": list(schedule.sqrt_eta)},
        "steps": [1, 2, 4],
        "damage_weight": DAMAGE_WEIGHT,
        "training": dict(out_of or {}),
        "quality": dict(quality or {}),
    }


def plain(net: nn.Module) -> dict[str, Any]:
    """The settings of a net as a card has them."""
    from dataclasses import asdict

    config: dict[str, Any] = json.loads(json.dumps(asdict(net.config)))
    return config


def _round(net: nn.Module) -> None:
    """Give the net the values that are stored, so that the graph and the file agree."""
    with torch.no_grad():
        for value in net.state_dict().values():
            value.copy_(value.half())


def _graph(net: nn.Module, examples: tuple[Tensor, ...], facts: Mapping[str, Any], folder: Path) -> None:
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
