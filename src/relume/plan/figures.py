r"""A figure that says where it comes from, and the tables and bars that such figures make up."""

__all__ = ["Bar", "Bars", "Figure", "Kind", "Plan", "Row", "Table", "rounded"]

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """How a figure is known."""

    MEASURED = "measured"
    """Read from a benchmark's file."""
    MODELLED = "modelled"
    """Computed by a formula from the others; its source is the formula."""
    PRESET = "preset"
    """From one of our data files; its source is there."""
    GIVEN = "given"
    """By whoever asked."""


def rounded(value: float, digits: int) -> str:
    """A number for people: halves go up, thousands are parted by commas.

    >>> rounded(779577.0, 0), rounded(0.5, 0), rounded(118.25, 1)
    ('779,577', '1', '118.3')
    """
    return f"{Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):,}"


@dataclass(frozen=True)
class Figure:
    """One number.

    Args:
        value: unrounded.
        unit: as it is shown; empty where there is none.
        kind: how it is known.
        source: where a preset or a measurement is from, or the formula of a model.
        digits: how many are shown after the point.
    """

    value: float
    unit: str
    kind: Kind
    source: str
    digits: int = 0

    @property
    def shown(self) -> str:
        """The number as people see it.

        >>> Figure(1218841.333, "USD", Kind.MODELLED, "", 2).shown
        '1,218,841.33'
        """
        return rounded(self.value, self.digits)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "value": self.value,
            "shown": self.shown,
            "unit": self.unit,
            "kind": self.kind.value,
            "source": self.source,
        }


@dataclass(frozen=True)
class Row:
    """One line of a table: a name for programs, which ends with the unit, one for people, and its figures."""

    key: str
    name: str
    cells: tuple[Figure | None, ...]


@dataclass(frozen=True)
class Table:
    """Rows of figures under the same columns; None is a figure that does not exist there."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        assert all(len(row.cells) == len(self.columns) for row in self.rows), self.key

    def figure(self, key: str, column: int = 0) -> Figure:
        """A figure by the key of its row."""
        (found,) = (row.cells[column] for row in self.rows if row.key == key)
        if found is None:
            raise KeyError(f"{key} has no figure in column {column}")
        return found


@dataclass(frozen=True)
class Bar:
    """One bar: what it is, and its length."""

    name: str
    figure: Figure


@dataclass(frozen=True)
class Bars:
    """A chart: bars of one unit, from zero."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Plan:
    """What was computed.

    Args:
        title: one line.
        tables: the figures.
        losses: where the new way is worse than the old one, one line each.
        notes: what the figures leave out.
        charts: to be drawn by :func:`relume.plan.svg.draw`.
    """

    title: str
    tables: tuple[Table, ...]
    losses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    charts: tuple[Bars, ...] = ()

    def table(self, key: str) -> Table:
        """A table by its key."""
        (found,) = (table for table in self.tables if table.key == key)
        return found

    def figures(self) -> Iterator[Figure]:
        """All figures of all tables."""
        for table in self.tables:
            for row in table.rows:
                yield from (cell for cell in row.cells if cell is not None)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "title": self.title,
            "tables": {
                table.key: {
                    "title": table.title,
                    "rows": {row.key: _cells(table, row) for row in table.rows},
                }
                for table in self.tables
            },
            "losses": list(self.losses),
            "notes": list(self.notes),
        }


def _cells(table: Table, row: Row) -> dict[str, Any]:
    pairs = zip(table.columns, row.cells, strict=True)
    return {column: None if cell is None else cell.facts() for column, cell in pairs}
