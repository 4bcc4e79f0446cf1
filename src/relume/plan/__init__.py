r"""Plans: a workload and machines in, figures out that say where they come from.

A plan is a function that returns a :class:`~relume.plan.figures.Plan`: tables of figures, each measured,
modelled, preset or given, with its source; losses, said as such; and charts. The constants, machines and
grids are data files in ``data/``.
"""

__all__ = ["PLANS", "Bars", "Figure", "Kind", "Plan", "Table", "capacity", "compare", "draw", "sheet"]

from collections.abc import Callable

from relume.plan.capacity import capacity
from relume.plan.compare import compare
from relume.plan.figures import Bars, Figure, Kind, Plan, Table
from relume.plan.sheet import sheet
from relume.plan.svg import draw

PLANS: dict[str, Callable[..., Plan]] = {"sheet": sheet, "compare": compare, "capacity": capacity}
"""The energy-efficiency sheet, the same from measured runs, and what a load takes."""
