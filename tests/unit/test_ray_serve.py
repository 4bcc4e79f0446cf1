r"""The replica of a Ray Serve deployment, called as Serve calls it, but without Ray."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.bundle import Bundle
from relume.errors import MissingExtra
from relume.image import Image

pytest.importorskip("fastapi")


def png(seed: int = 0, side: int = 100) -> bytes:
    levels = np.random.default_rng(seed).integers(0, 256, (side, side, 3))
    return image.encode(Image((levels / 255).astype(np.float32)))


@pytest.fixture
def client(hollow_bundle: Bundle) -> Any:
    from starlette.applications import Starlette
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from relume.service.ray_serve import Replica

    replica = Replica(model=str(hollow_bundle.path), engine="null", batch=4)
    return TestClient(Starlette(routes=[Route("/", replica.__call__, methods=["POST"])]))


def test_pictures_at_once_come_back_each_as_its_own(client: Any) -> None:
    pictures = [png(seed, 60 + 20 * seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda data: client.post("/?seed=3", content=data), pictures))
    for data, answer in zip(pictures, answers, strict=True):
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
        np.testing.assert_array_equal(image.read(data).pixels, image.read(answer.content).pixels)


@pytest.mark.parametrize(
    ("query", "data", "status"),
    [
        ("seed=a", png(), 422),
        ("fidelity=2", png(), 422),
        ("samples=3", png(), 422),
        ("unknown=3", png(), 422),
        ("", b"no picture", 422),
        ("", png()[:90], 422),
        ("", b"", 422),
    ],
)
def test_what_is_wrong_is_a_problem(client: Any, query: str, data: bytes, status: int) -> None:
    answer = client.post(f"/?{query}", content=data)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_another_format(client: Any) -> None:
    answer = client.post("/?format=TIFF", content=png())
    assert image.read(io.BytesIO(answer.content).getvalue()).format == "TIFF"


def test_without_ray_serve_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from relume.service.ray_serve import app

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"relume\[serve,ray-serve\]"):
        app({})
