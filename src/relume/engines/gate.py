r"""The gate: an engine runs a model only at a precision at which its pictures were found to be the same.

When a bundle is made, every engine restores the same pictures at every precision it has, and the card keeps
the least PSNR against torch at f32. A figure below the bound, a figure that is missing and a NaN (``null``
in the card) are all the same here: not passed. f32 is the reference and needs no figure.
"""

__all__ = ["LEAST_DB", "PRECISIONS", "figure", "open_to", "passed"]

from collections.abc import Mapping

from relume.bundle import Bundle
from relume.errors import EngineUnavailable, UsageError

# Least PSNR in dB against torch at f32, over the [0,1] range of the restored pictures.
LEAST_DB: Mapping[str, float] = {"f32": 60.0, "bf16": 45.0, "f16": 45.0, "int8": 40.0}

PRECISIONS = ("auto", *LEAST_DB)


def figure(precision: str, engine: str) -> str:
    """The key of the card's ``parity`` under which a PSNR stands.

    >>> figure("bf16", "openvino")
    'bf16_openvino_psnr_db'
    """
    return f"{precision}_{engine}_psnr_db"


def passed(bundle: Bundle, engine: str) -> tuple[str, ...]:
    """The precisions at which this engine passed with this model, the finest first.

    ``engine`` is the first of the names of its file: variants of one engine share its figures.
    """
    listed = bundle.card.get("precisions", ["f32"])
    return tuple(one for one in LEAST_DB if one in listed and _enough(bundle, engine, one))


def open_to(bundle: Bundle, engine: str, precision: str, *, force: bool = False) -> tuple[str, ...]:
    """The precisions that an engine may pick among, when ``precision`` was asked for.

    ``force`` opens a precision that was asked for by name; ``auto`` never comes to one that did not pass.

    Raises:
        UsageError: there is no such precision.
        EngineUnavailable: the engine did not pass at it with this model.
    """
    if precision not in PRECISIONS:
        raise UsageError(f'no precision "{precision}"; there are {", ".join(PRECISIONS)}')
    good = passed(bundle, engine)
    if precision == "auto":
        return good
    if precision in good or force:
        return (precision,)
    raise EngineUnavailable(
        f'model "{bundle.name}" has not passed the parity check at {precision} on {engine} '
        f"({_why(bundle, engine, precision)}); it passed at {', '.join(good) or 'none'}: "
        "use --precision auto, or --force to run it all the same"
    )


def _enough(bundle: Bundle, engine: str, precision: str) -> bool:
    parity = bundle.card.get("parity", {})
    key = figure(precision, engine)
    if precision == "f32" and key not in parity:
        return True
    value = parity.get(key)
    return isinstance(value, int | float) and value >= LEAST_DB[precision]  # NaN is not >= anything


def _why(bundle: Bundle, engine: str, precision: str) -> str:
    parity = bundle.card.get("parity", {})
    key = figure(precision, engine)
    if key not in parity:
        return "not measured"
    value = parity[key]
    if not isinstance(value, int | float):
        return "its result was not finite"
    if value < LEAST_DB[precision]:
        return f"{value:.1f} dB, at least {LEAST_DB[precision]:g} dB is wanted"
    return "the card does not list it"
