r"""Mosaics: each step against what is known, and the whole against the simulator's truth."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

pytest.importorskip("scipy")

from relume.background import NO_ARTEFACTS, Artefacts
from relume.bench.stitching import pitch_peak, seams
from relume.degrade.illumination import Mosaic
from relume.errors import UsageError
from relume.mosaic import FIELDS, Settings, mosaic
from relume.mosaic.balance import Balance, Prior, _factored, balance, equations
from relume.mosaic.fuse import bands, canvas
from relume.mosaic.gradients import integrate
from relume.mosaic.looks import Looks
from relume.mosaic.overlap import neighbours, shared
from relume.mosaic.places import places
from relume.mosaic.registration import Link, details, register
from relume.mosaic.repeats import repeats
from relume.mosaic.tops import tops
from relume.tasks.xray_eval import evaluate_mosaic

N, STEP, K = 64, 52, 4
PLAIN = Settings(radius=0, artefacts=NO_ARTEFACTS)  # tiles that no camera has seen
Y, X = (np.mgrid[:N, :N] * 2 + 1) / N - 1


def grid(k: int = K, step: float = STEP) -> np.ndarray:
    """Corners, from the lower left, rows upwards."""
    return np.array([((k - 1 - i // k) * step, (i % k) * step) for i in range(k * k)], np.float64)


def scenery(side: int, seed: int = 0, cells: int = 6) -> np.ndarray:
    """ln T: flat patches with sharp edges."""
    rng = np.random.default_rng(seed)
    depths = rng.choice([0.0, 0.0, 0.2, 0.5], (side // cells + 1, side // cells + 1))
    return -np.kron(depths, np.ones((cells, cells)))[:side, :side]


def made(
    field: np.ndarray,
    gains: np.ndarray,
    slow: np.ndarray | None = None,
    *,
    noise: float = 0.0,
    cells: int = 6,
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Tiles, corners and ln T of the canvas, by the model that the solver inverts."""
    corners = grid()
    world = scenery(int(corners.max()) + N, cells=cells)
    rng = np.random.default_rng(1)
    tiles = []
    for i, (y, x) in enumerate(corners.astype(int)):
        own = gains[i] + (0 if slow is None else slow[i, 0] * X + slow[i, 1] * Y)
        look = own + field + world[y : y + N, x : x + N] + noise * rng.standard_normal((N, N))
        tiles.append(5000 * np.exp(look))
    return tiles, corners, world


def test_what_two_tiles_share_is_the_same_place_in_both() -> None:
    world = np.arange(200 * 200).reshape(200, 200)
    for offset in ((0, 40), (-45, 3), (30, -30), (50, 50)):
        area = shared(offset, (64, 64))
        one = world[60:124, 60:124]
        other = world[60 + offset[0] : 124 + offset[0], 60 + offset[1] : 124 + offset[1]]
        np.testing.assert_array_equal(one[area.here], other[area.there])
        assert area.shape == (64 - abs(offset[0]), 64 - abs(offset[1]))
    assert shared((70, 0), (64, 64)).shape[0] == 0


def test_neighbours_share_an_edge_and_not_a_corner() -> None:
    pairs = neighbours(grid(3), (N, N), least=4)
    assert len(pairs) == 12 and all(i < j for i, j in pairs)
    assert (0, 4) not in pairs
    assert len(neighbours(grid(3, step=66), (N, N), least=4)) == 0
    assert len(neighbours(grid(3, step=66), (N, N), least=4, grow=8)) == 12


@pytest.mark.parametrize("offset", [(2.0, 40.0), (-3.3, 37.6), (1.5, 43.25)])
def test_a_shift_is_found_to_half_a_pixel_behind_the_pattern_of_the_detector(
    offset: tuple[float, float],
) -> None:
    rng = np.random.default_rng(3)
    f = np.fft.fftfreq(192)
    shape = np.exp(-0.5 * (3 * 2 * np.pi) ** 2 * (f[:, None] ** 2 + f**2))
    spectrum = np.fft.fft2(rng.standard_normal((192, 192))) * shape

    def look(at: Sequence[float]) -> np.ndarray:
        turn = np.exp(2j * np.pi * (f[:, None] * at[0] + f * at[1]))
        field = np.fft.ifft2(spectrum * turn).real
        return field[40 : 40 + N, 40 : 40 + N] / field.std() * 0.2

    pattern = 0.04 * rng.standard_normal((N, N))
    places_ = [(0.0, 0.0), offset, *rng.uniform(-40, 80, (14, 2))]
    tiles = [3000 * np.exp(look(at) + pattern + 0.01 * rng.standard_normal((N, N))) for at in places_]
    scales = details(Looks(tiles))
    found = register(scales, (0.0, 40.0), 6, (0, 1))
    assert found.ncc > 0.6
    np.testing.assert_allclose(found.offset, offset, atol=0.5)


def test_narrow_overlaps_are_found_as_exactly_as_their_content_allows() -> None:
    """Simulated tiles that share 31 of 512 pixels: 0.4 pixels off by one wide local mean alone."""
    mosaic = Mosaic(200_011, 4)
    assert mosaic.step > 480
    looks = Looks([shot.raw for shot in mosaic], mosaic.simulator.session.detector.dark)
    scales, missed = details(looks), []
    assert len(scales) == 3
    for count in (1, 3):
        errors = []
        for i, j in neighbours(mosaic.nominal, looks.shape, least=4):
            nominal, true = (at[j] - at[i] for at in (mosaic.nominal, mosaic.positions))
            found = register(scales[:count], (float(nominal[0]), float(nominal[1])), 32, (i, j))
            if found.ncc > 0.5:
                errors.append(np.hypot(*(np.array(found.offset) - true)))
        assert len(errors) >= 20
        missed.append(float(np.median(errors)))
    assert missed[1] < 0.2 and missed[1] < 0.5 * missed[0]


def test_shifts_are_not_pulled_towards_a_smaller_or_a_larger_overlap() -> None:
    """What all shifts are off alike adds up along a row: 0.08 pixels each where borders of tiles count."""
    mosaic = Mosaic(200_012, 6, 256, step=240, kinds=("porous",))
    looks = Looks([shot.raw for shot in mosaic], mosaic.simulator.session.detector.dark)
    scales, along = details(looks), []
    for i, j in neighbours(mosaic.nominal, looks.shape, least=4):
        nominal, true = (at[j] - at[i] for at in (mosaic.nominal, mosaic.positions))
        found = register(scales, (float(nominal[0]), float(nominal[1])), 16, (i, j))
        if found.ncc > 0.5:
            along.append((np.array(found.offset) - true) @ nominal / np.hypot(*nominal))
    assert len(along) >= 50 and abs(np.median(along)) < 0.04


def test_false_links_do_not_pull_and_missing_ones_follow_the_turned_stage() -> None:
    nominal = grid()
    turn = np.array([[1.0, 0.03], [-0.03, 1.0]])
    rng = np.random.default_rng(0)
    true = nominal @ turn + rng.normal(0, 1.5, nominal.shape)
    links = []
    for number, (i, j) in enumerate(neighbours(nominal, (N, N), least=4)):
        apart = true[j] - true[i]
        if number % 6 == 0:
            links.append(
                Link(i, j, (float(apart[0]) + 9, float(apart[1]) - 7), 0.9)
            )  # sure of itself, and wrong
        else:
            links.append(Link(i, j, (float(apart[0]), float(apart[1])), 0.9))
    found = places(nominal, links)
    off = found - true
    assert np.hypot(*(off - off.mean(0)).T).max() < 0.5
    np.testing.assert_allclose(found.mean(0), nominal.mean(0))
    refused = places(nominal, [each._replace(ncc=0.1) for each in links])
    np.testing.assert_allclose(refused, nominal, atol=1e-4)


def test_doubtful_false_links_do_not_outvote_sure_true_ones() -> None:
    """A tile that a false link pulls far at first has to come back: three in a hundred tiles may not."""
    off, k = [], 8
    for seed in range(8):
        rng = np.random.default_rng(seed)
        true = 52.0 * np.stack(np.meshgrid(np.arange(k), np.arange(k), indexing="ij"), -1).reshape(-1, 2)
        nominal = true + rng.normal(0, 6, true.shape)
        links = []
        for i, j in neighbours(true, (64, 64), least=4):
            if (true[j] != true[i]).all():
                continue
            if rng.random() < 0.12:
                (y, x), ncc = nominal[j] - nominal[i] + rng.uniform(-30, 30, 2), rng.uniform(0.36, 0.6)
            else:
                (y, x), ncc = true[j] - true[i] + rng.normal(0, 0.05, 2), rng.uniform(0.6, 0.95)
            links.append(Link(i, j, (float(y), float(x)), float(ncc)))
        apart = places(nominal, links) - true
        off.append(np.hypot(*(apart - np.median(apart, axis=0)).T) > 1)
    assert np.mean(off) < 0.03


def test_a_few_false_links_do_not_turn_the_mosaic() -> None:
    rng = np.random.default_rng(5)
    nominal = 440.0 * np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), -1).reshape(-1, 2)
    links = []
    for i, j in neighbours(nominal, (512, 512), least=4, grow=32):
        offset = nominal[j] - nominal[i]
        links.append(Link(i, j, (float(offset[0]), float(offset[1])), 0.1))
    for number in rng.choice(len(links), 5, replace=False):
        i, j, (dy, dx), _ = links[number]
        links[number] = Link(i, j, (dy + 20.0, dx - 25.0), 0.6)
    moved = np.hypot(*(places(nominal, links) - nominal).T)
    assert (
        moved.max() < 60
    )  # each pulls at its tiles; turned by them, the corners would move by more than 200
    assert np.median(moved) < 15


def test_integration_undoes_differences_and_averages_what_is_no_gradient() -> None:
    field = np.random.default_rng(0).standard_normal((13, 20))
    found = integrate(np.diff(field, axis=0), np.diff(field, axis=1))
    np.testing.assert_allclose(found, field - field.mean(), atol=1e-9)


@pytest.mark.parametrize("name", ["gradients", "location"])
def test_a_field_is_found_behind_samples_and_gains(name: str) -> None:
    field = 0.3 * X - 0.2 * Y**2 + 0.02 * np.random.default_rng(5).standard_normal((N, N))
    tiles, _, _ = made(field, np.random.default_rng(2).normal(0, 0.2, K * K), cells=40)
    looks = Looks(tiles)
    found = FIELDS[name](lambda i: looks[i], len(looks), looks.shape)
    error = (found - field).std()
    assert error < {"gradients": 0.03, "location": 0.15}[name]
    twice = FIELDS[name](lambda i: looks[i] + 0.7 * i, len(looks), looks.shape)
    np.testing.assert_allclose(twice - twice.mean(), found - found.mean(), atol=2e-3)  # gains change nothing


def test_gradients_see_past_a_sample_that_fills_the_tiles_where_a_median_does_not() -> None:
    field = 0.2 * X * Y
    tiles, _, _ = made(field, np.zeros(K * K), cells=40)
    looks = Looks(tiles)
    errors = [
        (FIELDS[name](lambda i: looks[i], len(looks), looks.shape) - field).std()
        for name in ("gradients", "location")
    ]
    assert errors[0] < 0.4 * errors[1]


def test_the_implicit_field_follows_a_smooth_light() -> None:
    pytest.importorskip("torch")
    from relume.mosaic.implicit import Grid, implicit

    field = 0.3 * X - 0.2 * Y**2
    tiles, _, _ = made(field, np.zeros(K * K), noise=0.01, cells=40)
    looks = Looks(tiles)
    small = Grid(levels=3, finest=8, steps=60, batch=512, width=8)
    found = implicit(lambda i: looks[i], len(looks), looks.shape, grid=small)
    again = implicit(lambda i: looks[i], len(looks), looks.shape, grid=small)
    np.testing.assert_array_equal(found, again)
    assert (found - field).std() < 0.5 * field.std()


def balanced(
    gains: np.ndarray, slow: np.ndarray | None = None, prior: Prior | None = None, noise: float = 0.005
) -> Balance:
    tiles, corners, _ = made(0.2 * X, gains, slow, noise=noise)
    looks = Looks(tiles)
    pairs = neighbours(corners, looks.shape, least=4)
    known = equations(looks, 0.2 * X, corners, pairs)
    levels = np.array([float(np.median(looks[i])) for i in range(len(looks))])
    return balance(known, levels, prior or Prior(gain=0.2), field=False)


def beyond_gauge(values: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Less what no overlap can tell: a polynomial of degree 2 of the place."""
    y, x = ((corners - corners.mean(0)) / STEP).T
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    return values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]


def test_gains_are_recovered_to_a_thousandth_beyond_the_gauge() -> None:
    gains = np.random.default_rng(7).normal(0, 0.1, K * K)
    found = balanced(gains)
    assert beyond_gauge(found.gains - gains, grid()).std() < 2e-3
    assert (found.gains - found.gains.mean() - gains + gains.mean()).std() < 0.06


def test_slow_modes_are_recovered_where_they_change() -> None:
    slow = np.zeros((K * K, 2))
    slow[5] = (0.03, -0.02)  # x, y
    found = balanced(np.zeros(K * K), slow, Prior(gain=0.2, step=0.02, memory=0.5))
    change = found.modes[5, :2] - np.median(found.modes[:, :2], axis=0)
    np.testing.assert_allclose(change, (-0.02, 0.03), atol=0.008)  # y before x, by Legendre's order


def test_six_modes_are_open_and_a_ramp_in_the_gains_cannot_be_told_from_the_sample() -> None:
    gains = np.random.default_rng(9).normal(0, 0.05, K * K)
    found = balanced(gains)
    gauge = found.gauge
    assert gauge.open_modes == 6  # a constant, two ramps, three bowls
    assert gauge.eigenvalues[6] > 1e3 * max(gauge.eigenvalues[5], 1e-13)
    assert set(gauge.fixed_by) == {"gain", "sample", "step", "memory", "field", "empty"}
    # the data do not change when the ramp is put into the gains and taken out of modes and sample
    tight, loose = balanced(gains, prior=Prior(gain=0.01)), balanced(gains, prior=Prior(gain=0.3))
    assert tight.deviations.mean() < loose.deviations.mean()
    np.testing.assert_allclose(
        beyond_gauge(tight.gains, grid()), beyond_gauge(loose.gains, grid()), atol=5e-3
    )


def hills(gains: np.ndarray, world: np.ndarray, *, empty: bool) -> tuple[Balance, np.ndarray]:
    """The balance of tiles of ``world``, and by how much each tile's gain is off, less their mean."""
    rng, corners = np.random.default_rng(1), grid()
    tiles = [
        5000 * np.exp(gains[i] + 0.2 * X + world[y : y + N, x : x + N] + 0.01 * rng.standard_normal((N, N)))
        for i, (y, x) in enumerate(corners.astype(int))
    ]
    looks = Looks(tiles)
    known = equations(looks, 0.2 * X, corners, neighbours(corners, looks.shape, least=4))
    levels = np.array([float(np.median(looks[i])) for i in range(len(looks))])
    found = balance(known, levels, Prior(gain=0.2, empty=empty), field=False, tops=tops(looks, 0.2 * X))
    off = found.gains - np.log(5000) - gains
    return found, off - off.mean()


def test_where_tiles_are_empty_in_part_a_ramp_of_the_gains_is_told_from_the_sample() -> None:
    """Half of the patches are empty, and a gauge that overlaps leave open is held by them."""
    y, x = (grid() / STEP).T
    ramp = 0.06 * (x - 1.5) - 0.04 * (y - 1.5) + 0.03 * (x - 1.5) ** 2
    world = scenery(int(grid().max()) + N, cells=12)
    (told, off), (untold, lost) = hills(ramp, world, empty=True), hills(ramp, world, empty=False)
    assert off.std() < 0.006 and lost.std() > 5 * off.std()
    assert told.deviations.mean() < 0.2 * untold.deviations.mean()
    assert told.gauge.fixed_by["empty_sd"] < 0.02 and told.gauge.fixed_by["empty_share"] > 0.4
    assert "empty_sd" not in untold.gauge.fixed_by
    assert told.gauge.open_modes == untold.gauge.open_modes == 6  # of what overlaps leave open


def test_brightest_parts_that_do_not_agree_say_little() -> None:
    """Nothing is empty, and no part is as bright as another."""
    side = int(grid().max()) + N
    far = np.fft.fftfreq(side)
    falls = 1 / np.maximum(np.hypot(far[:, None], far), 1 / side) ** 1.5
    for seed in range(4):
        noise = np.fft.fft2(np.random.default_rng(seed).standard_normal((side, side))) * falls
        world = np.fft.ifft2(noise).real
        world = 0.2 * world / world.std() - 1
        found, off = hills(np.zeros(K * K), world, empty=True)
        _, without = hills(np.zeros(K * K), world, empty=False)
        assert off.std() < 1.5 * without.std()
        assert found.gauge.fixed_by["empty_sd"] > 0.03


def test_the_brightest_parts_are_those_of_their_blocks_and_dark_corners_say_nothing() -> None:
    field = np.where(np.hypot(X, Y) > 1.05, -2.0, 0.0)
    looks = Looks([100 * np.exp(field + depth) for depth in (np.where(X > 0.5, 0.1, -0.2), 0.0)])
    found = tops(looks, field)
    corner = (np.abs(found.at[0]) == 0.75) & (np.abs(found.at[1]) == 0.75)
    assert len(found.values) == 32 and corner.sum() == 8  # a part of each corner is lit
    first = (found.tile == 0) & ~corner
    np.testing.assert_allclose(
        found.values[first] - np.log(100), np.where(found.at[1][first] > 0.5, 0.1, -0.2), atol=1e-5
    )
    assert len(tops(looks, np.where(X > 0.4, -2.0, 0.0)).values) == 24


def test_unknowns_that_meet_all_others_are_eliminated_without_a_trace() -> None:
    from scipy.sparse import csr_array

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 20)) * (rng.random((60, 20)) < 0.2)
    rows[:, 16:] = rng.standard_normal((60, 4))
    matrix, b = rows.T @ rows + np.eye(20), rng.standard_normal((20, 3))
    np.testing.assert_allclose(_factored(csr_array(matrix), 16)(b), np.linalg.solve(matrix, b), atol=1e-10)


def test_a_brighter_exposure_changes_nothing_but_the_gains() -> None:
    gains = np.random.default_rng(1).normal(0, 0.05, K * K)
    tiles, corners, _ = made(0.2 * X, gains, noise=0.005)
    one = mosaic(tiles, corners, settings=PLAIN)
    other = mosaic([3 * tile + 100 for tile in tiles], corners, dark=100, settings=PLAIN)
    np.testing.assert_allclose(one.transmission, other.transmission, rtol=1e-3)
    np.testing.assert_allclose(
        other.solution.balance.gains - one.solution.balance.gains, np.log(3), atol=1e-4
    )


def test_matching_tiles_one_after_another_drifts_and_one_solve_does_not() -> None:
    """Errors of single overlaps add up along a path; all overlaps at once hold each other."""
    rng = np.random.default_rng(4)
    k, far = 8, []
    corners = grid(k)
    pairs = neighbours(corners, (N, N), least=4)
    for _ in range(20):
        seen = {pair: 0.01 * rng.standard_normal() for pair in pairs}  # the truth is 0 everywhere
        path = np.zeros(k * k)
        for i in range(1, k * k):
            before = i - 1 if i % k else i - k
            path[i] = path[before] - seen[before, i]
        rows = np.zeros((len(pairs), k * k))
        for row, (i, j) in zip(rows, pairs, strict=True):
            row[i], row[j] = 1, -1
        whole = np.linalg.lstsq(rows, np.array(list(seen.values())), rcond=None)[0]
        far.append((path.std(), whole.std()))
    sequential, together = np.mean(far, axis=0)
    assert together < 0.5 * sequential


def test_the_fused_picture_is_the_sample_and_its_error_bar_holds() -> None:
    gains = np.random.default_rng(1).normal(0, 0.1, K * K)
    field = 0.2 * X - 0.1 * Y**2
    corners = grid()
    world = scenery(int(corners.max()) + N, cells=12)
    rng = np.random.default_rng(0)
    tiles = [
        rng.poisson(2000 * np.exp(gains[i] + field + world[y : y + N, x : x + N])).astype(np.float64)
        for i, (y, x) in enumerate(corners.astype(int))
    ]
    found = mosaic(tiles, corners, settings=PLAIN)
    assert found.transmission.shape == world.shape and found.transmission.dtype == np.float32
    ratio = found.transmission / np.exp(world)
    ratio /= np.median(ratio)
    assert np.log(ratio).std() < 0.05
    inside = np.abs(ratio - 1) * np.exp(world) < 1.645 * found.sigma
    assert 0.8 < inside.mean() <= 1


def test_bands_are_those_of_the_whole_and_any_of_them_can_be_made_alone() -> None:
    tiles, corners, _ = made(0.2 * X, np.zeros(K * K))
    found = mosaic(tiles, corners, settings=Settings(radius=0))
    looks = Looks(tiles, artefacts=Artefacts())
    on = canvas(found.solution.places, (N, N))
    alone = next(bands(looks, found.solution, on, wanted=iter([2])))
    rows = slice(2 * on.rows, 2 * on.rows + len(alone.transmission))
    np.testing.assert_array_equal(alone.transmission, found.transmission[rows])
    np.testing.assert_array_equal(alone.sigma, found.sigma[rows])
    (other,) = (band for band in bands(looks, found.solution, on._replace(rows=40), wanted=iter([1])))
    np.testing.assert_allclose(other.sigma, found.sigma[40:80], rtol=1e-3)


class Counted(Sequence[np.ndarray]):
    """Tiles that say how many of them are alive at once would be too many."""

    def __init__(self, tiles: list[np.ndarray]) -> None:
        self.tiles, self.reads = tiles, 0

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]
        self.reads += 1
        return self.tiles[number]


def test_no_more_tiles_are_kept_than_two_rows() -> None:
    tiles = Counted([np.full((8, 8), 10.0 + i) for i in range(100)])
    looks = Looks(tiles)
    for i in range(100):
        looks[i]
    assert len(looks._kept) == 24
    before = tiles.reads
    looks[99], looks[80]
    assert tiles.reads == before
    looks[3]
    assert tiles.reads == before + 1


def test_a_simulated_mosaic_in_absorption() -> None:
    m = Mosaic(200_003, 4, 96, kinds=("porous",), zernike=False, content=False)
    found = evaluate_mosaic(m, Settings(prior=Prior(gain=0.02)))
    assert found["places"] < 0.6
    assert found["field"] < 0.03
    assert found["gains"] < 0.03
    assert found["seam_median"] < 0.01
    assert found["bias"] < 0.02
    assert found["open_modes"] == 6
    assert found["pitch"] < 3 * max(found["pitch_truth"], 1.0)


@pytest.mark.parametrize("side", [128, 96])
def test_narrow_overlaps_leave_six_modes_open_too(side: int) -> None:
    """A strip that is one cell across would leave the slow modes of neighbours to each other."""
    overlap = round(0.05 * side)
    corners = grid(3, side - overlap)
    looks = Looks([np.full((side, side), 100.0)] * 9)
    field = np.zeros((side, side))
    known = equations(looks, field, corners, neighbours(corners, (side, side), least=4))
    assert balance(known, np.zeros(9)).gauge.open_modes == 6


@pytest.mark.parametrize("seed", [200_005, 200_007])
def test_no_grid_is_left_that_a_mosaic_without_tiles_would_not_have(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = Mosaic(seed, 6, 64, kinds=("full-field",), zernike=True)
    untold = Settings(prior=Prior(empty=False))  # else they have none before either
    found = evaluate_mosaic(m, untold)
    assert found["pitch"] < 3 * max(1.0, found["pitch_truth"])
    solving = import_module("relume.mosaic.solve")  # the package has a function of that name
    monkeypatch.setattr(solving, "repeats", lambda level, count, shape: np.zeros(shape))
    before = evaluate_mosaic(m, untold)
    assert before["pitch"] > 3 * max(1.0, before["pitch_truth"])  # these are mosaics that had one
    assert found["psnr"] > before["psnr"]
    monkeypatch.undo()
    whole = evaluate_mosaic(m, Settings())
    assert whole["pitch"] < 4 * max(1.0, whole["pitch_truth"])


def test_a_pixel_that_was_not_measured_spoils_no_other() -> None:
    tiles, corners, _ = made(0.2 * X, np.zeros(K * K), noise=0.01)
    corners = corners + np.random.default_rng(0).uniform(-0.4, 0.4, corners.shape)
    whole = mosaic(tiles, corners, settings=PLAIN)
    holed = [tile.copy() for tile in tiles]
    holed[5][20, 30] = np.nan
    holed[6][:, 10:12] = np.nan
    found = mosaic(holed, corners, settings=PLAIN)
    lost = np.isnan(found.transmission) & np.isfinite(whole.transmission)
    assert 0 < lost.sum() <= 1 + 2 * N
    there = np.isfinite(found.transmission) & np.isfinite(whole.transmission)
    ratio = found.transmission[there] / whole.transmission[there]
    assert np.percentile(np.abs(np.log(ratio)), 99) < 0.02


def test_what_repeats_in_all_tiles_is_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    wave = 0.02 * np.cos(2 * np.pi * (np.arange(N) + 0.5) / N)[None, :] * np.ones((N, 1))
    blocks = [np.kron(rng.normal(0, 0.05, (8, 8)), np.ones((8, 8))) for _ in range(64)]
    chance = np.mean(blocks, axis=0)
    found = repeats(lambda i: blocks[i] + wave + 0.3 * i, 64, (N, N))  # gains change nothing
    assert (found - wave).std() < 0.3 * wave.std()
    assert repeats(lambda i: blocks[i], 64, (N, N)).std() < 0.5 * chance.std()
    hidden = [20 * block + wave for block in blocks]
    assert repeats(lambda i: hidden[i], 64, (N, N)).std() < 0.5 * np.mean(hidden, axis=0).std()
    np.testing.assert_array_equal(repeats(lambda i: wave, 7, (N, N)), 0)
    np.testing.assert_allclose(repeats(lambda i: 0.02 * wave, 9, (N, N)), 0.02 * wave, atol=1e-9)


def test_a_simulated_mosaic_whose_gain_depends_on_the_sample() -> None:
    m = Mosaic(200_011, 4, 96, kinds=("cells",), zernike=True)
    shots = list(m)
    raw = [shot.raw - shots[0].dark for shot in shots]
    found = mosaic(raw, m.nominal)
    tiles = [
        np.asarray(tile) / np.exp(found.solution.balance.slow(i, (96, 96)) + found.solution.field)
        for i, tile in enumerate(raw)
    ]
    before = np.median([abs(s.median) for s in seams(raw, found.solution.places)])
    after = np.median([abs(s.median) for s in seams(tiles, found.solution.places)])
    assert after < 0.02 and after < 0.2 * before
    assert pitch_peak(np.nan_to_num(found.transmission, nan=1.0), m.step) < pitch_peak(_raw(raw, m), m.step)


def _raw(tiles: list[np.ndarray], m: Mosaic) -> np.ndarray:
    """The tiles laid side by side, uncorrected."""
    side = int(m.nominal.max()) + m.n
    whole = np.ones((side, side))
    for tile, (y, x) in zip(tiles, m.nominal.astype(int), strict=True):
        whole[y : y + m.n, x : x + m.n] = np.maximum(tile / np.median(tile), 0.05)
    return whole


def test_a_veil_over_every_tile_is_taken_off_by_its_own_mean() -> None:
    """Of tiles that differ in what they hold the veil differs, too: no gain can stand for it."""
    rng = np.random.default_rng(0)
    tiles, corners, world = made(0.2 * X, 0.02 * rng.standard_normal(K * K))
    veiled = [tile + 0.08 * tile.mean() for tile in tiles]

    def contrast(artefacts: Artefacts) -> float:
        found = mosaic(veiled, corners, settings=replace(PLAIN, artefacts=artefacts))
        return float(np.polyfit(world.ravel(), np.log(found.transmission).ravel(), 1)[0])

    clean = mosaic(tiles, corners, settings=PLAIN)
    found = mosaic(veiled, corners, settings=replace(PLAIN, artefacts=Artefacts(0.08, 0.0, False)))
    np.testing.assert_allclose(found.transmission, clean.transmission, rtol=1e-3)
    assert contrast(NO_ARTEFACTS) < 0.93
    assert contrast(NO_ARTEFACTS) < contrast(Artefacts(outliers=False)) < 1
    sure = mosaic(veiled, corners, settings=replace(PLAIN, artefacts=Artefacts(deviation=0.0)))
    unsure = mosaic(veiled, corners, settings=replace(PLAIN, artefacts=Artefacts()))
    wider = unsure.sigma**2 - sure.sigma**2
    dark, bright = (unsure.transmission < 0.7), np.abs(unsure.transmission - 1) < 0.02
    assert wider[dark].min() > 0 and np.median(wider[dark]) > 20 * np.median(wider[bright])


@pytest.mark.parametrize(("glare", "opaque"), [(0.03, 0.003), (0.05, 0.0), (0.0, 0.01)])
def test_a_tile_that_is_mostly_opaque_is_no_dark_one(glare: float, opaque: float) -> None:
    rng = np.random.default_rng(0)
    clean = np.where(np.arange(64)[:, None] < 38, opaque, 1.0) * np.ones((1, 64))
    tiles = [rng.poisson(20_000 * (clean + glare * clean.mean())).astype(float) for _ in range(2)]
    looks = Looks(tiles, artefacts=Artefacts())
    assert np.isfinite(looks[0]).all()
    np.testing.assert_allclose(np.exp(looks[1][40:]).mean(), 20_000, rtol=0.03)
    assert np.exp(looks[0][:36]).mean() < 0.04 * 20_000


def test_calls_that_make_no_sense_are_refused() -> None:
    tile = np.full((16, 16), 100.0)
    for tiles, corners, settings, message in [
        ([], np.zeros((0, 2)), None, "needs tiles"),
        ([tile, tile], np.zeros((1, 2)), None, "as many places"),
        ([tile, tile], np.zeros((2, 2)), Settings("guess"), "no field is called"),
        ([tile, 0 * tile], np.zeros((2, 2)), None, "tile 2 is dark"),
        ([tile, tile[:8]], np.zeros((2, 2)), None, "tile 2 is"),
    ]:
        with pytest.raises(UsageError, match=message):
            mosaic(tiles, corners, settings=settings)


def test_a_single_tile_is_a_mosaic_too() -> None:
    found = mosaic([np.full((32, 32), 200.0)], np.zeros((1, 2)))
    np.testing.assert_allclose(found.transmission, 1, atol=1e-3)
