r"""The scripts that count evaluations and time starts: what they stand on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import Restorer
from relume.bundle import Bundle
from relume.diffusion import ResidualShift, residual_shift_posterior

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def fewer(script: Any) -> Any:
    return script("fewer")


@pytest.fixture(scope="module")
def net(fewer: Any, tiny_bundle: Bundle) -> Any:
    return fewer.Net(Restorer(tiny_bundle.path, engine="null"))


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).random((1, 3, 32, 48), np.float32)


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_ddim_on_the_straight_path_is_the_posterior_without_noise(
    fewer: Any, picture: np.ndarray, steps: int
) -> None:
    """Signal 1 - η and noise η with the damaged picture for noise: the states of the residual shift."""
    shift = ResidualShift((0.1, 0.3, 0.6, 1.0), 0.0)
    tables = {
        "ddim": fewer.NOISE_SAMPLERS["ddim"](fewer.Straight(shift), steps),
        "shift": residual_shift_posterior(shift, steps),
    }
    seen: dict[str, list[tuple[float, np.ndarray]]] = {name: [] for name in tables}
    ends = {}
    for name, table in tables.items():

        def denoise(x: np.ndarray, t: float, condition: np.ndarray, name: str = name) -> np.ndarray:
            seen[name].append((t, x))
            return x * 0.5 + 0.1 * t

        ends[name] = fewer.chain(table, denoise, picture, noise=lambda _: picture)
    for (t, state), (other, shifted) in zip(seen["ddim"], seen["shift"], strict=True):
        assert t == other
        np.testing.assert_allclose(state, shifted, atol=1e-6)
    np.testing.assert_allclose(ends["ddim"], ends["shift"], atol=1e-6)


@pytest.mark.parametrize("value", [-3.0, 0.0, 2.0])
def test_levels_by_log_snr_are_the_levels_by_time(fewer: Any, value: float) -> None:
    level = fewer.Straight(ResidualShift((0.1, 0.3, 0.6, 0.99), 0.0)).at_log_snr(value)
    assert level.log_snr == pytest.approx(value, abs=1e-9) and level.alpha + level.sigma == pytest.approx(1)


def test_features_that_are_fresh_change_nothing(net: Any, fewer: Any, picture: np.ndarray) -> None:
    """The outer level round the deep features of the same input is the whole net."""
    condition = fewer.known_as(picture)
    whole = net.whole(picture, 0.5, condition)
    np.testing.assert_allclose(net.outer(picture, 0.5, condition), whole, atol=1e-5)
    other = net.outer(picture * 0.5, 0.5, condition)
    assert np.abs(other - net.whole(picture * 0.5, 0.5, condition)).max() > 1e-6
    full, outer = net.costs(32)
    assert 0 < outer < full


def test_what_was_measured_is_not_measured_again(
    script: Any, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = script("start")
    runs: list[str] = []

    def part(name: str) -> Any:
        def measure(args: Any, scratch: Path) -> dict[str, Any]:
            runs.append(name)
            return start.in_turn({name: lambda: (1.0, float(len(runs)))}, 2)

        return measure

    monkeypatch.setattr(start, "PARTS", {name: part(name) for name in ("process", "folder")})
    call = ["photo.png", "--model", str(tiny_bundle.path), "--name", "here", "--out", str(tmp_path)]
    start.main([*call, "--parts", "process"])
    made = start.main(call)
    assert runs == ["process", "folder"] and made.name == "start--here--cpu.json"
    facts = json.loads(made.read_text(encoding="utf-8"))
    assert facts["suite"] == "start" and facts["process"]["process"] == {
        "wall_s": [1.0, 1.0],
        "cpu_s": [1.0, 1.0],
    }
    start.main([*call, "--again"])
    assert runs == ["process", "folder"] * 2
