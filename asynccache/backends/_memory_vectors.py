"""Which entries of a memory have vectors, and what has changed among them."""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from asynccache._models import VectorChange, VectorChanges, VectorGroup, VectorPage, VectorRow

if TYPE_CHECKING:
    from asynccache._models import Entry

__all__ = ["VectorTrail"]

_PAGE: Final = 256  # vectors told in one go: a fraction of a millisecond on the event loop
_TRAIL: Final = 10_000  # changes: many times what happens between two looks of an index; some 2 MB

_Find: TypeAlias = "Callable[[bytes], Entry | None]"
"""The entry held under a key, expired or not."""


class VectorTrail:
    """The keys of entries with an embedding by partition and space, and a trail of changes.

    Holds no vector: they stay in the entries.
    """

    def __init__(self) -> None:
        # Each store begins at random, so that the cursor of another is found out.
        self._newest = 2**40 + secrets.randbits(40)
        self._changes: Final[deque[tuple[bytes, bytes, bytes]]] = deque(maxlen=_TRAIL)
        # By partition and space: each key and the number of the change that brought it, in that order.
        self._groups: Final[dict[tuple[bytes, bytes], dict[bytes, int]]] = {}

    def came(self, entry: Entry, space: bytes) -> None:
        """Note an entry with a vector of that space, held from now on."""
        self._tell(entry, space)
        self._groups.setdefault((entry.partition, space), {})[entry.key] = self._newest

    def left(self, entry: Entry, space: bytes) -> None:
        """Note that it is not held any more."""
        self._tell(entry, space)
        group = entry.partition, space
        keys = self._groups[group]
        del keys[entry.key]
        if not keys:
            del self._groups[group]

    def _tell(self, entry: Entry, space: bytes) -> None:
        self._newest += 1
        self._changes.append((entry.partition, space, entry.key))

    def groups(self) -> list[VectorGroup]:
        """How many there are of each partition and space."""
        return [VectorGroup(*group, len(keys)) for group, keys in self._groups.items()]

    def page(self, partition: bytes, space: bytes, after: int, find: _Find) -> VectorPage:
        """Some vectors of a partition and space, from a place on."""
        group = self._groups.get((partition, space), {})
        places = list(group.values())
        start = bisect_right(places, after)
        rows = [_row(key, partition, space, find) for key in islice(group, start, start + _PAGE)]
        end = start + _PAGE
        return VectorPage([row for row in rows if row], places[end - 1] if end < len(places) else None)

    def changes(self, after: int | None, find: _Find) -> VectorChanges:
        """What has changed after a cursor."""
        if after is None:
            return VectorChanges([], self._newest, more=False)
        behind = self._newest - after
        if not 0 <= behind <= len(self._changes):
            return VectorChanges([], self._newest, more=False, gap=True)
        start = len(self._changes) - behind
        told = dict.fromkeys(islice(self._changes, start, start + _PAGE))
        changes = [VectorChange(*each, _row(each[2], *each[:2], find)) for each in told]
        return VectorChanges(changes, min(after + _PAGE, self._newest), more=behind > _PAGE)


def _row(key: bytes, partition: bytes, space: bytes, find: _Find) -> VectorRow | None:
    entry = find(key)
    if entry is None or entry.embedding is None:
        return None
    if entry.partition != partition or entry.embedding.space != space:
        return None
    return VectorRow(key, entry.embedding.vector, entry.expires_at)
