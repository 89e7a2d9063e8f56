"""A store with a feed in memory, each process with its own connection, that fails and halts when told to."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

import anyio

from asynccache import BackendUnavailable
from asynccache._models import Change, Changes, Entry
from asynccache.backends import MemoryBackend, Tiered
from asynccache.backends._same_entry import same_entry
from asynccache.testing import FakeClock

__all__ = ["FakeFeed", "FakeStore", "caught_up", "held", "tier", "until"]

EVERYTHING: Final = "*"


class FakeStore:
    """What all processes share."""

    def __init__(self) -> None:
        self.entries: Final[dict[bytes, Entry]] = {}
        self.number = secrets.randbelow(2**40) + 1
        self.trail: Final[list[Change]] = []
        self.floor = self.number
        """Cursors below it are too old."""
        self.voids: Final[dict[bytes | str, int]] = {}
        self.moved = asyncio.Event()

    def change(self, key: bytes, entry: Entry | None) -> int:
        self.number += 1
        if entry is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = replace(entry, generation=self.number)
        self.trail.append(Change(key, self.number))
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()
        return self.number

    def void(self, what: bytes | str) -> None:
        self.number += 1
        self.voids[what] = self.number

    def voided(self, key: bytes, tags: Collection[str], since: int) -> bool:
        return self.newest_void(key, tags) > since

    def newest_void(self, key: bytes, tags: Collection[str]) -> int:
        marks: list[bytes | str] = [key, EVERYTHING, *tags]
        return max(self.voids.get(mark, 0) for mark in marks)

    def forget(self) -> None:
        """Nobody can be told any more what has changed so far."""
        self.number += 1
        self.floor = self.number


class FakeFeed:
    """One process's connection.

    Args:
        store: what it shares with others.
        clock: what expiry is judged by.
        behind: whether ``fill`` returns before it has stored; ``commit`` does.
    """

    def __init__(self, store: FakeStore, clock: FakeClock, *, behind: bool = False) -> None:
        self.store: Final = store
        self.clock: Final = clock
        self.behind = behind
        self.calls: Final[Counter[str]] = Counter()
        self.failing: Final[set[str]] = set()
        self.halted: Final[dict[str, anyio.Event]] = {}
        """By call: it stops once it has done its work, until the event is set."""
        self.worked: Final[dict[str, anyio.Event]] = {}
        self._pending: list[tuple[asyncio.Future[int | None], Entry, int | None]] = []
        self.told = 0
        """All changes up to here are known to have been taken up: more was asked for."""
        self._position = 0

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self._position = self.store.number
        yield

    async def _begin(self, name: str) -> None:
        self.calls[name] += 1
        await asyncio.sleep(0)
        if name in self.failing:
            raise BackendUnavailable("the store is gone")

    async def _end(self, name: str) -> None:
        if name in self.halted:
            go_on = self.halted.pop(name)
            self.worked[name].set()
            await go_on.wait()
        await asyncio.sleep(0)

    @asynccontextmanager
    async def halting(self, name: str, *begin: object) -> AsyncIterator[None]:
        """Run the body while the next call of that name has done its work and is not over."""
        go_on = self.halted[name] = anyio.Event()
        self.worked[name] = anyio.Event()
        try:
            yield
        finally:
            go_on.set()

    def _live(self, key: bytes) -> Entry | None:
        entry = self.store.entries.get(key)
        return None if entry is None or self.clock.now() >= entry.expires_at else entry

    async def get(self, key: bytes) -> Entry | None:
        return (await self._get("get", [key]))[0]

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        return await self._get("get_many", keys)

    async def _get(self, name: str, keys: Sequence[bytes]) -> list[Entry | None]:
        await self._begin(name)
        found = [self._live(key) for key in keys]
        if None in found:
            self._position = self.store.number
        await self._end(name)
        return found

    async def put(self, entry: Entry) -> None:
        await self.fill(entry, since=None)

    async def fill(self, entry: Entry, *, since: int | None) -> asyncio.Future[int | None]:
        await self._begin("fill")
        future = asyncio.get_running_loop().create_future()
        self._pending.append((future, entry, since))
        if not self.behind:
            self.commit()
        await self._end("fill")
        return future

    def commit(self, error: Exception | None = None) -> None:
        """Store what was accepted, or fail to."""
        pending, self._pending = self._pending, []
        for future, entry, since in pending:
            if error is not None:
                future.set_exception(error)
            elif since is not None and self.store.voided(entry.key, entry.tags, since):
                future.set_result(None)
            else:
                future.set_result(self.store.change(entry.key, entry))

    async def flush(self) -> None:
        self.commit()

    async def add(self, entry: Entry) -> bool:
        await self._begin("add")
        added = self._live(entry.key) is None
        if added:
            self.store.change(entry.key, entry)
        await self._end("add")
        return added

    async def remove(self, entry: Entry) -> bool:
        await self._begin("remove")
        found = self._live(entry.key)
        return found is not None and same_entry(found, entry) and self._deleted([entry.key]) > 0

    async def delete(self, keys: Collection[bytes]) -> int:
        await self._begin("delete")
        deleted = self._deleted(keys)
        await self._end("delete")
        return deleted

    def _deleted(self, keys: Collection[bytes]) -> int:
        live = [key for key in keys if self._live(key) is not None]
        for key in keys:
            self.store.void(key)
            if key in self.store.entries:
                self.store.change(key, None)
        return len(set(live))

    async def delete_tagged(self, tags: Collection[str]) -> int:
        await self._begin("delete_tagged")
        doomed = [key for key, entry in self.store.entries.items() if set(tags) & set(entry.tags)]
        live = sum(self._live(key) is not None for key in doomed)
        for tag in tags:
            self.store.void(tag)
        for key in doomed:
            self.store.change(key, None)
        return live

    async def clear(self) -> int:
        await self._begin("clear")
        live = sum(self._live(key) is not None for key in self.store.entries)
        self.store.void(EVERYTHING)
        for key in tuple(self.store.entries):
            self.store.change(key, None)
        return live

    async def scan(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
        found = [entry for key in self.store.entries if (entry := self._live(key)) is not None]
        for entry in sorted(found, key=lambda each: each.created_at):
            if partition in (None, entry.partition) and self._live(entry.key) is not None:
                yield entry

    async def measure(self) -> Mapping[str, int]:
        return {"entries": len(self.store.entries), "bytes": 1000 * len(self.store.entries)}

    def position(self, key: bytes) -> int:
        return self._position

    async def generations(self, keys: Sequence[bytes]) -> list[int | None]:
        await self._begin("generations")
        found = [None if (entry := self._live(key)) is None else entry.generation for key in keys]
        await self._end("generations")
        return found

    async def voided(self, key: bytes, tags: Collection[str], since: int) -> bool:
        await self._begin("voided")
        return self.store.voided(key, tags, since)

    async def changes(self, after: int | None) -> Changes:
        await self._begin("changes")
        number = self._position = self.store.number
        if after is None:
            return Changes([], number, more=False)
        self.told = after
        if not self.store.floor <= after <= number:
            return Changes([], number, more=False, gap=True)
        told = [each for each in self.store.trail if each.number > after]
        await self._end("changes")
        return Changes(told[:10], told[9].number if len(told) > 10 else number, more=len(told) > 10)

    async def news(self, seconds: float) -> None:
        await self._begin("news")
        with suppress(TimeoutError):
            await asyncio.wait_for(self.store.moved.wait(), min(seconds, 0.02))


def tier(
    store: FakeStore, clock: FakeClock, *, behind: bool = False
) -> tuple[Tiered, MemoryBackend, FakeFeed]:
    """One process: a memory in front of its connection."""
    front, back = MemoryBackend(clock=clock), FakeFeed(store, clock, behind=behind)
    return Tiered(front, back), front, back


def held(front: MemoryBackend, key: bytes) -> Entry | None:
    """What the front holds of a key. Looking is no use of it."""
    return front.peek(key)


async def caught_up(*backs: FakeFeed) -> None:
    """Wait until all that has changed so far is taken up by whoever follows these."""
    await until(lambda: all(back.told >= back.store.number for back in backs))


async def until(true: Callable[[], bool]) -> None:
    """Look every millisecond, for two seconds at most."""
    with anyio.fail_after(2):
        while not true():  # noqa: ASYNC110  (nobody would set an event)
            await asyncio.sleep(0.001)
