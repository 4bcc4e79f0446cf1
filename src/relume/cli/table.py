r"""The tables that ``relume eval`` prints."""

__all__ = ["per_picture", "table"]

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relume.tasks.evaluate import Score

_NONE = "–"
# Heading, figure, digits. Two tables, so that a terminal of 120 columns holds each.
_CLOSE = (
    ("PSNR", "psnr", 2),
    ("SSIM", "ssim", 4),
    ("aligned", "tone_aligned_psnr", 2),
    ("GMSD", "gmsd", 4),
    ("HaarPSI", "haarpsi", 3),
    ("ΔE00", "delta_e2000", 2),
    ("clean", "clean_psnr", 2),
)
_WHERE = (
    ("gradient", "gradient_energy", 2),
    ("2–4 px", "spectrum_2_4px", 2),
    ("in mask", "rms_damaged", 4),
    ("outside", "rms_undamaged", 4),
    ("AUC", "mask_auc", 3),
    ("IoU", "mask_iou", 3),
    ("F1", "mask_f1", 3),
    ("seams", "seam_energy", 2),
    ("faces", "face_psnr", 2),
    ("SSIM", "face_ssim", 4),
)
_NOTE = """\
In dB: PSNR, aligned (after the best gain and offset), clean (the undamaged picture after the same treatment),
faces, and the gain in PSNR over the damaged picture with its 95 % interval. gradient, 2–4 px (energy at
these wavelengths) and seams are ratios and come near 1; in mask and outside are errors in the range 0…1.
NFE: network evaluations a tile; s: median time of a picture; –: not measured."""


def per_picture(score: "Score") -> str:
    """One line while the work goes on."""
    shown = [_cell(score.figures[figure], digits, 8) for _, figure, digits in _CLOSE[:3]]
    seconds = _cell(score.figures["seconds"], 3, 8)
    return f"{score.method:<14}{''.join(shown)}{seconds} s  {score.picture}"


def table(facts: dict[str, Any], *, count: int) -> str:
    """The means of :func:`~relume.tasks.standings.standings`, a contender a line."""
    means, rows = facts["means"], facts["rows"]
    head = f"{'gain':>22}{'NFE':>5}{'params':>8}{'s':>8}"
    lines = [f"mean of {count} pictures", _heads(_CLOSE) + head]
    for name, mean in means.items():
        row = rows[name]
        size = None if row["parameters"] is None else row["parameters"] / 1e6
        cost = f"{_cell(row['evaluations'], 0, 5)}{_cell(size, 2, 7)}{'M' if size is not None else ' '}"
        cells = _cells(name, mean, _CLOSE)
        lines.append(f"{cells}{_gain(facts, name):>22}{cost}{_cell(row['seconds_median'], 3, 8)}")
    lines += ["", _heads(_WHERE)]
    lines += [_cells(name, mean, _WHERE) for name, mean in means.items()]
    return "\n".join([*lines, _NOTE])


def _heads(columns: tuple[tuple[str, str, int], ...]) -> str:
    return f"{'':<14}" + "".join(f"{head:>9}" for head, _, _ in columns)


def _cells(name: str, mean: dict[str, float | None], columns: tuple[tuple[str, str, int], ...]) -> str:
    return f"{name:<14}" + "".join(_cell(mean[figure], digits, 9) for _, figure, digits in columns)


def _gain(facts: dict[str, Any], name: str) -> str:
    for each in facts["differences"]:
        if each["ours"] == name and each["theirs"] == "identity":
            found = each["intervals"]["psnr"]
            return f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"
    return _NONE


def _cell(value: float | None, digits: int, width: int) -> str:
    return f"{_NONE:>{width}}" if value is None else f"{value:>{width}.{digits}f}"
