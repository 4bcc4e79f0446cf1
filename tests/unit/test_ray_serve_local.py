r"""The deployment under Ray Serve itself: started on this machine, asked over HTTP, taken down."""

import json
import os
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

import relume
from relume import image
from relume.bundle import Bundle
from relume.cli.extras import missing
from relume.image import Image

pytestmark = [
    pytest.mark.skipif(
        bool(missing("serve") + missing("ray-serve")), reason='needs pip install "relume[serve,ray-serve]"'
    ),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tried on Linux only"),
    pytest.mark.skipif(
        os.environ.get("RELUME_RAY") != "1",
        reason="starting Ray takes minutes on a busy machine: RELUME_RAY=1 on an idle one",
    ),
]

PORT = 18673


@pytest.fixture
def site(hollow_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPConnection]:
    import ray
    from ray import serve

    from relume.service.ray_serve import app

    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray has its workers wait for every other process
    paths = [str(Path(relume.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths).rstrip(os.pathsep))
    ray.init(num_cpus=2, object_store_memory=100_000_000, include_dashboard=False, logging_level="ERROR")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": PORT})
        serve.run(app({"model": str(hollow_bundle.path), "engine": "null"}))
        yield HTTPConnection("127.0.0.1", PORT, timeout=120)
    finally:
        serve.shutdown()
        ray.shutdown()


def test_a_picture_comes_back_over_http(site: HTTPConnection) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (60, 80, 3))
    sent = image.encode(Image((levels / 255).astype(np.float32)))

    def ask(path: str, data: bytes) -> tuple[int, str | None, bytes]:
        site.request("POST", path, data)
        answer = site.getresponse()
        return answer.status, answer.getheader("content-type"), answer.read()

    status, kind, restored = ask("/?seed=7", sent)
    assert (status, kind) == (200, "image/png")
    np.testing.assert_array_equal(image.read(restored).pixels, image.read(sent).pixels)
    for path, data in (("/?seed=x", sent), ("/", b"no picture")):
        status, kind, told = ask(path, data)
        assert (status, kind) == (422, "application/problem+json") and json.loads(told)["detail"]
