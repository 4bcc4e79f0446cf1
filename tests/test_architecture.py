r"""The house stays as it is drawn: who imports whom, what an import costs, and the names that are public."""

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import relume

ROOT = Path(__file__).parents[1]
RUNTIMES = ("torch", "openvino", "onnxruntime", "onnx", "accelerate", "tensorflow")
MODULES = sorted(info.name for info in pkgutil.walk_packages(relume.__path__, "relume."))
# What the extras bring: without them these modules cannot be loaded, and need not be.
NEEDS_SERVE = "relume.service"
NEEDS_TORCH = (
    "relume.nets",
    "relume.ops",
    "relume.train",
    "relume.degrade.batched",
    "relume.degrade.illumination.batched",
)
NEEDS_TRITON = "relume.ops.kernels."


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_each_folder_imports_only_what_stands_below_it() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    found = str(command) if command.exists() else shutil.which("lint-imports")
    if found is None:
        pytest.skip("import-linter is not installed")
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [found, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    "module",
    [
        "relume",
        "relume.degrade",
        "relume.degrade.illumination",
        "relume.diffusion",
        "relume.engines",
        "relume.errors",
        "relume.invert",
        "relume.marks",
        "relume.scan",
    ],
)
def test_importing_loads_no_runtime(module: str) -> None:
    loaded = python(f"import sys, {module}; print(*sorted(set({RUNTIMES!r}) & set(sys.modules)))")
    assert loaded == ""


def test_importing_relume_is_quick_because_it_loads_nearly_nothing() -> None:
    loaded = python(
        "import sys; before = set(sys.modules); import relume; new = set(sys.modules) - before; "
        "print(*sorted({name.split('.')[0] for name in new} - set(sys.stdlib_module_names)))"
    )
    assert loaded == "relume"


def test_the_public_names() -> None:
    assert sorted(relume.__all__) == [
        "Image",
        "Restoration",
        "Restorer",
        "Settings",
        "__version__",
        "restore",
    ]


@pytest.mark.parametrize("name", relume.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(relume, name) is not None
    assert name in dir(relume)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'restoer'"):
        relume.restoer  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_modules_declare_what_is_public_and_hold_it(module: str) -> None:
    if module.startswith(NEEDS_TORCH):
        pytest.importorskip("torch")
        if module.startswith("relume.train"):
            pytest.importorskip("accelerate")
            pytest.importorskip("onnx")
    if module.startswith(NEEDS_TRITON):
        pytest.importorskip("triton")
    if module.startswith(NEEDS_SERVE):
        for name in ("fastapi", "sqlalchemy", "prometheus_client", "uvicorn"):
            pytest.importorskip(name)
    if module.endswith("__main__"):
        return
    loaded = importlib.import_module(module)
    assert loaded.__doc__, f"{module} opens with a docstring"
    last = module.rsplit(".", 1)[1]
    if not last.startswith("_"):
        names = loaded.__all__
        assert len(names) == len(set(names))
        for name in names:
            getattr(loaded, name)


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    parts = {part for module in MODULES for part in module.split(".")}
    assert not parts & {"utils", "util", "helpers", "common", "core", "misc"}


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / "src").rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


def test_what_users_call_loads_no_runtime() -> None:
    """A light install has no torch: no task and no command may want it before it is needed."""
    python(
        "import importlib, pkgutil, sys, relume.cli, relume.tasks\n"
        "for package in (relume.tasks, relume.cli):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(found.name)\n"
        f"        heavy = {{*{RUNTIMES!r}}} & set(sys.modules)\n"
        "        assert not heavy, (found.name, heavy)\n"
    )
