"""Labels in this process's memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from asynccache._judging import LabelPage

if TYPE_CHECKING:
    from asynccache._judging import Label

__all__ = ["LabelTrail"]

_KEPT: Final = 10_000  # some 6 MB: who learns from them keeps what they say anyway
_PAGE: Final = 1024


class LabelTrail:
    """The newest labels, numbered from 1 in the order of their arrival."""

    def __init__(self) -> None:
        self._labels: Final[deque[Label]] = deque(maxlen=_KEPT)
        self._newest = 0

    def put(self, labels: Sequence[Label]) -> None:
        """Keep some more; the oldest leave."""
        self._labels.extend(labels)
        self._newest += len(labels)

    def page(self, after: int) -> LabelPage:
        """The next after a number."""
        oldest = self._newest - len(self._labels)
        first = max(after if after <= self._newest else 0, oldest)
        labels = list(islice(self._labels, first - oldest, first - oldest + _PAGE))
        cursor = first + len(labels)
        return LabelPage(labels, cursor, cursor < self._newest)

    def clear(self) -> None:
        """Forget all."""
        self._labels.clear()
