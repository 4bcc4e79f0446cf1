r"""A mark: embed(array) → array, detect(array) → p-value, by a secret key.

>>> import numpy as np
>>> noise = np.random.default_rng(0).standard_normal((1, 64, 64))
>>> mark = TreeRing("a secret")
>>> mark.detect(mark.embed(noise)).p_value < 1e-9, mark.detect(noise).p_value > 1e-3
(True, True)

``tree-ring`` is put into the noise that a picture is made of, and looked for in the noise that inversion
recovers; ``lattice`` is put into the picture itself. The p-value of both rests on one theorem: the key is a
random direction, so its cosine with whatever it is compared with has a known law, for any picture.
"""

__all__ = ["MARKS", "Detection", "Lattice", "LatticeDetection", "Mark", "RingDetection", "TreeRing"]

from collections.abc import Callable

from relume.marks.lattice import Lattice, LatticeDetection
from relume.marks.mark import Detection, Mark
from relume.marks.tree_ring import RingDetection, TreeRing

MARKS: dict[str, Callable[[str], Mark]] = {"tree-ring": TreeRing, "lattice": Lattice}
