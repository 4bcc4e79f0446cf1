r"""Who made a picture: the mark, the record beside it, and what the command line answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.bundle import Bundle
from relume.cli import main
from relume.errors import UsageError
from relume.image import Image
from relume.tasks import sidecar
from relume.tasks.provenance import mark, verify

SIDE = 96


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A textured picture of 8 bits in a file."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    smooth = np.stack([0.3 + 0.4 * rows, 0.2 + 0.5 * columns, 0.6 - 0.3 * rows], axis=-1)
    noisy = np.clip(smooth + 0.03 * rng.standard_normal(smooth.shape), 0, 1).astype(np.float32)
    return image.write(Image(noisy), tmp_path / "photo.png")


@pytest.fixture
def restore(hollow_bundle: Bundle, photograph: Path, tmp_path: Path) -> Any:
    """``relume restore`` with the null engine, which leaves a picture as it is."""

    def run(*options: object, out: str = "out.png") -> int:
        where = ("--model", hollow_bundle.path, "--engine", "null", "-q")
        return main([str(each) for each in ("restore", photograph, "-o", tmp_path / out, *where, *options)])

    return run


def _main(*arguments: object) -> int:
    return main([str(each) for each in arguments])


def test_without_a_mark_the_bytes_are_those_without_any_of_it(restore: Any, tmp_path: Path) -> None:
    assert restore(out="plain.png") == 0 and not (tmp_path / "plain.png.json").exists()
    assert restore("--sidecar", out="recorded.png") == 0
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "recorded.png").read_bytes()


def test_a_marked_result_is_known_again_and_no_other(restore: Any, tmp_path: Path, capsys: Any) -> None:
    secret = tmp_path / "key.txt"
    secret.write_text("a secret\n")
    report = tmp_path / "report.json"
    assert restore("--mark", f"@{secret}", "--report", report) == 0
    assert restore("--sidecar", out="plain.png") == 0
    marked, plain = tmp_path / "out.png", tmp_path / "plain.png"
    assert marked.read_bytes() != plain.read_bytes()
    capsys.readouterr()
    assert _main("verify", marked, "--key", "a secret") == 0
    assert "made by relume" in capsys.readouterr().out
    assert _main("verify", marked, "--key", "another") == 1
    capsys.readouterr()
    assert _main("verify", plain, "--key", f"@{secret}", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["made_by_relume"] is False and told["mark"]["p_value"] > 1e-6 and told["record"]["agrees"]
    # The key is a secret: it is in no file.
    for path in (report, tmp_path / "out.png.json"):
        assert "a secret" not in path.read_text()
    assert json.loads((tmp_path / "out.png.json").read_text())["mark"] == "lattice"


def test_the_mark_outlives_the_file_and_the_record_does_not(restore: Any, tmp_path: Path) -> None:
    assert restore("--mark", "key") == 0
    out, again = tmp_path / "out.png", tmp_path / "again.jpg"
    image.write(image.read(out), again, quality=80)
    record = tmp_path / "out.png.json"
    assert _main("verify", again, "--key", "key") == 0
    assert _main("verify", again, "--record", record) == 1
    assert _main("verify", out) == 0


def test_the_record_says_what_decided_the_bytes(
    restore: Any, photograph: Path, hollow_bundle: Bundle, tmp_path: Path
) -> None:
    assert restore("--sidecar", "--seed", 5, "--steps", 2, "--mask", "none") == 0
    told = sidecar.read(tmp_path / "out.png.json")
    assert told["input"] == {"name": "photo.png", "sha256": sidecar.digest(photograph.read_bytes())}
    assert told["output"]["sha256"] == sidecar.digest((tmp_path / "out.png").read_bytes())
    assert told["model"]["hash"] == hollow_bundle.hash
    assert (told["seed"], told["steps"], told["mask"]["from"], told["mark"]) == (5, 2, "none", None)
    zeros = np.zeros((SIDE, SIDE), np.uint8).tobytes()
    assert told["mask"]["levels_sha256"] == sidecar.digest(zeros) and told["mask"]["damaged"] == 0
    assert told["settings"]["tone"] == "revive" and told["engine"]["name"] == "null"


def test_errors_are_2_and_never_a_no(restore: Any, photograph: Path, tmp_path: Path) -> None:
    assert _main("verify", tmp_path / "nothing.png", "--key", "k") == 2
    assert _main("verify", photograph) == 2  # neither a key nor a record
    assert _main("verify", photograph, "--key", "") == 2
    (tmp_path / "text.png").write_text("no picture")
    assert _main("verify", tmp_path / "text.png", "--key", "k") == 2
    small = image.write(Image(np.zeros((40, 40, 3), np.float32)), tmp_path / "small.png")
    assert _main("verify", small, "--key", "k") == 2
    (tmp_path / "photo.png.json").write_text("{}")
    assert _main("verify", photograph) == 2
    assert restore("--mark", "", out="x.png") == 2 and not (tmp_path / "x.png").exists()
    assert restore("--sidecar", "-o", "-") == 2  # the last -o counts


def test_no_result_without_its_record(restore: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("no room")

    monkeypatch.setattr("relume.cli.proof.write_text", refuse)
    assert restore("--sidecar") != 0
    assert not (tmp_path / "out.png").exists() and not list(tmp_path.glob(".relume*"))


def test_a_mark_keeps_what_is_beside_the_samples() -> None:
    rng = np.random.default_rng(1)
    given = Image(rng.random((80, 80, 1)).astype(np.float32), bit_depth=16, dpi=(300.0, 300.0))
    made = mark(given, "key")
    assert made.gray and made.bit_depth == 16 and made.dpi == given.dpi
    with pytest.raises(UsageError, match="nothing to verify by"):
        verify(image.encode(given))


def test_a_signed_record_holds_and_a_changed_one_does_not(restore: Any, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    private, public = _keys(tmp_path / "own")
    _, other = _keys(tmp_path / "other")
    assert restore("--sign", private) == 0
    out, record = tmp_path / "out.png", tmp_path / "out.png.json"
    assert _main("verify", out, "--signer", public) == 0
    assert _main("verify", out, "--signer", other) == 1
    told = json.loads(record.read_text())
    for key, value in (("seed", 99), ("relume", "9.9"), ("settings", {})):
        record.write_text(json.dumps({**told, key: value}))
        assert _main("verify", out) == 1
    record.write_text(json.dumps({key: value for key, value in told.items() if key != "signature"}))
    assert _main("verify", out) == 0  # unsigned, it only says what happened
    assert _main("verify", out, "--signer", public) == 1
    # Written otherwise, with the same content: what is signed is the content.
    record.write_text(json.dumps(dict(reversed(told.items()))))
    assert _main("verify", out, "--signer", public) == 0


def test_what_cannot_sign_is_refused_before_there_is_a_result(restore: Any, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    broken = tmp_path / "broken.pem"
    broken.write_text("no key")
    assert restore("--sign", broken) == 2 and restore("--sign", tmp_path / "none.pem") == 2
    assert not (tmp_path / "out.png").exists()


def test_signing_without_the_extra_names_the_line_that_installs_it(
    restore: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(sidecar, "_installed", lambda: False)
    key = tmp_path / "key.pem"
    key.write_text("a key")
    assert restore("--sign", key) == 6
    assert 'pip install "relume[sign]"' in capsys.readouterr().err


def _keys(stem: Path) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = stem.with_suffix(".pem"), stem.with_suffix(".pub")
    private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH))
    return private, public
