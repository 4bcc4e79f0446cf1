r"""The one-liners of docs/service.md do what the page says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.image import Image

PAGE = Path(__file__).parents[2] / "docs" / "service.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_one_liners_work(service: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((70, 90, 3), dtype=np.float32)
    image.write(Image(pixels, format="JPEG"), tmp_path / "old.jpg")
    curl, client = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    command = f'relume() {{ "{sys.executable}" -m relume "$@"; }}\n'
    # every address on its own, as curl wants one -f for all
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", command + curl + client],
        cwd=tmp_path,
        env={**os.environ, "RELUME": service.address},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for name in ("restored.jpg", "again.jpg", "result.jpg", "preserved.jpg"):
        made = image.read(tmp_path / name)
        assert (made.format, made.height, made.width) == ("JPEG", 70, 90)
    assert image.read(tmp_path / "from-afar.png").format == "PNG"
    for name in ("mask.png", "damage.png", "mask-from-afar.png", "damage-from-afar.png"):
        assert image.read(tmp_path / name).gray
    assert "event: done" in (tmp_path / "events.txt").read_text()
    job = json.loads((tmp_path / "job.json").read_text())
    assert (job["state"], job["seed"]) == ("done", 7)
    assert service.call(f"/api/v1/jobs/{job['id']}")[0] == 404
    assert json.loads((tmp_path / "models.json").read_text())[0]["name"] == "tiny"
    assert "relume_jobs" in (tmp_path / "health.txt").read_text()


def test_every_status_of_the_api_is_on_the_page() -> None:
    pytest.importorskip("fastapi")
    from relume.service.problems import STATUS

    text = PAGE.read_text(encoding="utf-8")
    assert not [status for _, status in STATUS if status != 500 and f"| {status} |" not in text]
