r"""What a correction did, on a page: raw, background, corrected, profile lines, flatness."""

__all__ = ["Shown", "Slowness", "check_name", "report", "sheet", "slowness"]

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from relume.bench.transmission import smoothed
from relume.errors import UsageError
from relume.files import placing

_SIDE, _GAP, _PLOT = 384, 12, 150  # pixels of a panel, between panels, of a plot's height
_INK, _PAPER, _RAW, _DONE = (230, 230, 230), (26, 26, 26), (240, 160, 60), (90, 180, 255)
Field = npt.NDArray[np.floating]


class Shown(NamedTuple):
    """One frame: ``raw`` counts less the dark level, ``background`` and ``corrected``, (H,W) each."""

    name: str
    raw: Field
    background: Field
    corrected: Field


class Slowness(NamedTuple):
    """How uneven a picture is: ``cv`` after a blur of 4 pixels, ``slow`` after one of an eighth of its side.

    Standard deviations over the mean. They hold the sample too: a picture that is flat because the sample is
    gone is no good one.
    """

    cv: float
    slow: float


def slowness(picture: Field) -> Slowness:
    """See :class:`Slowness`."""
    usable = np.isfinite(picture)
    values = np.where(usable, picture, 0.0)
    found = []
    for sigma in (4.0, max(4.0, min(picture.shape) / 8)):
        low = smoothed(values, sigma, usable)[usable]
        found.append(float(low.std() / low.mean()))
    return Slowness(*found)


def check_name(path: Path) -> None:
    """Refuses a name that is no report.

    Raises:
        UsageError: it ends neither in .html nor in .png.
    """
    if path.suffix.lower() not in (".html", ".png"):
        raise UsageError(f"cannot write the report {path.name}: end its name in .html or .png")


def report(path: Path, frames: Sequence[Shown], *, method: str, overwrite: bool = False) -> None:
    """Writes the sheets of some frames, one below the other as PNG, or on a page of HTML that stands alone.

    Raises:
        UsageError: another ending, or nothing to show.
        OutputExists: a file stands there and ``overwrite`` is false.
    """
    check_name(path)
    if not frames:
        raise UsageError("there is no frame to report on")
    sheets = [sheet(frame, method) for frame in frames]
    with placing(path, overwrite=overwrite) as part:
        if path.suffix.lower() == ".png":
            whole = np.concatenate(
                [
                    np.pad(s, ((0, 0), (0, max(t.shape[1] for t in sheets) - s.shape[1]), (0, 0)))
                    for s in sheets
                ]
            )
            Image.fromarray(whole).save(part, "PNG")
        else:
            part.write_text(_page(frames, sheets, method), encoding="utf-8")


def sheet(frame: Shown, method: str) -> npt.NDArray[np.uint8]:
    """Three panels with their gray scales, and profiles along the middle row and column: RGB."""
    width, top = 3 * _SIDE + 4 * _GAP, 44
    panels = [_panel(part) for part in (frame.raw, frame.background, frame.corrected)]
    height = max(panel.height for panel, _ in panels)
    page = Image.new("RGB", (width, top + height + 2 * _PLOT + 4 * _GAP + 20), _PAPER)
    draw = ImageDraw.Draw(page)
    font: Any = ImageFont.load_default(14)
    words = ("raw less dark, counts", f"background ({method})", "corrected, transmission")
    draw.text((_GAP, 6), frame.name, _INK, font)
    for i, ((panel, (low, high)), label) in enumerate(zip(panels, words, strict=True)):
        left = _GAP + i * (_SIDE + _GAP)
        draw.text((left, 24), f"{label}: {low:.4g} … {high:.4g}", _INK, font)
        page.paste(panel, (left, top))
    raw, done = frame.raw / np.nanmedian(frame.raw), frame.corrected / np.nanmedian(frame.corrected)
    for i, (axis, label) in enumerate(((0, "middle rows"), (1, "middle columns"))):
        box = (_GAP, top + height + _GAP + i * (_PLOT + _GAP), width - _GAP, 0)
        _profile(draw, box, (_line(raw, axis), _line(done, axis)), f"{label}, over the median", font)
    before, after = slowness(frame.raw), slowness(frame.corrected)
    draw.text(
        (_GAP, page.height - 26),
        f"flatness, raw to corrected, sample included: {before.cv:.4f} to {after.cv:.4f} "
        "after a blur of 4 px, "
        f"{before.slow:.4f} to {after.slow:.4f} of an eighth of the frame",
        _INK,
        font,
    )
    return np.asarray(page)


def _panel(values: Field) -> tuple[Any, tuple[float, float]]:
    """A gray picture _SIDE pixels wide between the 0.5th and the 99.5th percentile; nan is red."""
    low, high = (float(v) for v in np.nanpercentile(values, (0.5, 99.5)))
    span = max(high - low, 1e-9 * max(abs(high), 1.0))
    gray = np.nan_to_num((values - low) / span).clip(0, 1)
    rgb = np.repeat((255 * gray)[..., None], 3, -1).astype(np.uint8)
    rgb[~np.isfinite(values)] = (200, 30, 30)
    h, w = values.shape
    size = (_SIDE, max(24, min(2 * _SIDE, round(_SIDE * h / w))))
    return Image.fromarray(rgb).resize(size, Image.Resampling.BOX), (low, high)


def _line(picture: Field, axis: int) -> npt.NDArray[np.float64]:
    """The median of nine rows or columns in the middle."""
    middle = picture.shape[axis] // 2
    band = np.take(picture, range(max(0, middle - 4), min(picture.shape[axis], middle + 5)), axis)
    return np.asarray(np.nanmedian(band, axis=axis), np.float64)


def _profile(
    draw: Any, box: tuple[int, int, int, int], lines: Sequence[Field], label: str, font: Any
) -> None:
    left, top, right, _ = box
    low, high = (float(f(np.concatenate(lines))) for f in (np.nanmin, np.nanmax))
    span = max(high - low, 1e-9)
    draw.rectangle((left, top, right, top + _PLOT), outline=(90, 90, 90))

    def down(value: float) -> float:
        return top + _PLOT * (1 - (value - low) / span)

    if low < 1 < high:
        draw.line((left, down(1), right, down(1)), (90, 90, 90))
    for values, colour in zip(lines, (_RAW, _DONE), strict=True):
        x = np.linspace(left, right, len(values))
        points = [(a, down(float(b))) for a, b in zip(x, values, strict=True) if np.isfinite(b)]
        draw.line(points, colour, 1)
    draw.text((left + 6, top + 2), f"{label}: {low:.3g} … {high:.3g}", _INK, font)
    draw.text((right - 150, top + 2), "raw", _RAW, font)
    draw.text((right - 100, top + 2), "corrected", _DONE, font)


def _page(frames: Sequence[Shown], sheets: Sequence[npt.NDArray[np.uint8]], method: str) -> str:
    rows, pictures = [], []
    for frame, picture in zip(frames, sheets, strict=True):
        before, after = slowness(frame.raw), slowness(frame.corrected)
        name = html.escape(frame.name)
        cells = "".join(f"<td>{v:.4f}</td>" for v in (before.cv, after.cv, before.slow, after.slow))
        rows.append(f"<tr><td>{name}</td>{cells}</tr>")
        data = io.BytesIO()
        Image.fromarray(picture).save(data, "PNG")
        source = base64.b64encode(data.getvalue()).decode()
        pictures.append(
            f'<img src="data:image/png;base64,{source}" alt="{name}: raw, background, corrected">'
        )
    return _PAGE.substitute(method=html.escape(method), rows="\n".join(rows), pictures="\n".join(pictures))


_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src
'unsafe-inline'"> <title>Background correction: $method</title>
<style>
  body { margin: 1rem; background: #1a1a1a; color: #eee; font: 1rem/1.4 system-ui, sans-serif; }
  img { max-width: 100%; height: auto; display: block; margin-top: 1rem; }
  td, th { padding: .2rem .8rem; text-align: right; }
  td:first-child { text-align: left; }
</style>
</head>
<body>
<h1>Background correction: $method</h1>
<table>
<tr><th>frame</th><th>raw, blur 4 px</th><th>corrected</th><th>raw, blur ⅛ frame</th><th>corrected</th></tr>
$rows
</table>
<p>Standard deviation over mean, the sample included: a picture that is flat because the sample is gone is no
good one. Each panel is stretched between its 0.5th and 99.5th percentile.</p>
$pictures
</body>
</html>
""")
