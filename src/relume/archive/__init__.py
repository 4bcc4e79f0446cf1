r"""An archive: many pictures, each done once, by any number of processes that may die at any moment.

:class:`Shard` says whose a picture is, :class:`Manifest` keeps what happened to it, :class:`Ledger` decides
what is left, and :func:`summarise` tells. Nothing here knows what is done with a picture.
"""

__all__ = ["FOLDER", "Ledger", "Manifest", "Record", "Shard", "Summary", "Work", "summarise", "sweep"]

from relume.archive.ledger import Ledger, Work
from relume.archive.litter import sweep
from relume.archive.manifest import FOLDER, Manifest, Record
from relume.archive.shard import Shard
from relume.archive.summary import Summary, summarise
