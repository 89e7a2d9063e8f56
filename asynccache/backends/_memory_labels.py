"""Labels in this process's memory."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from asynccache._judging import LabelPage

if TYPE_CHECKING:
    from asynccache._judging import Label

__all__ = ["LabelTrail"]

_KEPT: Final = 10_000  # some 6 MB: who learns from them keeps what they say anyway
_PAGE: Final = 1024


class LabelTrail:
    """The newest labels, numbered from 1 in the order of their arrival; those that callers gave apart."""

    def __init__(self) -> None:
        self._newest = 0
        # Each with its number, in order.
        self._passing: Final[deque[tuple[int, Label]]] = deque(maxlen=_KEPT)
        self._lasting: Final[deque[tuple[int, Label]]] = deque(maxlen=_KEPT)

    def put(self, labels: Sequence[Label]) -> None:
        """Keep some more; the oldest leave, of either kind."""
        for label in labels:
            self._newest += 1
            (self._lasting if label.lasting else self._passing).append((self._newest, label))

    def page(self, after: int) -> LabelPage:
        """The next after a number."""
        if after > self._newest:
            after = 0
        rest = (_after(kind, after) for kind in (self._passing, self._lasting))
        found = list(islice(merge(*rest, key=itemgetter(0)), _PAGE))
        return LabelPage([label for _, label in found], found[-1][0] if found else after, len(found) == _PAGE)

    def clear(self) -> None:
        """Forget all."""
        self._passing.clear()
        self._lasting.clear()


def _after(numbered: deque[tuple[int, Label]], after: int) -> list[tuple[int, Label]]:
    """Those behind a number, a page of them at most."""
    first = bisect_right(numbered, after, key=itemgetter(0))
    return list(islice(numbered, first, first + _PAGE))
