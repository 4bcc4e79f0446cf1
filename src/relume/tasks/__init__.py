r"""Tasks: Image → Image, what a user asks for by name; the only place where the parts meet."""

__all__ = ["Restoration", "Restorer", "Settings"]

from relume.tasks.restore import Restoration, Restorer, Settings
