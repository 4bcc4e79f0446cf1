r"""The embedded xray bundle does what its card says, on simulated sessions it has not seen."""

import numpy as np
import pytest

from relume import bundle
from relume.background import ESTIMATORS, corrected
from relume.background.smooth import gaussian
from relume.bench.transmission import report
from relume.bench.uncertainty import coverage
from relume.degrade.illumination import TEST, Simulator
from relume.degrade.illumination.fixed import fixed_map
from relume.tasks.xray import BackgroundNet

SIDE, SESSIONS = 256, 8


@pytest.fixture(scope="module")
def net() -> BackgroundNet:
    return BackgroundNet("xray", precision="f32")


def test_the_files_are_those_of_the_card() -> None:
    found = bundle.find("xray")
    found.verify()
    assert sum(path.stat().st_size for path in found.path.iterdir()) < 30e6
    card = found.card
    for key in ("title", "description", "licence", "precisions", "parity", "side", "views", "error"):
        assert card.get(key), key
    for key in ("data", "licence", "seed", "commit", "background"):
        assert key in card["training"], key
    assert card["quality"], "a card without measured quality"
    assert {value.dtype for value in found.tensors().values()} == {np.dtype(np.float16)}


@pytest.fixture(scope="module")
def figures(net: BackgroundNet) -> dict[str, np.ndarray]:
    pytest.importorskip("scipy")
    rows: dict[str, list[float]] = {}
    for seed in TEST[-SESSIONS:]:
        simulator = Simulator(seed, SIDE)
        shot = simulator.shot(seed % 20)
        image, valid = shot.raw - shot.dark, shot.vignette > 0.97
        found = net(image)
        fields = {"net": found.field, "none": np.ones_like(image)}
        fields |= {"gaussian": gaussian(image, sigma=SIDE / 8)}
        fields |= {"polynomial": ESTIMATORS["polynomial"](image)}
        for name, field in fields.items():
            value = report(corrected(shot.raw, field, dark=shot.dark), shot.clean, valid).psnr
            rows.setdefault(name, []).append(value)
        error = np.log(found.field / shot.background)
        sigma = np.zeros_like(error)
        inside = coverage(error - np.median(error[valid]), sigma, found.sigma, valid)
        rows.setdefault("coverage", []).append(inside)
    return {name: np.array(values) for name, values in rows.items()}


def test_it_beats_what_needs_one_image_and_no_model(figures: dict[str, np.ndarray]) -> None:
    best = np.maximum(figures["gaussian"].mean(), figures["polynomial"].mean())
    assert figures["net"].mean() > best + 2
    assert (figures["net"] > figures["none"]).mean() >= 0.85


def test_its_error_bars_hold(figures: dict[str, np.ndarray]) -> None:
    assert 0.75 < figures["coverage"].mean() < 0.99


def test_a_known_instrument_is_nearer_than_an_unknown_one(net: BackgroundNet) -> None:
    gains = []
    for seed in TEST[-4:]:
        simulator = Simulator(seed, SIDE)
        shot = simulator.shot(seed % 20)
        image, valid = shot.raw - shot.dark, shot.vignette > 0.97
        flat = simulator.flat(3, exposures=20) - shot.dark
        errors = [
            np.log(found.field / shot.background)[valid].std()
            for found in (net(image), net(image, fixed=fixed_map([flat])))
        ]
        gains.append(errors[0] - errors[1])
    assert np.mean(gains) > 0


def test_an_even_image_is_nearly_even_light(net: BackgroundNet) -> None:
    field = net(np.full((256, 256), 5000.0)).field
    assert field[32:-32, 32:-32].std() < 0.05
