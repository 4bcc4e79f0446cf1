"""What the model xray reaches beside what is asked for: the table of docs/xray.md, and a card's words."""

__all__ = [
    "acceptance",
    "by_light",
    "mosaics",
    "mosaics_each",
    "on_measured",
    "own_references",
    "quality_for_card",
    "side_by_side",
    "small_mosaics",
]

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

Facts = Mapping[str, Any]


class Claim(NamedTuple):
    """One row: what is asked, which figure answers, how it is shown, and within which bounds it is to lie.

    ``beside`` are figures of the same question for comparison: what each is called, and its name there.
    """

    asked: str
    question: str
    figure: str
    shape: str
    low: float = float("-inf")
    high: float = float("inf")
    beside: tuple[tuple[str, str], ...] = ()


DB, SMALL = "{:.1f} dB", "{:.3f}"
CLAIMS = (
    Claim(
        "instrument and session never seen: PSNR",
        "unseen",
        "psnr",
        DB,
        low=30.0,
        beside=(
            ("Gaussian", "gaussian_psnr"),
            ("polynomial", "polynomial_psnr"),
            ("raw", "none_psnr"),
            ("ours with glare and outliers left in", "bare_psnr"),
            ("the true background as far as the grid shows it", "grid_psnr"),
            ("the true background", "true_psnr"),
        ),
    ),
    Claim("the same, over the better classical method", "unseen", "over_best", "{:+.1f} dB", low=2.5),
    Claim("the same, over the better of the two image by image", "unseen", "over_each", "{:+.1f} dB"),
    Claim(
        "samples of a kind never seen: PSNR",
        "unseen-sample",
        "psnr",
        DB,
        beside=(("Gaussian", "gaussian_psnr"), ("polynomial", "polynomial_psnr")),
    ),
    Claim(
        "samples that leave nothing empty: PSNR",
        "full-field",
        "psnr",
        DB,
        low=26.0,
        beside=(("polynomial", "polynomial_psnr"), ("raw", "none_psnr")),
    ),
    Claim("the same, over the raw image, at least", "full-field", "least_over_raw", "{:+.1f} dB", low=0.0),
    Claim(
        "known instrument, 8 flats of other days: PSNR",
        "known",
        "psnr",
        DB,
        low=33.5,
        beside=(
            ("stale flat", "stale_psnr"),
            ("stale flat less glare and outliers", "cleared_stale_psnr"),
            ("ours with them left in", "bare_psnr"),
            ("with no flat", "of_0_psnr"),
            ("with one", "of_1_psnr"),
            ("with two", "of_2_psnr"),
            ("the true background", "true_psnr"),
        ),
    ),
    Claim(
        "the same: mean abs. error of optical density",
        "known",
        "density_error",
        SMALL,
        high=0.025,
        beside=(("stale flat", "stale_density_error"), ("the true background", "true_density_error")),
    ),
    Claim(
        "the same: flatness",
        "known",
        "flatness",
        SMALL,
        high=0.020,
        beside=(("stale flat", "stale_flatness"),),
    ),
    *(
        Claim(
            f"{count} images of one session together (`series`): PSNR",
            "series",
            f"of_{count}_psnr",
            DB,
            beside=beside,
        )
        for count, beside in (
            (4, ()),
            (8, ()),
            (
                20,
                (
                    ("one alone", "alone_psnr"),
                    ("their median", "median_psnr"),
                    ("the true background", "true_psnr"),
                ),
            ),
        )
    ),
    Claim("the same, of 20: mean abs. error of optical density", "series", "of_20_density_error", SMALL),
    Claim("the same, of 20: 90 % interval of ln B", "series", "of_20_coverage", "{:.1%}"),
    Claim("nothing in the light: slow error of T", "empty", "rms", "{:.2%}", high=0.01),
    Claim("one light behind two samples: rms change of ln B", "other-sample", "rms", SMALL, high=0.02),
    Claim(
        "wedge in absorption: slope of optical density",
        "steps",
        "slope",
        "{:.3f}",
        low=0.95,
        high=1.05,
        beside=(
            ("ours with glare left in", "bare_slope"),
            ("the true background with glare left in", "true_bare_slope"),
            ("the true background", "true_slope"),
        ),
    ),
    Claim("90 % interval of ln B, unknown instrument", "unseen", "coverage", "{:.1%}", low=0.85, high=0.95),
    Claim("the same, known instrument", "known", "coverage", "{:.1%}", low=0.85, high=0.95),
)


def answered(claim: Claim, facts: Facts) -> Mapping[str, float]:
    """Mean and interval of a claim's figure."""
    figures: Mapping[str, Mapping[str, float]] = facts["figures"][claim.question]
    if claim.figure == "over_best":  # the better one by its mean
        return min((figures["over_gaussian"], figures["over_polynomial"]), key=lambda row: row["mean"])
    if claim.figure == "least_over_raw":
        least = figures["over_raw"]["least"]
        return {"mean": least, "low": least, "high": least}
    return figures[claim.figure]


def verdict(claim: Claim, found: Mapping[str, float]) -> str:
    """What was wanted, and whether the whole interval, the mean alone or neither keeps it."""
    low, high = claim.low, claim.high
    bounds = [bound for bound in (low, high) if abs(bound) != float("inf")]
    if not bounds:
        return ""
    percent = claim.shape.endswith("%}")
    wanted = " to ".join(f"{100 * bound:g}" if percent else f"{bound:g}" for bound in bounds)
    wanted += "%" if percent else ""
    if low <= found["low"] and found["high"] <= high:
        return f"{wanted}, met"
    if low <= found["mean"] <= high:
        return f"{wanted}, met by the mean, not by the interval"
    return f"{wanted}, **missed**"


def acceptance(facts: Facts) -> str:
    """The table of docs/xray.md."""
    lines = ["| question | the model `xray` | wanted | beside it |", "|---|---|---|---|"]
    for claim in CLAIMS:
        found, figures = answered(claim, facts), facts["figures"][claim.question]
        shown = claim.shape.format(found["mean"])
        if found["low"] < found["high"]:
            low, high = (claim.shape.format(found[end]).removesuffix(" dB") for end in ("low", "high"))
            shown += f" ({low} to {high})"
        beside = ", ".join(f"{name} {claim.shape.format(figures[key]['mean'])}" for name, key in claim.beside)
        lines.append(f"| {claim.asked} | {shown} | {verdict(claim, found)} | {beside} |")
    return re.sub(r"(?<=\d)%", " %", "\n".join(lines).replace(" -", " −"))


def by_light(facts: Facts) -> str:
    """The first questions in light as the sessions draw it, and in that of two measured series."""
    lights = {"": "300 to 15,000, as drawn", "-strong": "12,000", "-weak": "2,700"}
    rows = (
        ("instrument and session never seen: PSNR", "unseen", "psnr", DB),
        ("known instrument, 8 flats of other days: PSNR", "known", "psnr", DB),
        ("the same with no flat", "known", "of_0_psnr", DB),
        ("with one", "known", "of_1_psnr", DB),
        ("with two", "known", "of_2_psnr", DB),
        ("stale flat", "known", "stale_psnr", DB),
        ("stale flat less glare and outliers", "known", "cleared_stale_psnr", DB),
        ("the true background", "known", "true_psnr", DB),
        ("known instrument: error of optical density", "known", "density_error", SMALL),
        ("the same over a stale flat", "known", "stale_density_error", SMALL),
        ("the same over the true background", "known", "true_density_error", SMALL),
        ("known instrument: 90 % interval holds", "known", "coverage", "{:.1%}"),
    )
    lines = [f"| quanta a pixel | {' | '.join(lights.values())} |", "|---" * 4 + "|"]
    for name, question, figure, shape in rows:
        found = [facts["figures"][question + light][figure] for light in lights]
        cells = [
            f"{shape.format(each['mean'])} ({shape.format(each['low'])} to {shape.format(each['high'])})"
            for each in found
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return re.sub(r"(?<=\d)%", " %", re.sub(r" dB(?= to|\))", "", "\n".join(lines)))


def on_measured(facts: Facts) -> str:
    """Errors on measured images, of the first model."""
    (found, *_), kinds = facts["models"], ("none", "gaussian", "polynomial", "pix2pix")
    rows = {"`test_chip00.xrm`: error against the reference in the file": found["chip"]}
    rows["`txm_sb_2x2`: backgrounds of two tiles differ by, mean of six pairs"] = {
        "none": 0.0,
        **found["tiles"],
    }
    lines = ["| | none | Gaussian | polynomial | `pix2pix` |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        shown = (f"{row[kind]:.3f}" if row[kind] else "0" for kind in kinds)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def own_references(facts: Facts) -> str:
    """What references of one's own bring, by how they are used."""
    names = {
        "alone": "the model alone",
        "map-of-few": f"with the map of {facts['few']} references",
        "map-of-all": f"with the map of {facts['references']}",
        "tuned": f"after training on the {facts['references']}, with their map",
        "stale": "a flat of the same session, its shape 1.5 % off",
        "true": "the true background",
    }
    lines = ["| | PSNR | optical density | flatness | 90 % interval holds |", "|---|---|---|---|---|"]
    for key, name in names.items():
        row = facts["figures"][key]
        psnr = "{mean:.1f} dB ({low:.1f} to {high:.1f})".format(**row["psnr"])
        held = f"{row['coverage']['mean']:.1%}".replace("%", " %") if "coverage" in row else ""
        shown = (f"{row[figure]['mean']:.3f}" for figure in ("density_error", "flatness"))
        lines.append(f"| {name} | {psnr} | {' | '.join(shown)} | {held} |")
    return "\n".join(lines)


MOSAICS = {
    "flat": "all tiles over one flat, taken at the first; true places",
    "flat-cleared": "the same less glare and outliers",
    "median": "all over the median of the tiles; true places",
    "median-cleared": "the same less glare and outliers",
    "as-it-is": "`relume xray mosaic --glare 0 --outliers keep`",
    "no-empty": "`relume xray mosaic --no-empty`",
    "solve": "**`relume xray mosaic`**",
    "exact": "each less its true glare and outliers, over its true light; true places",
}


def mosaics(facts: Facts) -> str:
    """Mosaics, by how they were made, means of all with their intervals."""
    lines = ["| | PSNR | optical density | seams | slow bias |", "|---|---|---|---|---|"]
    for key, name in MOSAICS.items():
        row = facts["figures"][key]
        psnr = "{mean:.1f} dB ({low:.1f} to {high:.1f})".format(**row["psnr"])
        others = (
            "{mean:.3f} ({low:.3f} to {high:.3f})".format(**row[figure])
            for figure in ("density_error", "seam", "bias")
        )
        lines.append(f"| {name} | {psnr} | {' | '.join(others)} |")
    return "\n".join(lines)


def small_mosaics(facts: Facts) -> str:
    """Mosaics of few tiles by the estimator of their light: PSNR, and optical density and seams of two."""
    figures = facts["figures"]
    sides = sorted({int(name.split("x")[0]) for name in figures})
    names = {
        "location": "`location`",
        "pix2pix": "`pix2pix`",
        "gradients": "`gradients`",
        "series": "**`series`**",
        "exact": "true light",
    }
    two = ("gradients", "series")
    lines = [
        f"| tiles | PSNR, dB: {' | '.join(names.values())} | optical density, `gradients` → `series` "
        "| seams |",
        "|---" * (len(names) + 3) + "|",
    ]
    for side in sides:
        rows = {name: figures[f"{side}x{side}_{name}"] for name in names}
        cells = [f"{side}×{side}", *(f"{row['psnr']['mean']:.1f}" for row in rows.values())]
        cells += [
            " → ".join(f"{rows[name][figure]['mean']:.3f}" for name in two)
            for figure in ("density_error", "seam")
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def mosaics_each(facts: Facts) -> str:
    """Each mosaic: what it is, and its figures with glare left in, without empty parts, and by default,
    beside true light."""
    lines = [
        "| session | sample, contrast, overlap | PSNR: `--glare 0 --outliers keep`, `--no-empty`, default "
        "(true light) | seams "
        "| slow bias | places off, pixels | pitch (truth) |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, drawn in enumerate(facts["mosaics"]):
        names = ("as-it-is", "no-empty", "solve", "exact")
        bare, before, found, exact = (facts["each"][key][number] for key in names)
        cells = (
            str(drawn["seed"]),
            f"{drawn['kind']}, {drawn['contrast']}, {drawn['overlap']:.0%}".replace("%", " %"),
            f"{bare['psnr']:.1f}, {before['psnr']:.1f}, {found['psnr']:.1f} ({exact['psnr']:.1f})",
            f"{found['seam']:.3f}",
            f"{before['bias']:.3f} → {found['bias']:.3f}",
            f"{found['places']:.2f}",
            f"{found['pitch']:.1f} ({found['pitch_truth']:.1f})",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def side_by_side(facts: Facts) -> str:
    """Methods: PSNR of the image as it is and less glare, the other figures of the better of both."""
    lines = [
        "| method | needs | PSNR, dB: as it is | less glare and outliers | SSIM | optical density | flatness "
        "| one image by the model is ahead by, dB |",
        "|---" * 8 + "|",
    ]
    for name, row in facts["methods"].items():
        ways = {way: row[way] for way in ("as it is", "glare off") if way in row}
        best = max(ways.values(), key=lambda figures: float(figures["psnr"]))
        psnr = [f"{ways[way]['psnr']:.1f}" if way in ways else "" for way in ("as it is", "glare off")]
        others = [f"{best[figure]:.3f}" for figure in ("ssim", "density_error", "flatness")]
        ahead, low, high = best["model_ahead_db"]
        own = name == "model, one image"
        beside = "" if own else f"{ahead:+.1f} ({low:+.1f} to {high:+.1f})"
        cells = [f"**{name}**" if own else name, row["needs"], *psnr, *others, beside]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def quality_for_card(facts: Facts) -> dict[str, Any]:
    """What a card says of the quality: the claims' figures with their intervals."""
    told: dict[str, Any] = {
        "sessions": f"{facts['sessions']['count']} of the test split, 512 pixels, dark level known; "
        "95 % bootstrap intervals",
        "measured_with": "benchmarks/xray_acceptance.py",
    }
    for claim in CLAIMS:
        part = told.setdefault(claim.question, {})
        found = answered(claim, facts)
        part[claim.figure] = {key: found[key] for key in ("mean", "low", "high")}
        for _, key in claim.beside:
            part[key] = {end: facts["figures"][claim.question][key][end] for end in ("mean", "low", "high")}
    return told
