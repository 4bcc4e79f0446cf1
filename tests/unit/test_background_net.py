r"""The learned background: what it cannot change, what changes nothing, and how it learns."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("onnx")

from safetensors.torch import load_file, save_file  # noqa: E402

from relume import bundle as bundles  # noqa: E402
from relume.background import GLARE, evened, without_glare  # noqa: E402
from relume.cli import main  # noqa: E402
from relume.degrade.illumination import VALIDATION, Simulator  # noqa: E402
from relume.degrade.illumination.fixed import fine_pattern, fixed_map  # noqa: E402
from relume.degrade.illumination.grid import answered, asked, shrunk, working  # noqa: E402
from relume.errors import TrainingError, UsageError  # noqa: E402
from relume.nets import build  # noqa: E402
from relume.tasks.xray import METHODS, BackgroundNet, estimate_background  # noqa: E402
from relume.train import (  # noqa: E402
    TRAINABLE,
    Run,
    sources,
    train,
)
from relume.train import loop as loop_module  # noqa: E402
from relume.train.checkpoint import initialise, save_checkpoint  # noqa: E402
from relume.train.export_xray import export_xray  # noqa: E402
from relume.train.micrographs import Micrographs, pairs  # noqa: E402
from relume.train.objectives import ReadBackground, objective  # noqa: E402
from relume.train.references import INSTRUMENT, read_references  # noqa: E402

NET = {"channels": 4, "widths": (6, 8), "uncertain": True}
TINY = replace(
    TRAINABLE["xray"],
    config=NET,
    size=16,
    batch=3,
    steps=4,
    warmup=1,
    settings={"gan": 0.5, "join": 1, "judge": (4, 6)},
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run keeps and looks at a few images instead of hundreds."""
    monkeypatch.setattr(sources, "Micrographs", lambda **given: Micrographs(**{**given, "kept": 8}))
    monkeypatch.setattr(sources, "_LOOKS", 8)


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


def quiet(line: str) -> None:
    """Hears nothing."""


# --- the grid --------------------------------------------------------------------------------------------


def light(shape: tuple[int, int] = (96, 80), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / shape[0]
    return 800 * np.exp(0.4 * np.sin(3 * x + y) + 0.1 * rng.standard_normal(shape))


def test_views_are_laid_back_as_they_were_laid() -> None:
    for shape, views in (((96, 96), 8), ((96, 64), 4)):
        image, grid = light(shape), working(shape, 16, 4)
        planes = asked(image, grid, known=False, views=8)
        assert len(planes) == views
        assert len({plane[0].tobytes() for plane in planes}) == views
        echo = np.stack([planes[:, 0], np.full_like(planes[:, 0], -3.0)], axis=1)
        field, spread = answered(echo, grid, shape)
        once, _ = answered(echo[:1], grid, shape)
        np.testing.assert_allclose(field, once, atol=1e-5)
        np.testing.assert_allclose(spread, -3, atol=1e-4)
        # and places stay where they are, whichever way the image lies
        assert (planes[:, 1:] == planes[:1, 1:]).all()


def test_views_that_differ_add_to_the_variance() -> None:
    grid = working((16, 16), 16, 4)
    ramp = np.mgrid[:16, :16][0] / 16
    answers = np.zeros((8, 2, 16, 16))
    answers[:, 1] = -20
    answers[0, 0] = ramp  # one of eight sees a ramp
    _, spread = answered(answers, grid, (16, 16))
    np.testing.assert_allclose(np.exp(spread), ((ramp - ramp.mean()) / 8) ** 2 * 7, rtol=1e-3, atol=1e-7)


def test_an_exposure_is_no_background() -> None:
    image, grid = light(), working((96, 80), 16, 4)
    one, seven = (asked(k * image, grid, known=False) for k in (1.0, 7.0))
    np.testing.assert_allclose(one, seven, atol=1e-6)


def test_any_camera_fits_on_the_grid() -> None:
    assert working((512, 512), 64, 32) == ((64, 64), (64, 64))
    assert working((1024, 512), 64, 32).shape == (128, 64)
    odd = working((257, 100), 64, 32)
    assert odd.shape == (164, 64) and odd.padded == (192, 64)
    assert working((10, 10), 64, 32).shape == (64, 64)


def test_what_is_shrunk_keeps_its_level() -> None:
    assert np.abs(shrunk(np.ones((37, 50)), (8, 11)) - 1).max() < 1e-5


# --- the bundle ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained net that nevertheless answers something."""
    torch.manual_seed(1)
    net = build("background", NET)
    torch.nn.init.normal_(net.out.weight, std=0.05)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    facts = loop_module._facts(TINY)
    optimizer = torch.optim.AdamW(net.parameters())
    folder = tmp_path_factory.mktemp("run")
    return save_checkpoint(folder, step=1, net=net, average=average, optimizer=optimizer, facts=facts)


@pytest.fixture(scope="module")
def net(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> BackgroundNet:
    out = tmp_path_factory.mktemp("models") / "tiny"
    export_xray(checkpoint, out, name="tiny", sessions=1, report=quiet)
    return BackgroundNet(out, precision="f32")


def test_a_background_has_median_one_and_an_error_at_every_pixel(net: BackgroundNet) -> None:
    for shape in ((96, 80), (33, 70), (10, 12)):
        found = net(light(shape))
        assert found.field.shape == found.sigma.shape == shape
        assert np.median(found.field) == pytest.approx(1) and found.field.std() > 1e-4
        assert np.isfinite(found.field).all() and (found.sigma > 0).all()
    assert found.model == net.bundle.hash and found.method == "pix2pix"


def test_a_factor_on_the_image_changes_nothing(net: BackgroundNet) -> None:
    one, nine = net(light()), net(9 * light())
    np.testing.assert_allclose(one.field, nine.field, rtol=1e-5)
    np.testing.assert_allclose(one.sigma, nine.sigma, rtol=1e-4)


def test_light_has_no_preferred_side(net: BackgroundNet) -> None:
    """Eight views: an image laid another way gives its background laid that way."""
    image = light((64, 64))
    want = net(image).field
    for laid in (np.flipud, np.fliplr, np.transpose, np.rot90):
        np.testing.assert_allclose(net(np.ascontiguousarray(laid(image))).field, laid(want), rtol=1e-4)


def test_a_known_map_is_divided_out_and_put_back(net: BackgroundNet) -> None:
    image, rng = light(), np.random.default_rng(4)
    fixed = 0.05 * rng.standard_normal(image.shape)
    bare, over = net(image, fixed=np.zeros(image.shape)), net(image * np.exp(fixed), fixed=fixed)
    ratio = over.field / (bare.field * np.exp(fixed))
    np.testing.assert_allclose(ratio / np.median(ratio), 1, rtol=1e-5)
    with pytest.raises(UsageError, match="fixed map is of size"):
        net(image, fixed=np.zeros((3, 3)))


def test_dead_pixels_and_dead_lines_make_no_nan(net: BackgroundNet) -> None:
    image = light()
    image[10], image[:, 3], image[5, 5], image[0, 0] = 0, np.nan, -50, 1e7
    found = net(image)
    assert np.isfinite(found.field).all() and np.isfinite(found.sigma).all()
    for dark in (np.zeros((20, 20)), np.full((20, 20), np.nan)):
        with pytest.raises(UsageError, match="above 0"):
            net(dark)
    with pytest.raises(UsageError, match=r"\(H, W\)"):
        net(np.ones((4, 4, 3)))


def test_what_is_uneven_in_an_empty_image_is_taken_off_unless_it_is_not_to_be(
    net: BackgroundNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = (2 * np.arange(128) + 1) / 128 - 1
    image = np.random.default_rng(0).poisson(20_000 * np.exp(0.01 * x), (128, 128)).astype(np.float64)
    plain = BackgroundNet(net.bundle.path, precision="f32", empty=False)(image).field
    found = net(image).field
    np.testing.assert_array_equal(found, evened(image, plain))
    exact = np.exp(0.01 * x) * np.ones((128, 1))
    monkeypatch.setattr("relume.tasks.background.evened", lambda light, field: exact)
    np.testing.assert_array_equal(net(image).field, exact)
    assert not np.array_equal(plain, exact)


def test_every_method_is_reached_by_its_name(net: BackgroundNet) -> None:
    image = light((64, 64))
    assert METHODS[0] == "pix2pix"
    found = estimate_background(image + 100, dark=100.0, net=net)
    np.testing.assert_allclose(found.field, net(image, glare=GLARE).field, rtol=1e-5)
    flats = [light((64, 64), seed) for seed in (1, 2)]
    with_map = estimate_background(image, references=flats, net=net)
    fixed = fixed_map([without_glare(flat, GLARE) for flat in flats])
    np.testing.assert_allclose(with_map.field, net(image, fixed=fixed, glare=GLARE).field)
    classical = estimate_background(image, "none")
    assert classical.sigma is None and (classical.field == 1).all()
    with pytest.raises(UsageError, match="no background method"):
        estimate_background(image, "magic")


def test_a_model_for_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match="for restore"):
        BackgroundNet("photo")


def test_engines_run_one_bundle_alike(net: BackgroundNet) -> None:
    pytest.importorskip("onnxruntime")
    image = light((64, 64))
    for engine in ("onnx", "pytorch"):
        other = BackgroundNet(net.bundle.path, engine=engine, precision="f32")
        np.testing.assert_allclose(other(image).field, net(image).field, rtol=2e-5)


def test_only_a_net_that_tells_its_error_is_exported(tmp_path: Path) -> None:
    small = build("background", {**NET, "uncertain": False})
    facts = {**loop_module._facts(TINY), "config": {**NET, "uncertain": False}}
    made = save_checkpoint(
        tmp_path,
        step=1,
        net=small,
        average={name: value.clone() for name, value in small.state_dict().items()},
        optimizer=torch.optim.AdamW(small.parameters()),
        facts=facts,
    )
    with pytest.raises(TrainingError, match="tells its error"):
        export_xray(made, tmp_path / "out", report=quiet)


def test_error_bars_of_a_known_instrument_are_those_of_a_map_that_can_be_made(net: BackgroundNet) -> None:
    from relume.degrade.illumination import VALIDATION, Simulator
    from relume.degrade.illumination.fixed import fine_pattern
    from relume.train.export_xray import _map_of_other_days

    seed = VALIDATION[0]
    shot = Simulator(seed, 512).shot(seed % 20)
    valid = shot.vignette > 0.97
    pattern = fine_pattern(np.log(shot.background))
    off = (_map_of_other_days(seed) - pattern)[valid]
    told = net.bundle.card["error"]["known"]["fine"]
    assert 0.3 < told / off.std() < 3 and off.std() < 0.5 * pattern[valid].std(), "a map that tells nothing"


# --- what it learns from ---------------------------------------------------------------------------------


def test_a_batch_follows_from_its_step_alone() -> None:
    make = lambda: Micrographs(size=16, batch=3, seed=2, kept=6)  # noqa: E731
    straight, jumped = make(), make()
    expected = [straight[step] for step in range(3)][2]
    found = jumped[2]
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert not torch.equal(make()[1]["x"], expected["x"])
    assert len(straight._window) == 6


def test_a_pair_is_one_image_and_its_light() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] / 32
    lights = np.stack([0.3 * np.cos(3 * x), 0.3 * y]).astype(np.float32)
    clean = np.ones_like(lights)
    clean[1, 8:24, 8:24] = 0.5
    made = pairs(lights, clean, np.array([1, 0], np.float32), rng)
    target = made["target"][:, 0].numpy()
    fine = fine_pattern(lights[0])
    for found, want in ((target[0], lights[0] - fine), (target[1], lights[1])):
        np.testing.assert_allclose(found - np.median(found), want - np.median(want), atol=1e-5)
    seen = np.log(made["seen"][1, 0].numpy()) - np.log(clean[1]) - lights[1]
    assert seen.std() < 0.1  # glare, noise and no more
    assert made["x"].shape == (2, 4, 32, 32)
    assert (made["x"][0, 3] == 1).all() and (made["x"][1, 3] == 0).all()


def test_measured_light_is_taken_as_it_lies() -> None:
    measured = [np.full((16, 16), 0.0, np.float32)]
    measured[0][:8] = -1.0
    data = Micrographs(size=16, batch=4, seed=0, kept=4, lights=measured, known=0.0)
    step = data[0]["target"][:, 0].diff(dim=1)
    assert torch.allclose(step[:, 7], torch.ones(4, 16), atol=1e-5)
    assert torch.allclose(step[:, 8:], torch.zeros(()), atol=1e-5)


# --- what is asked of it ---------------------------------------------------------------------------------


def batch(n: int = 2, size: int = 16) -> dict[str, Any]:
    return {
        "x": torch.randn(n, 4, size, size),
        "target": torch.randn(n, 1, size, size),
        "weight": torch.rand(n, 1, size, size),
    }


def test_the_level_of_a_field_costs_nothing() -> None:
    data, aim = batch(), ReadBackground()
    out = torch.randn(2, 2, 16, 16)
    up = out + torch.tensor([5.0, 0.0])[None, :, None, None]
    assert aim.judged(up, data)[0].item() == pytest.approx(aim.judged(out, data)[0].item(), abs=1e-4)
    exact = torch.cat([data["target"] + 3, torch.zeros(2, 1, 16, 16)], dim=1)
    _, figures = aim.judged(exact, data)
    assert figures["l1"] < 1e-5 and figures["rms"] < 1e-5 and figures["fourier"] < 1e-5


def test_the_error_bar_does_not_pull_at_the_field_and_is_best_where_it_is_true() -> None:
    data = batch()
    out = torch.randn(2, 2, 16, 16, requires_grad=True)
    ReadBackground(l1=0.0, fourier=0.0, likelihood=1.0).judged(out, data)[0].backward()
    assert out.grad is not None and not out.grad[:, :1].any() and out.grad[:, 1:].any()
    weight = data["weight"] / data["weight"].mean((1, 2, 3), keepdim=True)
    error = out.detach()[:, :1] - data["target"]
    error = error - (weight * error).mean((1, 2, 3), keepdim=True)
    best = torch.cat([out.detach()[:, :1], error.square().log()], dim=1).requires_grad_()
    ReadBackground(l1=0.0, fourier=0.0, likelihood=1.0).judged(best, data)[0].backward()
    assert best.grad is not None and best.grad.abs().max() < 1e-5


def test_settings_are_checked() -> None:
    for wrong in ({"variant": "cosine"}, {"gan": -1.0}):
        with pytest.raises(UsageError):
            objective("background", wrong)
    assert ReadBackground().opponent() is None
    assert ReadBackground(gan=0.1, judge=(4, 6)).opponent() is not None


def test_a_judge_joins_late_and_pulls_its_own_way() -> None:
    data, generator = batch(), build("background", NET)
    torch.nn.init.normal_(generator.out.weight, std=0.1)
    aim = ReadBackground(gan=0.5, join=10, judge=(4, 6))
    judge = aim.opponent()
    assert judge is not None
    alone, _ = aim(generator, data)
    before, _, learn = aim.contest(generator, judge, data, 9)
    assert learn is None and torch.equal(before, alone)
    after, figures, learn = aim.contest(generator, judge, data, 10)
    assert learn is not None
    assert after.item() == pytest.approx(alone.item() + 0.5 * figures["found_out"].item(), rel=1e-5)
    learn().backward()
    assert all(p.grad is None for p in generator.parameters()), "the judge's loss reached the generator"
    assert all(p.grad is not None for p in judge.parameters())


# --- the loop with an opponent ---------------------------------------------------------------------------


def run(out: Path, **changes: Any) -> Run:
    where = Run(None, out, device="cpu", precision="f32", workers=0, save_every=2, look_every=100)
    return replace(where, **changes)


def test_a_contest_goes_on_as_if_it_had_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_file(train(TINY, run(tmp_path / "whole"), report=quiet))
    compute = loop_module._step

    def signalled(config: Any, step: int, *rest: Any) -> Any:
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        return compute(config, step, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(loop_module, "_step", signalled)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, run(tmp_path / "parts"), report=quiet)
    parts = load_file(train(TINY, run(tmp_path / "parts"), report=quiet))
    assert whole.keys() == parts.keys() and any(key.startswith("rival.optimizer.") for key in whole)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert (tmp_path / "whole" / "samples-0000004.png").is_file()


# --- a laboratory's own references -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tifffile = pytest.importorskip("tifffile")
    folder = tmp_path_factory.mktemp("references")
    for i in range(6):
        simulator = Simulator(VALIDATION[i], 48, instrument=1)
        tifffile.imwrite(folder / f"flat-{i}.tif", simulator.flat(0).astype(np.float32))
    return folder


def test_references_are_read_and_told_apart_from_what_is_none(references: Path, tmp_path: Path) -> None:
    found = read_references(references, 16, report=quiet)
    assert len(found.lights) == 6 and found.fixed.shape == (48, 48)
    assert all(field.shape == (16, 16) and abs(np.median(field)) < 1e-6 for field in found.lights)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(TrainingError, match="at least 2"):
        read_references(tmp_path, 16, report=quiet)


def test_a_run_on_references_starts_from_a_model_and_leaves_the_map(
    references: Path, tmp_path: Path, net: BackgroundNet
) -> None:
    recipe = replace(TRAINABLE["xray-references"], config=NET, size=16, batch=2, steps=2)
    where = run(tmp_path / "mine", data=references, init=net.bundle.path)
    made = train(recipe, where, report=quiet)
    kept = load_file(tmp_path / "mine" / INSTRUMENT)["fixed_map"].numpy()
    np.testing.assert_allclose(kept, read_references(references, 16, report=quiet).fixed)
    out = tmp_path / "model"
    export_xray(made, out, name="mine", sessions=1, report=quiet)
    mine = BackgroundNet(out, precision="f32")
    assert mine.views == 1
    image = light((48, 48))
    np.testing.assert_allclose(mine(image).field, mine(image, fixed=kept).field, rtol=2e-3)  # kept in fp16
    assert mine(light((40, 40))).field.shape == (40, 40), "a map of another size is left aside"
    with pytest.raises(TrainingError, match="--data"):
        train(recipe, run(tmp_path / "none"), report=quiet)


def test_a_run_starts_from_the_weights_of_a_bundle(net: BackgroundNet, tmp_path: Path) -> None:
    fresh = build("background", NET)
    average = {name: value.clone() for name, value in fresh.state_dict().items()}
    assert initialise(net.bundle.path, net=fresh, average=average) == []
    stored = net.bundle.tensors()
    for name, value in fresh.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), stored[f"background.{name}"].astype(np.float32))
    with pytest.raises(TrainingError, match="no net of this kind"):
        initialise(bundles.find("photo").path, net=fresh, average=average)
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(TrainingError):
        initialise(tmp_path / "a.safetensors", net=fresh, average=average)


def test_a_run_starts_from_a_bundle_of_a_shallower_net(net: BackgroundNet, tmp_path: Path) -> None:
    small = build("background", NET)
    initialise(net.bundle.path, net=small, average=dict(small.state_dict()))
    grown = build("background", {**NET, "blocks": 1, "attention": 1})
    added = initialise(net.bundle.path, net=grown, average=dict(grown.state_dict()))
    assert added == ["decoder.0.0", "decoder.0.1", "encoder.0.0", "encoder.0.1", "encoder.1.0"]
    planes = torch.randn(2, 4, 16, 24)
    assert small(planes).abs().max() > 0.01
    torch.testing.assert_close(grown(planes), small(planes))


# --- the commands ----------------------------------------------------------------------------------------


def test_the_command_trains_on_the_simulator_or_on_references(
    references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[tuple[Any, Any]] = []

    def remember(config: Any, where: Any, **_: Any) -> Path:
        asked_for.append((config, where))
        return tmp_path

    monkeypatch.setattr("relume.train.train", remember)
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", "xray", *out, "--steps", "7"]) == 0
    assert main(["train", "xray", *out, "--data", str(references)]) == 0
    (simulated, free), (measured, own) = asked_for
    assert simulated == replace(TRAINABLE["xray"], steps=7) and free.data is None and free.init is None
    assert measured == TRAINABLE["xray-references"] and own.data == references
    assert own.init == bundles.find("xray").path
    net = build(measured.net, measured.config)
    assert initialise(own.init, net=net, average=dict(net.state_dict())) == []


def test_the_command_exports_one_checkpoint_as_xray(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: BackgroundNet
) -> None:
    def remember(found: Path, out: Path, **options: Any) -> Any:
        assert found == checkpoint and out == tmp_path / "made" and options["name"] == "xray"
        return net.bundle

    monkeypatch.setattr("relume.train.export_xray.export_xray", remember)
    assert main(["export", str(checkpoint.parent), "-o", str(tmp_path / "made")]) == 0


def test_a_reflection_is_light_and_part_of_it_goes_round_the_sample() -> None:
    """Samples stay as they are; the background gets a spot, and the image is brighter for it."""
    plain, bright = (
        Micrographs(size=32, batch=16, seed=3, kept=16, known=0.0, reflections=share)[0]
        for share in (0.0, 1.0)
    )
    assert torch.equal(plain["clean"], bright["clean"])
    light = (bright["target"] - plain["target"]).flatten(1)
    light = light - light.min(1, keepdim=True).values
    assert (light.max(1).values > 0.02).float().mean() > 0.8 and light.max() < 0.55
    assert (light.median(1).values < 0.3 * light.max(1).values).all()  # a spot, and not the frame
    means = [each["seen"].mean() for each in (plain, bright)]
    assert means[1] > means[0]
