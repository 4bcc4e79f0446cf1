r"""A mark in the noise that a picture is made of: embed(noise, key) → noise; detect(noise, key) → p-value.

>>> import numpy as np
>>> noise = np.random.default_rng(0).standard_normal((1, 64, 64))
>>> mark = TreeRing("a secret")
>>> mark.detect(mark.embed(noise)).p_value < 1e-9, mark.detect(noise).p_value > 1e-3
(True, True)
"""

__all__ = ["Detection", "TreeRing"]

from relume.marks.tree_ring import Detection, TreeRing
