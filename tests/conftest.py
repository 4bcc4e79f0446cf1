r"""Models for the tests: small, made here, and never downloaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import bundle
from relume.bundle import Bundle

LOCAL = {"widths": [8, 12], "encoder": [1], "middle": 1, "decoder": [1], "time_width": 8}
TONE = {"width": 4, "knots": 16}
PICTURE = ["batch", 3, "height", "width"]


def _facts() -> dict[str, Any]:
    """A card with everything that tasks read, for a model the size of a mouse."""
    return {
        "name": "tiny",
        "version": "1.0.0",
        "task": "restore",
        "title": "Tiny",
        "description": "A net for tests: it has never seen a photograph.",
        "licence": "Apache-2.0",
        "graphs": {
            "local": {
                "file": "local.onnx",
                "net": {"kind": "restorer", "config": LOCAL},
                "prefix": "local.",
                "inputs": [
                    {"name": "x", "shape": PICTURE},
                    {"name": "condition", "shape": ["batch", 4, "height", "width"]},
                    {"name": "t", "shape": ["batch"]},
                ],
                "outputs": [{"name": "restored", "shape": ["batch", 4, "height", "width"]}],
            },
            "tone": {
                "file": "tone.onnx",
                "net": {"kind": "tone", "config": TONE},
                "prefix": "tone.",
                "inputs": [{"name": "picture", "shape": PICTURE}],
                "outputs": [{"name": "parameters", "shape": ["batch", 3 * TONE["knots"] + 15]}],
            },
        },
        "multiple_of": 16,
        "tile": {"size": 64, "overlap": 16},
        "schedule": {"kappa": 0.1, "sqrt_eta": [0.1, 0.3, 0.6, 0.99]},
        "steps": [1, 2, 4],
        "precisions": ["f32", "bf16"],
        "parity": {"tolerance_psnr_db": 0.05},
    }


@pytest.fixture
def facts() -> dict[str, Any]:
    """The card of the tiny model, without format and checksums; a fresh copy."""
    return _facts()


@pytest.fixture
def hollow_bundle(tmp_path: Path, facts: dict[str, Any]) -> Bundle:
    """A bundle with a whole card and hollow files: enough for the null engine, made without torch."""
    from safetensors.numpy import save_file

    with bundle.writing(tmp_path / "tiny") as folder:
        save_file({"local.a": np.ones(2, np.float16)}, folder / bundle.WEIGHTS)
        for graph in facts["graphs"].values():
            (folder / graph["file"]).write_bytes(b"a graph")
        bundle.write_card(folder, facts)
    return bundle.find(tmp_path / "tiny")


@pytest.fixture(scope="session")
def tiny_build() -> Callable[[str, dict[str, Any]], Any]:
    """The function that makes the modules of the tiny bundle, for ``build=``."""
    pytest.importorskip("torch")
    from relume import nets

    return nets.build


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_build: Callable[[str, dict[str, Any]], Any]
) -> Bundle:
    """A bundle with the photo restorer's two graphs, whose random nets change a picture a little."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from safetensors.torch import save_file

    from relume.train.onnx_graph import export_graph

    facts = _facts()
    modules, tensors = {}, {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for graph in facts["graphs"].values():
            net = graph["net"]
            module = modules[net["kind"]] = tiny_build(net["kind"], net["config"]).eval()
            for name, value in module.state_dict().items():
                value.copy_((value + 0.02 * torch.randn(value.shape)).half())
                tensors[graph["prefix"] + name] = value.half()
    examples = {
        "local": (torch.rand(2, 3, 32, 48), torch.rand(2, 4, 32, 48), torch.rand(2)),
        "tone": (torch.rand(2, 3, 32, 48),),
    }
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    with bundle.writing(path) as folder:
        save_file(tensors, folder / bundle.WEIGHTS)
        for name, graph in facts["graphs"].items():
            ports = [*graph["inputs"], *graph["outputs"]]
            export_graph(
                modules[graph["net"]["kind"]],
                examples[name],
                input_names=[port["name"] for port in graph["inputs"]],
                output_names=[port["name"] for port in graph["outputs"]],
                dynamic_axes={
                    port["name"]: {
                        axis: size for axis, size in enumerate(port["shape"]) if isinstance(size, str)
                    }
                    for port in ports
                },
                tensors_file=folder / bundle.WEIGHTS,
                prefix=graph["prefix"],
                out=folder / graph["file"],
            )
        bundle.write_card(folder, facts)
    return bundle.find(path)
