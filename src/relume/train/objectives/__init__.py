r"""What is asked of a net: (net, batch) → loss and the figures to log.

>>> objective("restore", {"chain": 0.0}).chain
0.0
"""

__all__ = [
    "OBJECTIVES",
    "Objective",
    "objective",
    "Autoencode",
    "Distil",
    "MatchShading",
    "MatchTone",
    "PredictNoise",
    "ReadBackground",
    "Restore",
    "Translate",
]

from collections.abc import Callable, Mapping
from typing import Any

from relume.errors import UsageError
from relume.train.objectives.autoencode import Autoencode
from relume.train.objectives.background import ReadBackground
from relume.train.objectives.distil import Distil
from relume.train.objectives.noise import PredictNoise
from relume.train.objectives.objective import Objective
from relume.train.objectives.restore import Restore
from relume.train.objectives.shading import MatchShading
from relume.train.objectives.tone import MatchTone
from relume.train.objectives.translate import Translate

OBJECTIVES: Mapping[str, Callable[..., Objective]] = {
    "restore": Restore,
    "tone": MatchTone,
    "shading": MatchShading,
    "epsilon": PredictNoise,
    "distil": Distil,
    "autoencode": Autoencode,
    "translate": Translate,
    "background": ReadBackground,
}


def objective(kind: str, settings: Mapping[str, Any]) -> Objective:
    """The objective of that kind with its settings.

    Raises
    ------
    UsageError
        If the kind or one of the settings is unknown or missing.
    """
    if kind not in OBJECTIVES:
        raise UsageError(f"no objective is called {kind!r}; there are: {', '.join(OBJECTIVES)}")
    try:
        return OBJECTIVES[kind](**settings)
    except TypeError as error:
        raise UsageError(f"objective {kind!r} has other settings ({error})") from error
