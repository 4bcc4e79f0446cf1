r"""Mosaics of 8×8 tiles of 512² against their truth: our solution, classical practice, what light allows.

    python benchmarks/xray_mosaics.py --lines mosaics.jsonl --name HERE

Sessions of the test split as they are drawn: every kind of sample, absorption and Zernike contrast, overlaps
of 2 to 24 %, gains that depend on the sample. About four minutes a session on one core. Classical practice
is handed the true places, once as it is and once less the expected glare and outliers, as ours is; the last
row the true light and glare of every tile too, so that photon noise is all that is left.
"""

__all__ = ["main"]

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quality import filed
from relume import __version__
from relume.background import Artefacts, mended
from relume.degrade.illumination import TEST, Mosaic, Shot
from relume.degrade.illumination.formation import intensity
from relume.mosaic import Prior, Settings, Solution, solve
from relume.mosaic.balance import Balance, Gauge
from relume.mosaic.looks import Looks
from relume.tasks.xray_eval import judge_mosaic
from xray_acceptance import summed

HERE = Path(__file__).resolve().parent
Row = dict[str, float]


def spread(mosaic: Mosaic) -> float:
    """Of gains, as the command takes it for the contrast that a user tells."""
    return 0.15 if mosaic.optics.zernike else 0.02


def divided(looks: Looks, field: np.ndarray, places: np.ndarray) -> Solution:
    """All tiles over one field, with one gain."""
    n = len(looks)
    level = np.full(n, np.median([np.median(looks[i]) for i in range(n)]))
    held = Balance(level, np.zeros((n, 5)), np.zeros(14), np.zeros(n), Gauge(0, [], [], {}))
    return Solution(places, [], field - np.median(field), held, (1.0, 1.0))


def cleared(looks: Looks) -> Looks:
    """The same tiles less what the camera adds, as it is expected."""
    return Looks(looks.tiles, looks.dark, artefacts=Artefacts())


def ours(mosaic: Mosaic, shots: Sequence[Shot], looks: Looks, *, empty: bool = True) -> Row:
    settings = Settings(prior=Prior(gain=spread(mosaic), empty=empty))
    return judge_mosaic(mosaic, shots, looks, solve(looks, mosaic.nominal, settings=settings))


def median(mosaic: Mosaic, shots: Sequence[Shot], looks: Looks) -> Row:
    field = np.median(np.stack([looks[i] - np.median(looks[i]) for i in range(len(looks))]), axis=0)
    return judge_mosaic(mosaic, shots, looks, divided(looks, field, mosaic.positions))


def flat(mosaic: Mosaic, shots: Sequence[Shot], looks: Looks) -> Row:
    """Ten exposures of the empty field when the first tile was taken."""
    dark = mosaic.simulator.session.detector.dark
    empty = looks.artefacts.cleared(mosaic.simulator.flat(0, exposures=10) - dark)
    field = np.log(np.maximum(empty, 1.0))
    return judge_mosaic(mosaic, shots, looks, divided(looks, field, mosaic.positions))


def exact(mosaic: Mosaic, shots: Sequence[Shot], looks: Looks) -> Row:
    """Each tile less its true glare and outliers, over its own true light: what photon noise leaves."""
    common = np.mean([np.log(shot.background) for shot in shots], axis=0)
    glare = mosaic.simulator.session.detector.glare
    counts = []
    for shot in shots:
        light = intensity(shot.clean, shot.background, shot.gain, glare)
        through = shot.gain * shot.background * shot.clean
        a_quantum = np.median(shot.raw - looks.dark) / np.median(light)
        seen = mended(shot.raw - looks.dark).counts / a_quantum - (light - through)
        counts.append(1e4 * np.maximum(seen / (shot.gain * shot.background), 1e-6))
    lit = Looks([each * np.exp(common) for each in counts])
    return judge_mosaic(mosaic, shots, lit, divided(lit, common, mosaic.positions))


CONTENDERS: dict[str, Callable[[Mosaic, Sequence[Shot], Looks], Row]] = {
    "flat": flat,
    "median": median,
    "flat-cleared": lambda mosaic, shots, looks: flat(mosaic, shots, cleared(looks)),
    "median-cleared": lambda mosaic, shots, looks: median(mosaic, shots, cleared(looks)),
    "as-it-is": ours,
    "no-empty": lambda mosaic, shots, looks: ours(mosaic, shots, cleared(looks), empty=False),
    "solve": lambda mosaic, shots, looks: ours(mosaic, shots, cleared(looks)),
    "exact": exact,
}


def asked(description: str | None, quick: str) -> argparse.Namespace:
    """The options of a benchmark on simulated mosaics."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    parser.add_argument("--lines", type=Path, help="keep each answer as a line of JSON, to go on from")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--name", help="name of the machine: write a file of results")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    return parser.parse_args()


def answers(path: Path | None) -> list[dict[str, Any]]:
    """The lines of a run before, but for one that was cut off."""
    if path is None or not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def kept(path: Path | None, **line: Any) -> None:
    """Adds a line."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def main() -> None:
    """Prints the means, and writes them if the machine is named."""
    args = asked(__doc__, "one mosaic of 4×4 tiles of 128²")
    side, size = (4, 128) if args.quick else (8, 512)
    there: dict[tuple[str, int], Row] = {
        (x["contender"], x["seed"]): x["figures"] for x in answers(args.lines)
    }
    rows: dict[str, list[Row]] = {name: [] for name in CONTENDERS}
    drawn: list[dict[str, Any]] = []
    for seed in TEST[args.first :][: 1 if args.quick else args.sessions]:
        mosaic = Mosaic(seed, side, size)
        contrast = "Zernike" if mosaic.optics.zernike else "absorption"
        overlap = round(1 - mosaic.step / mosaic.n, 3)
        drawn.append({"seed": seed, "kind": mosaic.sample.kind, "contrast": contrast, "overlap": overlap})
        shots: list[Shot] = []
        for name, contender in CONTENDERS.items():
            if (name, seed) not in there:
                shots = shots or list(mosaic)
                looks = Looks([shot.raw for shot in shots], mosaic.simulator.session.detector.dark)
                there[name, seed] = contender(mosaic, shots, looks)
                kept(args.lines, contender=name, seed=seed, figures=there[name, seed])
            rows[name].append(there[name, seed])
            figures = {key: round(value, 4) for key, value in rows[name][-1].items()}
            print(seed, mosaic.sample.kind, contrast, name, figures, flush=True)
    found = summed(rows)
    if args.name:
        filed("xray-mosaics", {"mosaics": drawn, "figures": found, "each": rows}, args)


if __name__ == "__main__":
    main()
