"""Writes the tables of README.md and docs from the committed results, or says which differ (--check).

A table stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``. Those of engines, serving and
inversion are written by their scripts (--page); here are the others, which are made of results alone.
--card PATH writes the means of the quality file into the card of a photo model, too, --xray-card those of the
acceptance into that of an X-ray model.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from relume import __version__
from relume import bundle as bundles
from relume.cli.streams import write_text
from xray_table import (
    acceptance,
    by_light,
    mosaics,
    mosaics_each,
    on_measured,
    own_references,
    quality_for_card,
    side_by_side,
    small_mosaics,
)

HERE = Path(__file__).resolve().parent
HOUSE = HERE.parent
Facts = Mapping[str, Any]

# Row of the quality file → its name in README.md, and in a card.
CHIEF = {
    "identity": "damaged",
    "nlmeans": "non-local means",
    "autocontrast": "auto contrast",
    "combined": "median, inpainting, auto contrast",
    "restored": "**restored, 1 step** (default)",
    "4-steps": "restored, 4 steps",
    "sharp": "restored, `-w 0` (sharp)",
}
CARD = {
    "identity": "damaged",
    "denoise": "median 3x3, then non-local means",
    "combined": "median, inpainting, auto contrast",
    "restored": "restored",
    "4-steps": "restored, 4 steps",
    "sharp": "restored, fidelity 0",
}
OURS = {
    "restored": "**restored**",
    "4-steps": "4 steps",
    "sharp": "fidelity 0",
    "light-kept": "light kept",
    "tone-kept": "tone kept",
}
COLUMNS = {  # figure → title, decimals
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 3),
    "tone_aligned_psnr": ("aligned", 2),
    "gmsd": ("GMSD", 3),
    "haarpsi": ("HaarPSI", 3),
    "delta_e2000": ("ΔE00", 2),
    "gradient_energy": ("gradient", 2),
    "mask_auc": ("AUC", 3),
    "clean_psnr": ("clean", 1),
}
ROUNDED = {  # figure → key in a card, decimals
    "psnr": ("psnr_db", 3),
    "ssim": ("ssim", 3),
    "tone_aligned_psnr": ("tone_aligned_psnr_db", 3),
    "delta_e2000": ("delta_e2000", 3),
    "face_psnr": ("face_psnr_db", 3),
    "clean_psnr": ("clean_psnr_db", 3),
    "mask_auc": ("mask_auc", 3),
}
LIGHTS = {
    "lens": "light of a wide lens (fourth power of a cosine)",
    "lamp": "a lamp beside the print",
    "edges": "edges that darkened and yellowed",
    "glare": "a window's reflection",
    "stain": "tea",
    "none": "none",
}
PLATES = ("voteview_003142.jpg", "voteview_010037.jpg")  # glass plates with blots
EVIDENCE = {
    "spread": "spread (`--uncertainty`)",
    "residual": "residual",
    "damage": "damage",
    "activity": "activity of the result (control)",
    "invented": "**expected error (`--invented`)**",
}


def marks(name: str) -> tuple[str, str]:
    """What stands before and after a table of that name."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def placed(page: Path, name: str, text: str) -> None:
    """Puts ``text`` between the marks of ``page``, and leaves a page that has it already untouched."""
    old = page.read_text(encoding="utf-8")
    begin, end = marks(name)
    if old.count(begin) != 1 or old.count(end) != 1:
        sys.exit(f"{page} does not hold {begin} and {end}, once each")
    before, rest = old.split(begin)
    new = f"{before}{begin}\n{text.strip()}\n{end}{rest.split(end)[1]}"
    if new != old:
        write_text(new, page, overwrite=True)


def grid(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return (
        "\n".join("| " + " | ".join(line) + " |" for line in lines)
        .replace("| --- ", "|---")
        .replace("--- |", "---|")
    )


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def summary(facts: Facts) -> str:
    """The few rows of the quality file that README.md shows, in dB."""
    titles = ["", "PSNR", "SSIM", "PSNR after the best tone fit", "faces, PSNR", "clean photographs kept"]
    rows = []
    for row, name in CHIEF.items():
        mean = facts["means"][row]
        shown = [f"{mean[figure]:.2f} dB" for figure in ("psnr", "tone_aligned_psnr", "face_psnr")]
        shown.insert(1, f"{mean['ssim']:.3f}")
        shown.append("" if row == "identity" else f"{mean['clean_psnr']:.1f} dB")
        rows.append([name, *(f"**{each}**" if row == "restored" else each for each in shown)])
    return grid(titles, rows)


def quality(facts: Facts) -> str:
    """Every row; of the default those figures are bold that no classical row reaches."""
    classical = [row for row in facts["rows"] if row not in OURS]
    rows = []
    for row in (*classical, *OURS):
        mean, shown = facts["means"][row], []
        for figure, (_, digits) in COLUMNS.items():
            value = mean[figure]
            kept = value is None or (row == "identity" and figure == "clean_psnr")
            text = "" if kept else f"{value:.{digits}f}"
            leads = row == "restored" and ahead(facts, figure, classical)
            shown.append(f"**{text}**" if leads else text)
        rows.append([OURS.get(row, row), *shown])
    return grid(["row", *(title for title, _ in COLUMNS.values())], rows)


def ahead(facts: Facts, figure: str, classical: Sequence[str]) -> bool:
    """Whether the default is better in that figure than each classical row."""
    better, means = facts["figures"][figure]["better"], facts["means"]
    known = [means[row][figure] for row in classical if means[row][figure] is not None]
    if figure == "clean_psnr":  # an untouched picture is kept best of all
        known = [means[row][figure] for row in classical if row != "identity"]
    ours = means["restored"][figure]
    return {"higher": ours > max(known), "lower": ours < min(known)}.get(better, False)


def foreign(facts: Facts) -> str:
    """Means of each family of damage by other code."""
    titles = ["damage", "damaged", "restored", "gain", "aligned: damaged", "restored"]
    rows = []
    for name, values in facts["rows"].items():
        before, after, *aligned = (sum(column) / len(values) for column in zip(*values, strict=True))
        shown = [
            f"{before:.2f}",
            f"{after:.2f}",
            signed(after - before),
            *(f"{each:.2f}" for each in aligned),
        ]
        rows.append([name.replace("_", " "), *shown])
    return grid(titles, rows)


def light(facts: Facts) -> str:
    titles = ["light", "given", "kept", "made even", "even over kept [95 %]", "better, worse by 0.1 dB"]
    rows = []
    for row in facts["rows"]:
        mean, low, high = row["even_over_kept"]
        name = LIGHTS[row["kind"]] + (", on a faded print" if row["faded"] else "")
        change = f"{signed(mean)} [{signed(low)}, {signed(high)}]"
        figures = [f"{value:.2f}" for value in row["psnr_given_kept_even"]]
        rows.append([name, *figures, change, f"{row['better']}, {row['worse']}"])
    return grid(titles, rows)


def invented(facts: Facts) -> str:
    found, count = facts["rank_correlation"], len(facts["photographs"]["names"])
    titles = ["", f"within a photograph (median of {count})", "over all blocks"]
    rows = []
    for part, name in EVIDENCE.items():
        each = found[f"{part} to detail"]
        rows.append([name, f"{each['within_median']:.2f}", f"{each['pooled']:.2f}"])
    return grid(titles, rows)


def tenths(facts: Facts) -> str:
    expected, true = zip(*facts["predicted_and_true_rms_by_tenths"], strict=True)
    head, row = ([f"{value:.3f}" for value in values] for values in (expected, true))
    return grid(["expected", *head], [["true", *row]])


def soft(facts: Facts) -> str:
    """Dark marks alone: mean probability of damage by blur, of each model."""
    models = facts["models"]
    blurs = list(dict.fromkeys(row["blur"] for row in models[0]["rows"]))
    rows = []
    for kind in dict.fromkeys(row["kind"] for row in models[0]["rows"]):
        for number, model in enumerate(models):
            name = kind + (", before" if number < len(models) - 1 else "")
            known = {row["blur"]: row["dark"] for row in model["rows"] if row["kind"] == kind}
            rows.append([name, *(f"{known[blur]:.2f}" for blur in blurs)])
    return grid(["blur (σ, pixels)", *(f"{blur:g}" for blur in blurs)], rows)


def marks_found(facts: Facts) -> str:
    """By kind of mark: the area under the curve, what is found, and what of it stands out how far."""
    classes = list(facts["classes"])
    titles = ["marks", "photographs", "pixels", "AUC, mean (median)", "found", *classes]
    rows = []
    for kind, each in facts["kinds"].items():
        area = f"{each['auc_mean']:.3f} ({each['auc_median']:.3f})"
        split = [f"{percent(part['found'])} of {percent(part['share'])}" for part in each["classes"].values()]
        rows.append([kind, each["photographs"], each["pixels"], area, percent(each["found"]), *split])
    return grid(titles, [[str(cell) for cell in row] for row in rows])


def percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.0f} %"


def told(facts: Facts) -> list[str]:
    """What a column of each of one or two models is called by."""
    return [""] if len(facts["models"]) == 1 else [", before", ", now"]


def saved(facts: Facts) -> str:
    """What was painted on photographs that were then saved: how much of it is found, and what wrongly."""
    titles = ["after the marks", *(f"found{when} (wrongly)" for when in told(facts))]
    rows = []
    for laid in facts["models"][0]["painted"]:
        found = [model["painted"][laid] for model in facts["models"]]
        rows.append([laid, *(f"{100 * f['found']:.0f} % ({100 * f['wrongly']:.1f} %)" for f in found)])
    return grid(titles, rows)


def plates(facts: Facts) -> str:
    """Of the plates the share where damage was found, and of that at full size alone, by model."""
    titles = ["found, %", *(f"`{plate}`{when}" for plate in PLATES for when in told(facts))]
    rows = []
    for laid in facts["models"][0]["genuine"][PLATES[0]]:
        found = [model["genuine"][plate][laid] for plate in PLATES for model in facts["models"]]
        rows.append([laid, *(f"{100 * whole:.2f} ({100 * full:.2f})" for whole, full in found)])
    return grid(titles, rows)


# Name of a table → the suite whose file it is made of, its page, and how.
TABLES: dict[str, tuple[str, str, Callable[[Facts], str]]] = {
    "summary": ("quality", "README.md", summary),
    "quality": ("quality", "docs/evaluate.md", quality),
    "marks-found": ("marks-found", "docs/evaluate.md", marks_found),
    "foreign": ("foreign", "docs/evaluate.md", foreign),
    "light": ("light", "docs/evaluate.md", light),
    "invented": ("invented", "docs/provenance.md", invented),
    "tenths": ("invented", "docs/provenance.md", tenths),
    "saved": ("blocks", "docs/methods.md", saved),
    "plates": ("blocks", "docs/methods.md", plates),
    "soft-marks": ("soft-marks", "docs/methods.md", soft),
    "acceptance": ("xray-acceptance", "docs/xray.md", acceptance),
    "by-light": ("xray-acceptance", "docs/xray.md", by_light),
    "own-references": ("xray-references", "docs/xray.md", own_references),
    "mosaics": ("xray-mosaics", "docs/xray.md", mosaics),
    "small-mosaics": ("xray-small-mosaics", "docs/xray.md", small_mosaics),
    "mosaics-each": ("xray-mosaics", "docs/xray.md", mosaics_each),
    "side-by-side": ("xray-methods", "docs/xray.md", side_by_side),
    "on-measured": ("xray-measured", "docs/xray.md", on_measured),
}


def measured(suite: str, results: Path) -> Facts:
    """The committed file of a suite; there is one for each version."""
    found = sorted(results.glob(f"{suite}--*.json"))
    if len(found) != 1:
        sys.exit(f"{results} holds {len(found)} files of the suite {suite}: one is wanted")
    facts: Facts = json.loads(found[0].read_text(encoding="utf-8"))
    return facts


def stale(name: str, results: Path) -> bool:
    """Whether the page shows something else than the results say."""
    suite, page, make = TABLES[name]
    begin, end = marks(name)
    text = (HOUSE / page).read_text(encoding="utf-8")
    return f"{begin}\n{make(measured(suite, results)).strip()}\n{end}" not in text


def means_for_card(facts: Facts) -> dict[str, Any]:
    """What a card says of the quality: means of a few rows."""
    damage = facts["damage"]
    told: dict[str, Any] = {
        "photographs": len(facts["photographs"]["names"]),
        "recipe": f"{damage['recipe']}, severity {damage['severity']:g}, seed {damage['seed']} "
        "and the file name",
        "engine": facts["engine"],
    }
    for row, name in CARD.items():
        mean = facts["means"][row]
        known = {figure: value for figure, value in mean.items() if value is not None}
        told[name] = {
            key: round(known[figure], digits) for figure, (key, digits) in ROUNDED.items() if figure in known
        }
    return told


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table is stale")
    parser.add_argument("--card", type=Path, metavar="DIR", help="a model that was measured")
    parser.add_argument("--xray-card", type=Path, metavar="DIR", help="an X-ray model that was measured")
    parser.add_argument("--results", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    if args.check:
        if old := [name for name in TABLES if stale(name, args.results)]:
            sys.exit(f"stale: {', '.join(old)}; python benchmarks/pages.py writes them anew")
        return
    for name, (suite, page, make) in TABLES.items():
        placed(HOUSE / page, name, make(measured(suite, args.results)))
    for path, suite, told in (
        (args.card, "quality", means_for_card),
        (args.xray_card, "xray-acceptance", quality_for_card),
    ):
        if path is not None:
            card = dict(bundles.find(path).card)
            bundles.write_card(path, card | {"quality": told(measured(suite, args.results))})


if __name__ == "__main__":
    main()
