r"""Bar charts as SVG, without a library."""

__all__ = ["draw"]

from collections.abc import Sequence
from xml.sax.saxutils import escape

from relume.plan.figures import Bars

_WIDTH, _RIGHT = 760, 170
_BAR, _GAP, _HEAD = 26, 12, 44
_STYLE = "text{font:14px system-ui,sans-serif;fill:#222}.t{font-weight:600}rect{fill:#3b6ea5}"


def draw(charts: Sequence[Bars]) -> str:
    """The charts under each other. Bars begin at zero, one scale a chart; every bar carries its number.

    >>> from relume.plan.figures import Bar, Figure, Kind
    >>> draw([Bars("Nodes", (Bar("CPU", Figure(3.0, "nodes", Kind.GIVEN, "")),))]).count("<rect")
    2
    """
    parts: list[str] = []
    names = [len(bar.name) for chart in charts for bar in chart.bars]
    left = min(420, 30 + 8 * max(names, default=0))
    y = 0
    for chart in charts:
        parts.append(f'<text class="t" x="16" y="{y + 28}">{escape(chart.title)}</text>')
        y += _HEAD
        longest = max((abs(bar.figure.value) for bar in chart.bars), default=0.0) or 1.0
        for bar in chart.bars:
            width = max(0.0, bar.figure.value) / longest * (_WIDTH - left - _RIGHT)
            middle = y + _BAR * 0.7
            said = f"{bar.figure.shown} {bar.figure.unit}".strip()
            parts += [
                f'<text x="{left - 10}" y="{middle:.1f}" text-anchor="end">{escape(_short(bar.name))}</text>',
                f'<rect x="{left}" y="{y}" width="{width:.2f}" height="{_BAR}"/>',
                f'<text x="{left + width + 8:.2f}" y="{middle:.1f}">{escape(said)}</text>',
            ]
            y += _BAR + _GAP
    frame = f'width="{_WIDTH}" height="{y + 12}" viewBox="0 0 {_WIDTH} {y + 12}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {frame} role="img">\n<style>{_STYLE}</style>\n'
        f'<rect width="{_WIDTH}" height="{y + 12}" style="fill:#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _short(name: str) -> str:
    return name if len(name) <= 48 else name[:47] + "…"
