r"""The HTTP API, in one process: answers, problems, limits, who may call."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

from fastapi.testclient import TestClient

from relume import Restorer, errors, image
from relume.bundle import Bundle
from relume.image import Image
from relume.service.app import make_app
from relume.service.config import Config, Web
from relume.service.problems import STATUS, problem_of
from relume.service.routes.page import FILES
from relume.service.service import Service
from relume.service.worker import Worker


def picture(format: str = "PNG", *, bit_depth: int = 8, side: int = 48, seed: int = 0) -> bytes:
    top = 2**bit_depth - 1
    levels = np.random.default_rng(seed).integers(0, top + 1, (side, side + 8, 3)) / top
    made = Image(levels.astype(np.float32), format=format, bit_depth=bit_depth, dpi=(300.0, 300.0))
    return image.encode(made)


class Site:
    """A client of an application, and a worker that works only when the test lets it."""

    def __init__(self, folder: Path, bundle: Bundle, web: dict[str, Any], config: dict[str, Any]) -> None:
        self.config = Config(data=folder / "data", model=str(bundle.path), engine="null", **config)
        self.service = Service.open(self.config, Web(**web))
        self.http = TestClient(
            make_app(self.service), base_url="http://127.0.0.1:8000", raise_server_exceptions=False
        )
        restorer = Restorer(bundle.path, engine="null")
        self.worker = Worker(self.config, self.service.store, self.service.folders, restorer)
        self._thread: threading.Thread | None = None

    def go(self) -> None:
        """Lets the worker work from now on."""
        self._thread = threading.Thread(target=self.worker.run)
        self._thread.start()

    def send(self, path: str, data: bytes | None = None, *, mask: bytes | None = None, **fields: Any) -> Any:
        files = {"picture": ("grandmother.png", picture() if data is None else data)}
        if mask is not None:
            files["mask_picture"] = ("m.png", mask)
        return self.http.post(path, files=files, data={k: str(v) for k, v in fields.items()})

    def close(self) -> None:
        self.worker.leave.set()
        if self._thread is not None:
            self._thread.join()
        self.service.store.close()


Open = Callable[..., Site]


def test_head_answers_as_get_does_without_the_body(open_site: Open) -> None:
    site = open_site()
    got, head = site.http.get("/healthz"), site.http.head("/healthz")
    assert head.status_code == got.status_code == 200
    assert head.headers["content-length"] == got.headers["content-length"]
    assert [site.http.head(path).status_code for path in ("/", "/api/v1/models", "/page/x")] == [
        200,
        200,
        404,
    ]
    id = site.send("/api/v1/jobs").json()["id"]
    assert site.http.head(f"/api/v1/jobs/{id}").status_code == 200
    assert site.http.head(f"/api/v1/jobs/{id}/events").status_code == 405, "it would last as long as the job"
    assert site.http.head("/metrics", headers={"host": "evil"}).status_code == 421
    assert 'method="HEAD",route="/healthz"' in site.http.get("/metrics").text


@pytest.fixture
def open_site(tmp_path: Path, hollow_bundle: Bundle) -> Iterator[Open]:
    made: list[Site] = []

    def start(web: dict[str, Any] | None = None, **config: Any) -> Site:
        made.append(Site(tmp_path / str(len(made)), hollow_bundle, web or {}, config))
        return made[-1]

    yield start
    for site in made:
        site.close()


@pytest.fixture
def site(open_site: Open) -> Site:
    return open_site()


def is_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    facts: dict[str, Any] = answer.json()
    assert facts["status"] == status and facts["title"] and facts["detail"] and facts["type"]
    return facts


@pytest.mark.parametrize(("format", "bit_depth"), [("PNG", 16), ("TIFF", 16), ("JPEG", 8), ("WEBP", 8)])
def test_the_picture_comes_back_in_its_format(site: Site, format: str, bit_depth: int) -> None:
    site.go()
    sent = picture(format, bit_depth=bit_depth)
    answer = site.send("/api/v1/restore", sent, seed=5, quality=100)
    assert answer.status_code == 200 and answer.headers["content-type"] == f"image/{format.lower()}"
    assert answer.headers["x-seed"] == "5" and answer.headers["x-relume-model"] == "tiny/1.0.0"
    assert "local;dur=" in answer.headers["server-timing"] and "total;dur=" in answer.headers["server-timing"]
    before, after = image.read(sent), image.read(answer.content)
    assert (after.format, after.bit_depth) == (format, bit_depth)
    if format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(after.pixels, before.pixels)
        assert after.dpi == pytest.approx(before.dpi, rel=1e-3)


def test_the_picture_that_was_sent_can_be_had_again(site: Site) -> None:
    sent = picture("JPEG")
    id = site.send("/api/v1/jobs", sent).json()["id"]
    answer = site.http.get(f"/api/v1/jobs/{id}/picture")
    assert (answer.content, answer.headers["content-type"]) == (sent, "image/jpeg")
    is_problem(site.http.get("/api/v1/jobs/none/picture"), 404)


def test_the_mask_comes_as_a_gray_picture_and_goes_back(site: Site) -> None:
    site.go()
    answer = site.send("/api/v1/mask")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    mask = image.read(answer.content)
    assert mask.gray and (mask.height, mask.width) == (48, 56)
    again = site.send("/api/v1/jobs", mask=answer.content, preserve=True)
    assert again.status_code == 202
    unlike = image.encode(Image(np.zeros((5, 5, 1), np.float32)))
    assert "one size" in is_problem(site.send("/api/v1/jobs", mask=unlike), 422)["detail"]


def events(site: Site, id: str) -> list[tuple[str, dict[str, Any]]]:
    text = site.http.get(f"/api/v1/jobs/{id}/events").text
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def test_a_job_is_accepted_followed_fetched_and_deleted(site: Site) -> None:
    sent = picture(side=200)
    answer = site.send("/api/v1/jobs", sent, uncertainty=True, samples=2)
    assert answer.status_code == 202
    job = answer.json()
    place = answer.headers["location"]
    assert place == f"/api/v1/jobs/{job['id']}" and job["state"] == "queued" and job["eta"] > 0
    assert site.send("/api/v1/jobs", sent, uncertainty=True, samples=2).json()["id"] == job["id"]
    is_problem(site.http.get(f"{place}/result"), 409)
    is_problem(site.http.get(f"{place}/preview"), 409)
    site.go()
    told = events(site, job["id"])
    assert told[-1][0] == "done" and {name for name, _ in told[:-1]} <= {"state"}
    running = [facts for _, facts in told if facts["state"] == "running" and "progress" in facts]
    for facts in running:
        at = facts["progress"]
        assert 1 <= at["step"] <= at["steps"] and 1 <= at["tile"] <= at["tiles"] and facts["eta"] >= 0
    done = site.http.get(place).json()
    assert done == told[-1][1] and set(done["parts"]) == {"result", "mask", "uncertainty"}
    assert done["deleted_after"] == done["ended"] + site.config.keep
    np.testing.assert_array_equal(
        image.read(site.http.get(done["parts"]["result"]).content).pixels, image.read(sent).pixels
    )
    assert image.read(site.http.get(done["parts"]["uncertainty"]).content).bit_depth == 16
    for of in ("before", "after"):
        shown = site.http.get(f"{place}/screen", params={"of": of})
        assert shown.headers["content-type"] == "image/png"
        np.testing.assert_array_equal(image.read(shown.content).pixels, image.read(sent).pixels)
    assert site.http.get("/api/v1/jobs", params={"id": [job["id"], "0" * 32]}).json() == [done]
    assert site.http.delete(place).status_code == 204
    for path in (place, f"{place}/result", f"{place}/events", f"{place}/preview"):
        is_problem(site.http.get(path), 404)
    is_problem(site.http.delete(place), 404)
    assert not list(site.service.folders.root.iterdir())


def test_a_job_that_is_deleted_as_it_is_taken_up_harms_no_worker(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = site.send("/api/v1/jobs").json()["id"]

    def gone(self: Path, pattern: str) -> Iterator[Path]:
        monkeypatch.undo()
        site.service.drop(id)
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "glob", gone)
    assert site.worker.work()
    is_problem(site.http.get(f"/api/v1/jobs/{id}"), 404)


def test_who_follows_learns_that_a_job_was_deleted(site: Site) -> None:
    id = site.send("/api/v1/jobs").json()["id"]
    threading.Timer(0.5, lambda: site.service.drop(id)).start()
    assert events(site, id)[-1] == ("deleted", {"id": id})


def test_a_failed_job_tells_its_problem(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise errors.UsageError("no such tone")

    monkeypatch.setattr("relume.tasks.toning.apply_transform", refuse)
    site.go()
    is_problem(site.send("/api/v1/restore", steps=3), 422)
    id = site.send("/api/v1/jobs", steps=2).json()["id"]
    name, facts = events(site, id)[-1]
    assert name == "failed" and facts["problem"]["status"] == 422 and "tone" in facts["problem"]["detail"]
    is_problem(site.http.get(f"/api/v1/jobs/{id}/result"), 409)


@pytest.mark.parametrize(
    ("data", "fields", "status"),
    [
        (b"", {}, 415),
        (b"GIF89a" + bytes(50), {}, 415),
        (b"not a picture", {}, 415),
        (picture()[:200], {}, 422),
        (picture(), {"fidelity": 2}, 422),
        (picture(), {"fidelity": "nan"}, 422),
        (picture(), {"steps": 0}, 422),
        (picture(), {"steps": 9}, 422),  # the model's schedule has fewer
        (picture(), {"tile": 17}, 422),  # nor does its net halve such tiles
        (picture(), {"seed": -1}, 422),
        (picture(), {"nonsense": 1}, 422),
        (picture(), {"format": "GIF"}, 422),
        (picture(), {"format": "JPEG", "bit_depth": 16}, 422),
        (picture(), {"mask": "http://example.org/m.png"}, 422),
    ],
)
def test_what_cannot_be_is_a_problem(site: Site, data: bytes, fields: dict[str, Any], status: int) -> None:
    for path in ("/api/v1/jobs", "/api/v1/restore"):
        is_problem(site.send(path, data, **fields), status)
    assert not list(site.service.folders.root.iterdir())


def test_a_request_without_a_picture_is_a_problem(site: Site) -> None:
    assert "picture" in is_problem(site.http.post("/api/v1/jobs", data={"seed": "1"}), 422)["detail"]
    is_problem(site.http.post("/api/v1/jobs", json={"picture": "http://example.org/a.png"}), 422)
    is_problem(site.http.get("/nowhere"), 404)
    is_problem(site.http.put("/api/v1/jobs"), 405)


def test_limits_on_bytes_and_pixels(open_site: Open) -> None:
    site = open_site(max_bytes=50_000, max_pixels=48 * 56)
    assert site.send("/api/v1/jobs").status_code == 202
    is_problem(site.send("/api/v1/jobs", picture(side=49)), 413)
    is_problem(site.send("/api/v1/jobs", picture() + bytes(300_000)), 413)

    def drip() -> Iterator[bytes]:  # no content-length
        for _ in range(100):
            yield bytes(10_000)

    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert site.http.post("/api/v1/jobs", content=drip(), headers=kind).status_code in (400, 413)


def test_a_full_queue_says_when_to_come_back(open_site: Open) -> None:
    site = open_site(max_queue=48 * 56)
    site.service.store.set_fact("rate", 48 * 56 / 7.0)
    assert site.send("/api/v1/jobs").status_code == 202
    for path in ("/api/v1/jobs", "/api/v1/restore", "/api/v1/mask"):
        answer = site.send(path, picture(seed=1))
        is_problem(answer, 429)
        assert answer.headers["retry-after"] == "7"
    assert len(list(site.service.folders.root.iterdir())) == 1
    site.go()
    site.service.store.set_fact("rate", 1e9)
    events(site, site.send("/api/v1/jobs").json()["id"])
    assert site.send("/api/v1/jobs", picture(seed=1)).status_code == 202


def test_while_draining_nothing_new_is_taken_and_what_is_there_is_handed_out(site: Site) -> None:
    job = site.send("/api/v1/jobs").json()
    assert site.http.get("/readyz").status_code == 200
    site.service.draining.set()
    for answer in (site.send("/api/v1/jobs", picture(seed=1)), site.http.get("/readyz")):
        is_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
    assert site.http.get(f"/api/v1/jobs/{job['id']}").status_code == 200
    assert site.http.get("/healthz").text == "ok\n"


def test_a_token_is_asked_for_where_there_is_one(open_site: Open) -> None:
    site = open_site(web={"token": "sésame"})
    for path in ("/api/v1/models", "/api/v1/jobs/x", "/metrics"):
        answer = site.http.get(path)
        is_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer sesame", "Bearer", "Basic sésame", "sésame"):
            assert site.http.get(path, headers={"authorization": wrong.encode()}).status_code == 401
    is_problem(site.send("/api/v1/jobs"), 401)
    right = {"authorization": "Bearer sésame".encode()}
    assert site.http.get("/api/v1/models", headers=right).status_code == 200
    assert site.http.get("/").status_code == site.http.get("/healthz").status_code == 200


def test_other_sites_may_not_call_unless_asked_for(open_site: Open) -> None:
    closed, open_ = open_site(), open_site(web={"origins": ("https://album.example",)})
    foreign = {"origin": "https://album.example"}
    is_problem(closed.http.get("/api/v1/models", headers=foreign), 403)
    own = {"origin": "http://127.0.0.1:8000"}
    assert closed.http.get("/api/v1/models", headers=own).status_code == 200
    answer = open_.http.get("/api/v1/models", headers=foreign)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://album.example"
    is_problem(open_.http.get("/api/v1/models", headers={"origin": "https://other.example"}), 403)


def test_a_name_that_is_not_ours_is_refused(open_site: Open) -> None:
    """A page elsewhere that makes its own name point here gets nothing (DNS rebinding)."""
    site, named = open_site(), open_site(web={"hosts": ("photos.example",)})
    is_problem(site.http.get("/api/v1/models", headers={"host": "photos.example"}), 421)
    assert named.http.get("/api/v1/models", headers={"host": "photos.example:8000"}).status_code == 200
    for own in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert site.http.get("/healthz", headers={"host": own}).status_code == 200


def test_the_page_comes_whole_and_from_here_alone(site: Site) -> None:
    answer = site.http.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for name in FILES:
        text = site.http.get(f"/page/{name}").text
        assert text and "//cdn" not in text and "https://" not in text
    for outside in ("../app.py", "..%2fapp.py", "__init__.py", "%00", "nothing.js"):
        assert site.http.get(f"/page/{outside}").status_code == 404


def test_an_upload_that_does_not_come_on_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relume.service.guard.IDLE", 0.05)
    said: list[dict[str, Any]] = []

    async def one_slow_upload() -> None:
        first = [{"type": "http.request", "body": b"--x\r\n", "more_body": True}]

        async def receive() -> Any:
            return first.pop() if first else await asyncio.sleep(3600)

        async def send(message: Any) -> None:
            said.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
        scope = {"type": "http", "method": "POST", "path": "/api/v1/jobs", "raw_path": b"/api/v1/jobs"}
        scope |= {"headers": headers, "query_string": b"", "scheme": "http", "http_version": "1.1"}
        await asyncio.wait_for(make_app(site.service)(scope, receive, send), 20)

    asyncio.run(one_slow_upload())
    assert said[0]["status"] == 408


def test_models_and_metrics(site: Site, hollow_bundle: Bundle) -> None:
    (model,) = site.http.get("/api/v1/models").json()
    assert (model["name"], model["version"], model["hash"]) == ("tiny", "1.0.0", hollow_bundle.hash)
    site.send("/api/v1/jobs", picture(side=48))
    text = site.http.get("/metrics").text
    assert 'relume_http_requests_total{method="POST",route="/api/v1/jobs",status="202"} 1.0' in text
    assert 'relume_jobs{state="queued"} 1.0' in text and f"relume_queue_work {48 * 56:.1f}" in text


def test_the_api_is_described_with_examples(site: Site) -> None:
    described = site.http.get("/api/v1/openapi.json").json()
    paths = described["paths"]
    wanted = {
        "/api/v1/restore": {"post"},
        "/api/v1/mask": {"post"},
        "/api/v1/jobs": {"post", "get"},
        "/api/v1/jobs/{id}": {"get", "delete"},
        "/api/v1/jobs/{id}/events": {"get"},
        "/api/v1/jobs/{id}/result": {"get"},
        "/api/v1/models": {"get"},
        "/healthz": {"get"},
        "/readyz": {"get"},
        "/metrics": {"get"},
    }
    for path, methods in wanted.items():
        assert methods <= set(paths[path])
    answers = paths["/api/v1/restore"]["post"]["responses"]
    for status in ("413", "415", "422", "429", "503"):
        content = answers[status]["content"]
        assert content["application/problem+json"]["example"]["status"] == int(status)
    assert "Problem" in described["components"]["schemas"]
    assert described["components"]["schemas"]["JobAnswer"]["examples"]
    assert "X-Seed" in answers["200"]["headers"]


def test_every_error_has_its_status() -> None:
    for kind in {kind for kind, _ in STATUS if issubclass(kind, errors.RelumeError)}:
        error = kind("what it is", "extra") if kind is errors.MissingExtra else kind("what it is")
        status = problem_of(error)["status"]
        assert status == next(status for each, status in STATUS if isinstance(error, each)) >= 400
    inside = problem_of(KeyError("/secret/path"))
    assert inside["status"] == 500 and "secret" not in json.dumps(inside)


def test_an_error_inside_is_a_problem_that_tells_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(site.service.store), "get", lambda *_: 1 / 0)
    facts = is_problem(site.http.get("/api/v1/jobs/x"), 500)
    assert "division" not in facts["detail"]


def test_a_broken_table_is_503(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise errors.StoreBroken("the job table cannot be used")

    for name in ("get", "counts", "check_room"):
        monkeypatch.setattr(type(site.service.store), name, broken)
    for answer in (site.http.get("/api/v1/jobs/x"), site.http.get("/readyz"), site.send("/api/v1/jobs")):
        is_problem(answer, 503)
    assert "relume_store_up 0.0" in site.http.get("/metrics").text
    assert site.http.get("/healthz").status_code == 200
