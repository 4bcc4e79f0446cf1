r"""The table that ``relume eval`` prints."""

__all__ = ["per_picture", "table"]

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relume.tasks.evaluate import Score

_NONE = "–"
# Heading, figure, digits.
_COLUMNS = (
    ("PSNR", "psnr", 2),
    ("SSIM", "ssim", 4),
    ("aligned", "tone_aligned_psnr", 2),
    ("GMSD", "gmsd", 4),
    ("HaarPSI", "haarpsi", 3),
    ("ΔE00", "delta_e2000", 2),
    ("gradient", "gradient_energy", 2),
    ("in mask", "rms_damaged", 4),
    ("outside", "rms_undamaged", 4),
    ("AUC", "mask_auc", 3),
    ("seams", "seam_energy", 2),
    ("faces", "face_psnr", 2),
    ("clean", "clean_psnr", 2),
)
_NOTE = """\
In dB: PSNR, aligned (after the best gain and offset), faces, clean (the undamaged picture after the same
treatment), gain over the damaged picture with its 95 % interval. gradient and seams are ratios and come near
1; in mask and outside are errors in the range 0…1. NFE: network evaluations a tile; s: median time."""


def per_picture(score: "Score") -> str:
    """One line while the work goes on."""
    shown = [_cell(score.figures[figure], digits, 8) for _, figure, digits in _COLUMNS[:3]]
    seconds = _cell(score.figures["seconds"], 3, 8)
    return f"{score.method:<14}{''.join(shown)}{seconds} s  {score.picture}"


def table(facts: dict[str, Any], *, count: int) -> str:
    """The means of :func:`~relume.tasks.standings.standings`, a contender a line; – is not measured."""
    means, rows = facts["means"], facts["rows"]
    heads = "".join(f"{head:>9}" for head, _, _ in _COLUMNS)
    lines = [
        f"mean of {count} pictures",
        f"{'':<14}{heads}{'gain dB [95 %]':>24}{'NFE':>5}{'params':>9}{'s':>9}",
    ]
    for name, mean in means.items():
        cells = "".join(_cell(mean[figure], digits, 9) for _, figure, digits in _COLUMNS)
        row = rows[name]
        parameters = None if row["parameters"] is None else row["parameters"] / 1e6
        lines.append(
            f"{name:<14}{cells}{_gain(facts, name):>24}{_cell(row['evaluations'], 0, 5)}"
            f"{_cell(parameters, 2, 8)}{'M' if parameters is not None else ' '}"
            f"{_cell(row['seconds_median'], 3, 9)}"
        )
    return "\n".join([*lines, _NOTE])


def _gain(facts: dict[str, Any], name: str) -> str:
    for each in facts["differences"]:
        if each["ours"] == name and each["theirs"] == "identity":
            found = each["intervals"]["psnr"]
            return f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"
    return _NONE


def _cell(value: float | None, digits: int, width: int) -> str:
    return f"{_NONE:>{width}}" if value is None else f"{value:>{width}.{digits}f}"
