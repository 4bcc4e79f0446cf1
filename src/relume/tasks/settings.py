r"""How to restore: every knob of the task, checked."""

__all__ = ["CHAIN_STEPS", "Settings"]

from dataclasses import dataclass
from typing import Literal

from relume.errors import UsageError
from relume.tasks.shading import SHADINGS, Shading
from relume.tasks.tone import TONES, Tone

CHAIN_STEPS = 4


@dataclass(frozen=True)
class Settings:
    """How to restore.

    Parameters
    ----------
    steps:
        Evaluations per tile. ``None`` means 1, or 4 where several samples are wanted.
    seed:
        Decides all noise; the same seed gives the same bytes on the same machine.
    fidelity:
        1 gives the expected picture, which is a little too smooth; less brings its own fine detail back, up
        to the sharpness that the photograph is expected to have had, at 0. Nothing is invented. (A model
        whose card holds no ``detail`` starts with noise in place of that.)
    mask:
        ``auto``: the net finds the damage itself, in the same evaluation that repairs it; ``none``: nothing
        is damaged as far as ``preserve`` and the returned mask are concerned; ``twice``: what the net found
        with a probability above a half it is told in a second pass, whose answer is taken there, at twice
        the time. Blots that were found and only paled pale more or go; on sound photographs more is lost,
        and what was found on a smaller copy alone is filled less well.
    preserve:
        Keep every pixel away from the damage as the (toned) original has it; its light is kept then, too.
    tone:
        What becomes of the tone and colour of the whole photograph. ``revive``: contrast and lost colours
        come back, and the tint of a black-and-white print stays, no stronger than it was; ``neutral``: the
        same, but such a print becomes neutral grey; ``keep``: nothing changes.
    shading:
        What becomes of light that falls off and of fading that is uneven. ``even``: they are undone as far as
        they were seen; ``keep``: not. With ``preserve``, or where ``tone`` is ``keep``,
        they stay anyway.
    strength:
        1: the restored picture; less: so much of the way to it from the picture as it was; 0: the latter.
    samples:
        How many plausible pictures to draw; their mean is the result. They start with half of the noise that
        the model learned, and are as sharp as ``fidelity`` says.
    uncertainty:
        Whether to return the spread over samples (8, if ``samples`` is 1).
    tile:
        Side of the tiles; the model's own by default, halved for pictures that fit into less.
    max_memory:
        Bound on memory in bytes; larger pictures are refused.
    """

    steps: int | None = None
    seed: int = 0
    fidelity: float = 1.0
    mask: Literal["auto", "none", "twice"] = "auto"
    preserve: bool = False
    tone: Tone = "revive"
    shading: Shading = "even"
    strength: float = 1.0
    samples: int = 1
    uncertainty: bool = False
    tile: int | None = None
    max_memory: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.fidelity <= 1:
            raise UsageError(f"fidelity is {self.fidelity}: it lies between 0 (sharp) and 1 (faithful)")
        if self.samples < 1 or self.seed < 0 or (self.steps is not None and self.steps < 1):
            raise UsageError("steps and samples start at 1, and the seed at 0")
        if self.tone not in TONES:
            raise UsageError(f"tone is {self.tone!r}: choose one of {', '.join(TONES)}")
        if self.shading not in SHADINGS:
            raise UsageError(f"shading is {self.shading!r}: choose one of {', '.join(SHADINGS)}")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"strength is {self.strength}: it lies between 0 (as it was) and 1 (restored)")
        if self.mask not in ("auto", "none", "twice"):
            raise UsageError(f"mask is {self.mask!r}: give 'auto', 'none', 'twice' or an array through mask=")

    @property
    def draws(self) -> int:
        """How many pictures are drawn."""
        return 8 if self.uncertainty and self.samples == 1 else self.samples

    @property
    def evaluations(self) -> int:
        """How often the net is asked about each tile, over all draws."""
        return self.draws * (self.steps or (CHAIN_STEPS if self.draws > 1 else 1))
