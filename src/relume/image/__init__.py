r"""Pictures in and out.

A file on one side, an :class:`Image` on the other: float32 samples in [0,1] together with all that has to
survive the way there and back (alpha, ICC profile, EXIF, resolution, bit depth, format).

======================  =========================================================================
``picture.py``          the :class:`Image` itself
``files.py``            :func:`read`, :func:`encode`, :func:`write`; writes are atomic
``arrays.py``           NumPy arrays and PIL images on the other side instead of a file
``codecs/``             one file format a file, behind one contract
``assemble.py``         decoded samples and raw metadata → :class:`Image`, the same for every format
``colour.py``           ICC profiles ↔ sRGB, CMYK → sRGB
``exif.py``             EXIF blocks and TIFF directories, as bytes
``levels.py``           integers ↔ float32, and the eight orientations
======================  =========================================================================
"""

__all__ = [
    "Image",
    "read",
    "encode",
    "write",
    "from_array",
    "to_array",
    "from_pil",
    "to_pil",
    "is_picture",
    "SUFFIXES",
    "MAX_PIXELS",
]

from .arrays import from_array, from_pil, to_array, to_pil
from .files import MAX_PIXELS, SUFFIXES, encode, is_picture, read, write
from .picture import Image
