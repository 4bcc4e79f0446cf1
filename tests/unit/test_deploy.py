r"""What lies in deploy/ is sound as far as that can be told without a container engine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relume.cli import serving
from relume.errors import UsageError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
WRITES = re.compile(r"--(?:password|token)[ =]\S")


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return found


def options_of(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "relume", command, "--help"], capture_output=True, text=True, timeout=120
    )
    return done.stdout


def test_the_dockerfile_is_clean() -> None:
    command = Path(sys.executable).with_name("hadolint")
    found = str(command) if command.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([found, DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_in_particular_and_says_how_it_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text and "/readyz" in text
    for copied in re.findall(r"^COPY ((?!--from)\S.*) \S+$", text, re.MULTILINE):
        for name in copied.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("name", ["relume", "worker", "database"])
def test_every_container_is_closed_in(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    limits = service["deploy"]["resources"]["limits"]
    assert limits["cpus"] and limits["memory"] and service["pids_limit"]
    assert not any("privileged" in key or "docker.sock" in str(value) for key, value in service.items())
    for key, value in service["environment"].items():  # secrets come as files
        assert key.endswith("_FILE") == str(value).startswith("/run/secrets/")
    assert {Path(v).name for k, v in service["environment"].items() if k.endswith("_FILE")} == set(
        service["secrets"]
    )


def test_only_the_service_is_reached_and_only_from_this_machine() -> None:
    found = compose()
    assert [name for name, each in found["services"].items() if "ports" in each] == ["relume"]
    assert all(port.startswith("127.0.0.1:") for port in found["services"]["relume"]["ports"])
    assert found["networks"]["inside"]["internal"] is True
    assert found["services"]["database"]["networks"] == ["inside"]


def test_what_is_used_is_declared() -> None:
    found = compose()
    for each in found["services"].values():
        assert set(each["secrets"]) <= set(found["secrets"])
        assert {volume.split(":")[0] for volume in each["volumes"]} <= set(found["volumes"])
        assert set(each["networks"]) <= set(found["networks"])
    merged = compose("compose.gpu.yaml")["services"]
    assert set(merged) <= set(found["services"])


@pytest.mark.parametrize(
    ("file", "name"), [("compose.yaml", "relume"), ("compose.yaml", "worker"), ("compose.gpu.yaml", "relume")]
)
def test_the_options_are_those_that_there_are(file: str, name: str) -> None:
    pytest.importorskip("fastapi")
    command, *options = compose(file)["services"][name]["command"]
    known = options_of(command)
    assert known
    for option in (word for word in options if word.startswith("--")):
        assert f"{option} " in known, option


def test_the_unit_is_what_systemd_takes(tmp_path: Path) -> None:
    text = (DEPLOY / "relume.service").read_text(encoding="utf-8")
    known = options_of("serve")
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    for option in re.findall(r"--[a-z-]+", line):
        assert f"{option} " in known, option
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "relume.service"
    unit.write_text(text.replace("/opt/relume/bin/relume", "/bin/true"), encoding="utf-8")
    done = subprocess.run([found, "verify", unit], capture_output=True, text=True, timeout=60)
    if "bus" in done.stderr.lower() or "manager" in done.stderr.lower():
        pytest.skip("systemd-analyze does not run here")
    assert done.returncode == 0 and "relume.service" not in done.stderr, done.stderr


def test_the_page_speaks_of_what_there_is() -> None:
    for name in re.findall(r"`(deploy/[\w.-]+)`", PAGE):
        assert (ROOT / name).exists(), name
    assert {each.name for each in DEPLOY.iterdir()} == {
        Path(n).name for n in re.findall(r"`(deploy/[\w.-]+)`", PAGE)
    }
    assert not WRITES.search(PAGE), "a secret on a command line is read by everybody"
    for secret in compose()["secrets"].values():
        assert secret["file"] in PAGE


def test_a_secret_comes_from_the_environment_or_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, path = serving.TOKEN, tmp_path / "token"
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(f"{name}_FILE", raising=False)
    assert serving.secret(name) is None
    path.write_text("sésame\n", encoding="utf-8")
    monkeypatch.setenv(f"{name}_FILE", os.fspath(path))
    assert serving.secret(name) == "sésame"
    monkeypatch.setenv(name, "other")
    with pytest.raises(UsageError, match="both"):
        serving.secret(name)
    monkeypatch.delenv(name)
    for broken in ("", "\n"):
        path.write_text(broken)
        with pytest.raises(UsageError, match="empty"):
            serving.secret(name)
    path.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        serving.secret(name)
