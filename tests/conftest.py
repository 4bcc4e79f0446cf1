r"""Models for the tests: small, made here, and never downloaded."""

import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import bundle, machine
from relume.bundle import Bundle

# A shell starts what runs in its background deaf to Ctrl-C, and processes inherit it: the tests that send one
# would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if not machine.graphics():
    # Triton reads it once, when it is imported: without a GPU its kernels run by the interpreter.
    os.environ.setdefault("TRITON_INTERPRET", "1")

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
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
        "parity": {"bf16_openvino_psnr_db": 60.0, "bf16_pytorch_psnr_db": 60.0},
    }


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that the tests keep falls into the home of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELUME_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def facts() -> dict[str, Any]:
    """The card of the tiny model, without format and checksums; a fresh copy."""
    return _facts()


@pytest.fixture
def hollow_bundle(tmp_path: Path, facts: dict[str, Any]) -> Bundle:
    """A bundle with a whole card and hollow files: enough for the null engine, made without torch."""
    return _hollow(tmp_path / "tiny", facts)


def _hollow(path: Path, facts: dict[str, Any]) -> Bundle:
    from safetensors.numpy import save_file

    with bundle.writing(path) as folder:
        save_file({"local.a": np.ones(2, np.float16)}, folder / bundle.WEIGHTS)
        for graph in facts["graphs"].values():
            (folder / graph["file"]).write_bytes(b"a graph")
        bundle.write_card(folder, facts)
    return bundle.find(path)


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


class Running:
    """A real ``relume serve`` in a process of its own, on a free port, with the null engine."""

    def __init__(self, bundle: Bundle, data: Path, *options: str) -> None:
        command = [sys.executable, "-m", "relume", "serve", "--port", "0", "--data", str(data)]
        command += ["--model", str(bundle.path), "--engine", "null", *options]
        self.data = data
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.lines: list[str] = []
        self.address = ""
        for line in self.process.stderr:
            self.lines.append(line)
            if " listens on " in line:
                self.address = line.split()[-1]
                break
        assert self.address, "".join(self.lines)
        threading.Thread(target=self.lines.extend, args=(self.process.stderr,), daemon=True).start()

    def call(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (in lower case) and body of an answer, whatever the status."""
        wanted = urllib.request.Request(self.address + path, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(wanted, timeout=60) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def send(self, path: str, picture: bytes, **fields: Any) -> tuple[int, dict[str, str], bytes]:
        """Posts a form with a picture."""
        mark = secrets.token_hex(16)
        parts = [(f'name="{name}"', str(value).encode()) for name, value in fields.items()]
        parts.append(('name="picture"; filename="grandmother.png"', picture))
        head = f"--{mark}\r\nContent-Disposition: form-data; "
        body = b"".join(f"{head}{name}\r\n\r\n".encode() + value + b"\r\n" for name, value in parts)
        kind = {"content-type": f"multipart/form-data; boundary={mark}"}
        return self.call(path, method="POST", body=body + f"--{mark}--\r\n".encode(), headers=kind)

    def job(self, id: str) -> dict[str, Any]:
        """What the service says about a job."""
        found: dict[str, Any] = json.loads(self.call(f"/api/v1/jobs/{id}")[2])
        return found

    def until(self, id: str, met: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        """Waits for a job to be so."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.job(id)
            if met(job):
                return job
            assert job["state"] not in ("done", "failed"), f"over before it was so: {job}"
            time.sleep(0.02)
        raise AssertionError(f"{job} after {seconds} s; the service said: {''.join(self.lines)}")

    def workers(self) -> list[int]:
        """The process numbers of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        names = [children, *Path(f"/proc/{self.process.pid}/task").glob("*/children")]
        return sorted({int(pid) for name in names if name.exists() for pid in name.read_text().split()})

    def close(self) -> None:
        """Ends it, at once."""
        workers = self.workers()
        self.process.kill()
        self.process.wait()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


Serve = Callable[..., Running]


@pytest.fixture
def serve(hollow_bundle: Bundle, tmp_path: Path) -> Iterator[Serve]:
    """Starts services; all of them work on the same data unless told otherwise, and end with the test."""
    pytest.importorskip("fastapi")
    pytest.importorskip("sqlalchemy")
    running: list[Running] = []

    def start(*options: str, data: Path = tmp_path / "data") -> Running:
        running.append(Running(hollow_bundle, data, *options))
        return running[-1]

    yield start
    for each in running:
        each.close()


@pytest.fixture
def in_time() -> Iterator[None]:
    """Ends a test that waits for other processes and has not ended after a hundred seconds."""

    def over(*_: object) -> None:
        raise TimeoutError("this test has waited for a hundred seconds")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(100)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests that leave it alive."""
    pytest.importorskip("fastapi")
    pytest.importorskip("sqlalchemy")
    folder = tmp_path_factory.mktemp("service")
    running = Running(_hollow(folder / "tiny", _facts()), folder / "data")
    yield running
    running.close()


def _postgres_binaries() -> Path | None:
    found = [Path(name).resolve().parent for name in [shutil.which("initdb")] if name]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server that belongs to these tests alone and listens on no network."""
    pytest.importorskip("psycopg")
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    root = os.geteuid() == 0
    if root and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    folder = Path(tempfile.mkdtemp(prefix="relume-pg-"))
    as_user = []
    if root:
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(name: str, *arguments: str) -> None:
        subprocess.run(
            [*as_user, binaries / name, *arguments],
            check=True,
            cwd=folder,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )

    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    try:
        run("initdb", "-D", f"{folder}/data", "-U", "relume", "--auth=trust", "--no-sync")
        run("pg_ctl", "-w", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options, "start")
        yield f"postgresql://relume@/postgres?host={folder}"
        run("pg_ctl", "-w", "-m", "immediate", "-D", f"{folder}/data", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def script() -> Callable[[str], Any]:
    """A script of the benchmarks by its name → a module of its own; it finds its neighbours."""

    def load(name: str) -> Any:
        path = BENCHMARKS / f"{name}.py"
        if not path.is_file():
            pytest.skip("the benchmarks are not part of this copy")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(BENCHMARKS))
            spec = importlib.util.spec_from_file_location(f"{name}_benchmark", path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return module

    return load
