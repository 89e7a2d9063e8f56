"""Following what a backend tells of its changes."""

from __future__ import annotations

from collections.abc import Collection

from asynccache._models import Changes, Entry
from asynccache._protocols import Feed

__all__ = ["Generations", "all_told", "stored"]

_PATIENCE = 1000  # pages; whoever has more of the few changes of a test goes round in circles


class Generations:
    """What a process keeps in its memory of another's entries: by key, the number of what is stored."""

    def __init__(self) -> None:
        self.held: dict[bytes, int] = {}
        self._cursor: int | None = None

    async def read(self, feed: Feed, keys: Collection[bytes]) -> None:
        """Hold what is stored under these keys now."""
        if self._cursor is None:
            # The end first: what changes while the rest is read will be told then.
            self._cursor = (await feed.changes(None)).cursor
        listed = list(keys)
        found = await feed.generations(listed)
        self.held = {key: number for key, number in zip(listed, found, strict=True) if number is not None}

    async def follow(self, feed: Feed) -> None:
        """Drop what has changed since; everything, when that is not known."""
        if self._cursor is None:
            self._cursor = (await feed.changes(None)).cursor
        told = await all_told(feed, self._cursor)
        if told.gap:
            self.held = {}
        for key, number in told.changes:
            if self.held.get(key, number) < number:
                del self.held[key]
        self._cursor = told.cursor


async def all_told(feed: Feed, after: int) -> Changes:
    """What has changed after a cursor, up to the end or a gap."""
    changes = []
    for _ in range(_PATIENCE):
        told = await feed.changes(after)
        changes += [change for change in told.changes if change.key]  # others are about no key
        if told.gap or not told.more:
            return told._replace(changes=changes)
        after = told.cursor
    raise AssertionError("the changes do not end")


async def stored(feed: Feed, entry: Entry, since: int | None) -> int | None:
    """What has become of a fill: the generation, or None when it was voided."""
    return await (await feed.fill(entry, since=since))
