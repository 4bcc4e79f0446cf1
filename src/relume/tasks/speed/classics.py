r"""What anybody could do without a model, on the same picture: the rows of :mod:`relume.bench.classical`."""

__all__ = ["classical_subjects"]

from collections.abc import Sequence

from relume.bench.classical import ROWS, Row
from relume.tasks.speed.subject import Picture, Subject


def classical_subjects(pictures: Sequence[Picture], failed: dict[str, str]) -> list[Subject]:
    """One subject a method and picture; those whose library is missing are told in ``failed``."""
    subjects = []
    for row in ROWS.values():
        reason = row.lacking()
        if reason is not None:
            failed[row.name] = reason
        elif not (row.control or row.asked):
            subjects += [_subject(row, picture) for picture in pictures]
    return subjects


def _subject(row: Row, picture: Picture) -> Subject:
    height, width = picture.shape[:2]
    return Subject(
        name=f"{row.title}, {width}×{height}",
        kind="classical",
        size=(height, width),
        picture=lambda: row.restore(picture),
        device="cpu",
    )
