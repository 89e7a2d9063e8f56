"""Which of the waiting texts are embedded together. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

__all__ = ["alike", "first"]

_QUARTER: Final = 4
"""A batch is computed at the length of its longest text. Beyond a quarter more or less than the oldest's,
the padding costs more than the company gains."""


def alike(sizes: Iterable[int], *, most: int) -> list[int]:
    """The oldest text, and the next oldest whose size is within a quarter of its own.

    Args:
        sizes: of the waiting texts, oldest first; at least one.
        most: texts in a batch.

    Returns:
        Places in ``sizes``, ascending.
    """
    waiting = enumerate(sizes)
    place, oldest = next(waiting)
    near = (place for place, size in waiting if _QUARTER * abs(size - oldest) <= oldest)
    return [place, *islice(near, most - 1)]


def first(sizes: Iterable[int], *, most: int) -> list[int]:
    """The oldest texts, whatever their sizes; arguments and result as ``alike``."""
    return [place for place, _ in islice(enumerate(sizes), most)]
