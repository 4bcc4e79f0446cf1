r"""A plan as text: tables of figures with their kinds, and a numbered list of sources."""

__all__ = ["text"]

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relume.plan.figures import Figure, Plan, Table

_MARKS = {"measured": "M", "modelled": "~", "preset": "P", "given": "G"}
_LEGEND = "M measured   ~ modelled   P preset   G given   [n] where from, below   – does not exist"


def text(plan: "Plan") -> str:
    """The whole plan. Every figure carries its mark, every row the numbers of its sources."""
    sources: dict[str, int] = {}
    parts = [plan.title, _LEGEND]
    parts += ["\n".join(_table(table, sources)) for table in plan.tables]
    if plan.losses:
        parts.append("\n".join(f"LOSS  {line}" for line in plan.losses))
    if plan.notes:
        parts.append("\n".join(f"note  {line}" for line in plan.notes))
    if sources:
        parts.append("\n".join(f"[{number}] {source}" for source, number in sources.items()))
    return "\n\n".join(parts) + "\n"


def _table(table: "Table", sources: dict[str, int]) -> list[str]:
    grid = [[_cell(cell) for cell in row.cells] for row in table.rows]
    names = max((len(row.name) for row in table.rows), default=0)
    widths = [
        max(len(column), *(len(line[i]) for line in grid)) if grid else len(column)
        for i, column in enumerate(table.columns)
    ]
    heads = "".join(f"  {column:>{width}}" for column, width in zip(table.columns, widths, strict=True))
    lines = [table.title, f"  {'':<{names}}{heads}".rstrip()]
    for row, cells in zip(table.rows, grid, strict=True):
        shown = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        numbers = sorted({_number(cell.source, sources) for cell in row.cells if cell and cell.source})
        where = f"  [{','.join(map(str, numbers))}]" if numbers else ""
        lines.append(f"  {row.name:<{names}}{shown}{where}")
    return lines


def _cell(cell: "Figure | None") -> str:
    if cell is None:
        return "–"
    return f"{cell.shown} {cell.unit}".strip() + f" {_MARKS[cell.kind.value]}"


def _number(source: str, sources: dict[str, int]) -> int:
    return sources.setdefault(source, len(sources) + 1)
