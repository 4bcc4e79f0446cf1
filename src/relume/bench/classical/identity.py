r"""Do nothing: the damaged picture as it is."""

__all__ = ["ROW"]

from relume.bench.classical.row import Row

ROW = Row("identity", "the damaged picture", lambda picture: picture, control=True)
