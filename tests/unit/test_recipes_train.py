r"""Every recipe of the package trains, and its checkpoint can be used: in small, end to end."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
safetensors = pytest.importorskip("safetensors")

from relume import Restorer, image  # noqa: E402
from relume import bundle as bundles  # noqa: E402
from relume.cli import main  # noqa: E402
from relume.errors import TrainingError  # noqa: E402
from relume.train import TRAINABLE, Run, train  # noqa: E402
from relume.train.export import export_photo  # noqa: E402

SMALL = {
    "photo": {"widths": (8, 12), "encoder": (1,), "middle": 1, "decoder": (1,), "time_width": 8},
    "photo-tone": {"width": 8},
    "photo-uneven": {"widths": (4, 6), "blocks": 1},
    "photo-shading": {"widths": (4, 6), "blocks": 1},
    "ddpm": {"base": 8, "multipliers": (1, 2)},
    "generator": {"base": 8, "multipliers": (1, 2), "conditional": False},
    "latent-clean": {"latent": 4, "width": 8, "blocks": 1},
    "latent-old": {"latent": 4, "width": 8, "blocks": 1, "judge": (4,)},
    "latent-map": {"latent": 4, "width": 8, "before": 1, "after": 1, "radius": 1},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(4):
        PilImage.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / f"p{number}.png")
    return folder


@pytest.fixture(scope="module")
def checkpoints(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    of_photographs = {name for name, recipe in TRAINABLE.items() if recipe.source == "photos"}
    assert set(SMALL) == of_photographs, "a recipe that this test does not know"
    found = {}
    for name, config in SMALL.items():
        size = 64 if TRAINABLE[name].net == "shading" else 32  # its grid is as fine as half of a thumbnail
        recipe = replace(TRAINABLE[name], config=config, size=size, batch=2, steps=2)
        if name == "latent-map":
            coders = {"old": str(found["latent-old"]), "clean": str(found["latent-clean"])}
            recipe = replace(recipe, settings={**recipe.settings, **coders})
        out = tmp_path_factory.mktemp(name)
        run = Run(data=photos, out=out, device="cpu", precision="f32", workers=0, look_every=1, old=photos)
        found[name] = train(recipe, run, report=lambda line: None)
        assert len(list(out.glob("samples-*.png"))) == 2
    return found


def test_two_checkpoints_make_a_bundle_that_restores(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    lines: list[str] = []
    bundle = export_photo(
        checkpoints["photo"], checkpoints["photo-tone"], tmp_path / "made", name="made", report=lines.append
    )
    bundle.verify()
    assert bundle.card["precisions"][0] == "f32" and len(lines) >= 2
    assert bundle.card["training"]["local"]["step"] == 2
    given = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    assert Restorer(bundle.path, engine="onnx")(given).shape == given.shape


def test_a_third_checkpoint_makes_light_even(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    local, tone, shading = (checkpoints[name] for name in ("photo", "photo-tone", "photo-shading"))
    bundle = export_photo(local, tone, tmp_path / "made", shading_checkpoint=shading, report=print)
    assert bundle.card["graphs"]["shading"]["inputs"][0]["shape"] == ["batch", 3, 64, 64]
    assert "light" in bundle.card["description"] and bundle.card["training"]["shading"]["step"] == 2
    given = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    assert Restorer(bundle.path, engine="onnx")(given).shape == given.shape
    with pytest.raises(TrainingError, match="photo-shading"):
        export_photo(local, tone, tmp_path / "other", shading_checkpoint=tone)


def test_nets_of_a_model_are_taken_over_beside_a_new_one(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    local, tone, shading = (checkpoints[name] for name in ("photo", "photo-tone", "photo-shading"))
    old = export_photo(local, tone, tmp_path / "old", shading_checkpoint=shading, report=lambda line: None)
    arguments = [local, old.path, "--shading", old.path, "-o", tmp_path / "new", "-q"]
    assert main(["export", *map(str, arguments)]) == 0
    new = bundles.find(tmp_path / "new")
    for name, value in old.tensors().items():
        assert np.array_equal(value, new.tensors()[name]), name
    for part in ("local", "tone", "shading"):
        assert new.card["training"][part] == old.card["training"][part]
    with pytest.raises(TrainingError, match="no training of a net 'shading'"):
        two = export_photo(local, tone, tmp_path / "two", report=lambda line: None)
        export_photo(local, tone, tmp_path / "other", shading_checkpoint=two.path)


def test_weights_are_averaged_with_those_of_a_run_or_of_a_model(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    script = Path(__file__).resolve().parents[2] / "scripts" / "average_checkpoints.py"
    if not script.is_file():
        pytest.skip("the scripts are not part of this copy")
    local, tone = checkpoints["photo"], checkpoints["photo-tone"]
    model = export_photo(local, tone, tmp_path / "model", report=lambda line: None)
    with safetensors.safe_open(local, "pt") as file:
        second = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = "average.stem.weight"
    half = torch.from_numpy(model.tensors()["local.stem.weight"]).float()
    for first, share, expected in ((model.path, 0.25, 0.75 * half + 0.25 * second[name]), (local, 0.5, None)):
        out = tmp_path / f"{share}.safetensors"
        command = [sys.executable, str(script), str(first), str(local), "--share", str(share), "-o", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        with safetensors.safe_open(out, "pt") as file:
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        wanted = second[name] if expected is None else expected
        assert torch.allclose(found[name], wanted, atol=1e-7)
        assert found.keys() == second.keys() and torch.equal(
            found["net.stem.weight"], second["net.stem.weight"]
        )


def test_the_parity_gate_refuses_engines_that_disagree(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relume.engines.onnx import OnnxEngine

    right = OnnxEngine.__call__
    monkeypatch.setattr(OnnxEngine, "__call__", lambda self, *arrays: right(self, *arrays) + 0.01)
    with pytest.raises(TrainingError, match="disagree"):
        export_photo(checkpoints["photo"], checkpoints["photo-tone"], tmp_path / "made", report=print)
    assert not (tmp_path / "made").exists()


def test_checkpoints_in_the_wrong_order_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="in this order"):
        export_photo(checkpoints["photo-tone"], checkpoints["photo"], tmp_path / "made")


@pytest.mark.parametrize("settings", [{"predicts": "velocity"}, {"start": "noise"}], ids=str)
def test_a_chain_that_the_engines_do_not_know_is_not_exported(
    photos: Path, checkpoints: dict[str, Path], tmp_path: Path, settings: dict[str, str]
) -> None:
    recipe = replace(TRAINABLE["photo"], config=SMALL["photo"], size=32, batch=2, steps=1, settings=settings)
    run = Run(data=photos, out=tmp_path / "run", device="cpu", precision="f32", workers=0)
    made = train(recipe, run, report=lambda line: None)
    with pytest.raises(TrainingError, match="residual"):
        export_photo(made, checkpoints["photo-tone"], tmp_path / "made", report=lambda line: None)
    assert not (tmp_path / "made").exists()


def test_the_300_step_system_restores_and_generates(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    PilImage.fromarray(np.random.default_rng(0).integers(0, 256, (21, 33, 3), dtype=np.uint8)).save(damaged)
    restored, drawn = tmp_path / "restored.png", tmp_path / "drawn.png"
    common = ["generate", "-q", "--steps", "300", "--checkpoint"]
    assert main([*common, str(checkpoints["ddpm"]), "--condition", str(damaged), "-o", str(restored)]) == 0
    assert image.read(restored).pixels.shape == (21, 33, 3)
    assert main([*common, str(checkpoints["generator"]), "--size", "16", "-o", str(drawn)]) == 0
    assert image.read(drawn).pixels.shape == (16, 16, 3)
    assert main([*common, str(checkpoints["ddpm"]), "-o", str(tmp_path / "x.png")]) == 2
    assert main([*common, str(checkpoints["generator"]), "--condition", str(damaged), "-o", str(drawn)]) == 2
