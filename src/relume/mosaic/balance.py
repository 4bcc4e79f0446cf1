r"""One sparse solve for the gains and slow modes of all tiles.

.. math:: \ln I_i(r) = c_i + F(r) + q\cdot Q(r) + d_i\cdot P(r) + S(r + p_i) + \varepsilon

On what two tiles share, S falls out of the difference. The unknowns are c (gains), d (five slow modes of each
tile) and q (a slow error of the field F, the same for all), found at once by reweighted least squares with
Huber's weights; errors do not add up along a path of tiles.

The differences leave a gauge: a constant, and S of degree 1 and 2 over the mosaic, which gains and slow
modes can imitate tile by tile; smooth hills and valleys a few tiles wide are held but weakly. Where the
sample leaves parts of the tiles empty, S is the same there (:mod:`.tops`); priors fix the rest, and
:class:`Gauge` says how well.

Source: Huber, *Robust estimation of a location parameter*, 1964.
"""

__all__ = ["Balance", "Equations", "Gauge", "Prior", "balance", "equations"]

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from relume.background.empty import densest, likely
from relume.background.smooth import polynomials

from .looks import Field, Looks
from .overlap import Places, shared
from .tops import BLOCKS, Tops

SLOW, COMMON = 2, 4  # degrees of d·P and q·Q
_P = 5
_Q = 14
_CELLS = 32  # along a side of a tile
_HUBER = 1.345
_MODES = 12  # how many of the weakest are told
_OPEN = 1e-12  # of the median diagonal: zero to rounding
_AGREE = 0.015  # standard deviation up to which brightest parts are taken to be empty
_ROUNDS, _STILL = 32, 1e-4  # of reweighting: at most, and of the gains at which nothing moves any more


@dataclass(frozen=True)
class Prior:
    """Standard deviations of logarithms, which fix what overlaps leave open.

    Args:
        gain: of a tile's gain; 0.02 where only the beam moves, 0.15 where a tile's gain depends on its
        sample. sample: of a tile's mean ln T about that of the whole mosaic: no side of the sample is
        thicker. step: of what a slow mode changes from one tile to the next.
        memory: the share of a slow mode that is left a tile later.
        field: of each coefficient of q.
        empty: whether the brightest parts of the tiles are taken to be empty where they agree. How well they
        do is estimated; where nothing in the sample is empty they hardly do, and say little.
    """

    gain: float = 0.15
    sample: float = 0.3
    step: float = 0.004
    memory: float = 0.97
    field: float = 0.01
    empty: bool = True


class Equations(NamedTuple):
    """Differences of ln counts on cells of all overlaps: ``rows`` x = ``values``, each known to ``sigma``."""

    rows: Any
    values: Field
    sigma: float


class Gauge(NamedTuple):
    """What overlaps leave open, and what holds it.

    ``eigenvalues``: the smallest of the equations for c and d without priors, over their median diagonal;
    ``open_modes`` of them are 0 as far as anybody can tell (below 1e-12). ``deviations``: how well each of
    these modes is held by empty parts and priors, as one standard deviation of the gains along it.
    ``fixed_by`` says by what.
    """

    open_modes: int
    eigenvalues: list[float]
    deviations: list[float]
    fixed_by: dict[str, float]


@dataclass(frozen=True)
class Balance:
    """Gains c (N,), slow modes d (N,5), the field's correction q (14,), the sd of c (N,), and the gauge."""

    gains: Field
    modes: Field
    common: Field
    deviations: Field
    gauge: Gauge

    def slow(self, number: int, shape: tuple[int, int]) -> Field:
        """c + d·P of one tile (H,W)."""
        y, x = axes(shape)
        basis = polynomials(y[:, None], x[None, :], SLOW)[1:]
        return np.asarray(self.gains[number] + np.tensordot(self.modes[number], basis, 1))

    def shifted(self, by: float) -> "Balance":
        """The same with all gains ``by`` larger."""
        return replace(self, gains=self.gains + by)

    def correction(self, shape: tuple[int, int]) -> Field:
        """q·Q (H,W), less its median."""
        y, x = axes(shape)
        field = np.tensordot(self.common, polynomials(y[:, None], x[None, :], COMMON)[1:], 1)
        return np.asarray(field - np.median(field))


def axes(shape: tuple[int, int]) -> tuple[Field, Field]:
    """y and x of pixel centres, from −1 to 1 between the borders of a tile."""
    y, x = ((2 * np.arange(side) + 1) / side - 1 for side in shape)
    return y, x


def equations(looks: Looks, field: Field, places: Places, pairs: Sequence[tuple[int, int]]) -> Equations:
    """One equation for every cell of every overlap: the median of the log ratio of the two tiles there.

    Cells are a 32nd of a tile wide, or a third of a narrower overlap; the field is taken off first.
    """
    from scipy.sparse import csr_array

    n = len(looks)
    blocks: list[tuple[Any, Any, Any]] = []
    values: list[Field] = []
    flat = field.astype(np.float32)
    done = 0
    for i, j in pairs:
        d = np.rint(places[j] - places[i]).astype(int)
        area = shared((int(d[0]), int(d[1])), looks.shape)
        if min(area.shape) < 2:
            continue
        ratio = (looks[i] - flat)[area.here] - (looks[j] - flat)[area.there]
        value, here, there = _cells(ratio, area.here, places[j] - places[i], looks.shape)
        rows = done + np.arange(len(value))
        p, q = polynomials(*here, COMMON), polynomials(*there, COMMON)
        blocks.append(_block(rows, i, j, p, q, n))
        values.append(value)
        done += len(value)
    if not done:
        empty = csr_array((0, n * (1 + _P) + _Q))
        return Equations(empty, np.zeros(0), 1.0)
    data, row, column = (np.concatenate(part) for part in zip(*blocks, strict=True))
    matrix = csr_array((data, (row, column)), (done, n * (1 + _P) + _Q))
    return Equations(matrix, np.concatenate(values), 0.01)


def _cells(
    ratio: npt.NDArray[np.floating],
    here: tuple[slice, slice],
    offset: Field,
    size: tuple[int, int],
) -> tuple[Field, tuple[Field, Field], tuple[Field, Field]]:
    """Medians over cells, and their centres in both tiles as (y, x) from −1 to 1.

    What does not fill a cell at the lower and right border of the overlap is left out. Centres in the other
    tile follow from the offset as it is, not as it is rounded: the open modes are open only if places are
    consistent.
    """
    counts, steps = zip(
        *(_cell(length, side) for length, side in zip(ratio.shape, size, strict=True)), strict=True
    )
    whole = ratio[: counts[0] * steps[0], : counts[1] * steps[1]]
    cells = whole.reshape(counts[0], steps[0], counts[1], steps[1])
    found = np.median(cells.swapaxes(1, 2).reshape(*counts, -1), axis=-1)
    middle = [(np.arange(count) + 0.5) * step for count, step in zip(counts, steps, strict=True)]
    centres = []
    for moved in (np.zeros(2), offset):
        lines = [
            2 * (m + s.start - d) / side - 1 for m, s, d, side in zip(middle, here, moved, size, strict=True)
        ]
        grid = np.meshgrid(*lines, indexing="ij")
        centres.append((grid[0].ravel(), grid[1].ravel()))
    return found.ravel().astype(np.float64), centres[0], centres[1]


def _cell(length: int, side: int) -> tuple[int, int]:
    """How many cells fit into a length, and their width: a 32nd of a tile, less where three would not fit.

    Across a strip of one cell the slow modes of both tiles cannot be told apart, and more than six stay open.
    """
    step = max(1, min(side // _CELLS, length // 3))
    return length // step, step


def _block(rows: Any, i: int, j: int, p: Field, q: Field, n: int) -> tuple[Any, Any, Any]:
    """Entries of one pair's equations: c_i − c_j + d_i·P(r) − d_j·P(r′) + q·(Q(r) − Q(r′))."""
    ones = np.ones(len(rows))
    columns = [i, j, *(n + _P * i + k for k in range(_P)), *(n + _P * j + k for k in range(_P))]
    columns += [n * (1 + _P) + k for k in range(_Q)]
    data = [ones, -ones, *p[1 : 1 + _P], *-q[1 : 1 + _P], *(p - q)[1:]]
    return np.concatenate(data), np.tile(rows, len(columns)), np.repeat(columns, len(rows))


def balance(
    known: Equations,
    levels: Field,
    prior: Prior | None = None,
    *,
    field: bool = True,
    tops: Tops | None = None,
) -> Balance:
    """Solves for all tiles at once.

    Args:
        known: see :func:`equations`.
        levels: ln of the median counts of each tile (N,), in the order in which they were taken.
        prior: see :class:`Prior`.
        field: whether q is sought; a field that was measured needs no correction.
        tops: the brightest parts of the tiles over the field; see :class:`Prior`.
    """
    from scipy.sparse import diags_array

    prior = prior or Prior()
    prior = prior if field else replace(prior, field=1e-6)
    n = len(levels)
    middle = float(np.median(levels))
    held, target = _priors(n, levels - middle, prior)
    weight = np.full(known.rows.shape[0], known.sigma**-2)
    x = np.zeros(held.shape[0])
    empty = _Empty(tops, n) if tops is not None and prior.empty else None
    for number in range(_ROUNDS):
        before = x[:n]
        seen = known.rows.T @ diags_array(weight) @ known.rows if len(weight) else held * 0
        matrix, right = seen + held, known.rows.T @ (weight * known.values) + target
        if empty is not None:
            matrix, right = matrix + empty.precision, right + empty.drawn
        x = _factored(matrix, n * (1 + _P))(right)
        moved = x[:n] - before
        still = np.abs(moved - moved.mean()).max() < _STILL
        if empty is not None:
            settled = empty.settled
            empty.weigh(x, settled=settled or still or number >= _ROUNDS // 2)
            still &= settled
        if still:
            break
        miss = np.abs(known.values - known.rows @ x)
        sigma = max(1.4826 * float(np.median(miss)), 1e-4) if len(miss) else 1.0
        # cells next to each other err together: a cell counts as much as the camera's blur leaves of it
        weight = np.minimum(1.0, _HUBER * sigma / np.maximum(miss, 1e-12)) / sigma**2
    # the brightest parts of one tile may err alike: for error bars they count once, not block by block
    sure = seen + held if empty is None else seen + held + empty.precision / BLOCKS**2
    solved = _factored(sure, n * (1 + _P))
    spread = np.sqrt(np.maximum(np.diagonal(solved(np.eye(len(x), n))[:n]), 0))
    return Balance(
        gains=x[:n] + middle,
        modes=x[n : n * (1 + _P)].reshape(n, _P),
        common=x[n * (1 + _P) :],
        deviations=spread,
        gauge=_gauge(seen, sure, n, prior, empty),
    )


class _Empty:
    """The brightest parts of the tiles as equations: the densest of them are taken to be one level.

    That level follows from the solution, so that the gains' mean stays free; their error bars take the level,
    and that these parts are empty, for certain. What is far from it is a part which the
    sample fills, and weighs little (Cauchy's weights). Once the solution has settled, all weigh less if they
    do not agree as empty parts do: a sample that fills the tiles is as bright in neighbouring ones, and a
    slope of its own would be taken for one of the gains.
    """

    def __init__(self, found: Tops, n: int) -> None:
        from scipy.sparse import csr_array

        self._values = found.values
        count, waves = len(found.values), polynomials(*found.at, COMMON)
        columns = [found.tile, *(n + _P * found.tile + k for k in range(_P))]
        columns += [np.full(count, n * (1 + _P) + k) for k in range(_Q)]
        data = np.concatenate([np.ones(count), *waves[1 : 1 + _P], *waves[1:]])
        place = np.tile(np.arange(count), len(columns)), np.concatenate(columns)
        size = n * (1 + _P) + _Q
        self._rows = csr_array((data, place), (count, size))
        self.precision, self.drawn = csr_array((size, size)), np.zeros(size)
        self.told: dict[str, float] = {}
        self.settled = False

    def weigh(self, x: Field, *, settled: bool) -> None:
        """Which of them are empty, by the solution x, and how well they agree."""
        from scipy.sparse import diags_array

        left = self._values - self._rows @ x
        level, sigma = densest(left)
        weight = likely(left, level, sigma)
        self.settled = settled
        if settled:
            weight *= min(1.0, (_AGREE / sigma) ** 2)
        self.precision = self._rows.T @ diags_array(weight) @ self._rows
        self.drawn = self._rows.T @ (weight * (self._values - level))
        self.told = {"empty_sd": sigma, "empty_share": float(np.mean(np.abs(left - level) < 3 * sigma))}


def _factored(matrix: Any, size: int) -> Callable[[Field], Field]:
    """b (M,…) → x with matrix x = b, for a positive definite matrix.

    The first ``size`` unknowns meet few others. The rest (q) meet all of them, would fill the factors of a
    sparse solver, and are eliminated as a block.
    """
    whole = matrix.tocsr()
    own, mixed, last = whole[:size, :size], whole[:size, size:].toarray(), whole[size:, size:]
    solver = _sparse(own)
    through = solver.solve(mixed)
    rest = last.toarray() - mixed.T @ through

    def solved(b: Field) -> Field:
        top = solver.solve(b[:size])
        low = np.linalg.solve(rest, b[size:] - mixed.T @ top)
        return np.concatenate([top - through @ low, low])

    return solved


def _sparse(matrix: Any) -> Any:
    """Factors of a positive definite matrix, in an order made for symmetric ones."""
    from scipy.sparse.linalg import splu

    return splu(
        matrix.tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )


def _priors(n: int, levels: Field, prior: Prior) -> tuple[Any, Field]:
    """The precision of all unknowns before any overlap is seen, and its right-hand side."""
    from scipy.sparse import block_diag, diags_array

    # ln median counts are gain and sample: c_i ~ N(level_i, sample) and c_i ~ N(0, gain)
    gains = diags_array(np.full(n, prior.gain**-2 + prior.sample**-2))
    change = diags_array([np.ones(n), np.full(n - 1, -prior.memory)], offsets=[0, -1]) if n > 1 else None
    start = prior.step / np.sqrt(1 - prior.memory**2)
    precision = np.full(n, prior.step**-2)
    precision[0] = start**-2
    walk = diags_array(precision) if change is None else change.T @ diags_array(precision) @ change
    order = np.arange(n * _P).reshape(_P, n).T.ravel()  # from mode by mode to tile by tile
    slow = block_diag([walk] * _P, format="csr")[order][:, order]
    common = diags_array(np.full(_Q, prior.field**-2))
    target = np.concatenate([levels * prior.sample**-2, np.zeros(n * _P + _Q)])
    return block_diag([gains, slow, common], format="csr"), target


def _gauge(seen: Any, held: Any, n: int, prior: Prior, empty: _Empty | None) -> Gauge:
    """The modes of gains and slow modes of least eigenvalue, and how the priors hold them.

    By inverse iteration of a block: the open modes share one eigenvalue, of which a single vector finds one.
    """
    from scipy.sparse import eye_array

    size = n * (1 + _P)
    count = min(_MODES, size - 1)
    own = seen.tocsr()[:size, :size]
    scale = float(np.median(own.diagonal()[:n])) or 1.0
    solver = _sparse(own / scale + 1e-9 * eye_array(size))
    block = np.random.default_rng(0).standard_normal((size, min(2 * count, size)))
    for _ in range(8):
        block = np.linalg.qr(solver.solve(block))[0]
    values, turn = np.linalg.eigh(block.T @ (own @ block) / scale)
    vectors = np.zeros((seen.shape[0], count))
    vectors[:size] = (block @ turn)[:, :count]
    spread = np.diagonal(vectors.T @ _factored(held, size)(vectors))
    # of the gains along the mode, as an rms over the tiles
    deviations = np.sqrt(np.maximum(spread, 0) * (vectors[:n] ** 2).mean(0))
    return Gauge(
        open_modes=int((values[:count] < _OPEN).sum()),
        eigenvalues=[float(max(v, 0.0)) for v in values[:count]],
        deviations=[float(d) for d in deviations],
        fixed_by={
            **{name: float(value) for name, value in asdict(prior).items()},
            **({} if empty is None else empty.told),
        },
    )
