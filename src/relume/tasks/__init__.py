r"""Tasks: Image → Image, what a user asks for by name; the only place where the parts meet."""

__all__ = ["TONES", "Restoration", "Restorer", "Scheduler", "Settings", "Shading", "Tone"]

from relume.tasks.restore import Restoration, Restorer
from relume.tasks.scheduler import Scheduler
from relume.tasks.settings import Settings
from relume.tasks.shading import Shading
from relume.tasks.tone import TONES, Tone
