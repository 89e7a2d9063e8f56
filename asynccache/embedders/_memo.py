"""The vectors of texts embedded lately."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from asynccache._lru import LRU

if TYPE_CHECKING:
    from asynccache.embedders._rows import Row

__all__ = ["Memo"]

_BYTES_EACH: Final = 8 * 2**10
"""A vector of 1024 numbers and a text as long; longer ones use up the room of several."""

_FOREVER: Final = float("inf")


class Memo:
    """Text to vector; forgets what was used least recently.

    Args:
        size: texts held at most; 0 holds none.
    """

    def __init__(self, size: int) -> None:
        self._rows: Final[LRU[str, Row] | None] = (
            LRU(max_items=size, max_weight=size * _BYTES_EACH) if size else None
        )

    def get(self, text: str) -> Row | None:
        return None if self._rows is None else self._rows.get(text, 0.0)

    def put(self, text: str, row: Row) -> None:
        if self._rows is not None:
            weight = row.nbytes + sys.getsizeof(text)
            self._rows.put(text, row, weight=weight, until=_FOREVER, now=0.0)
