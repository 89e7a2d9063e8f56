"""Calls of a store of which every answer is checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from asynccache._models import Entry, Response
from asynccache.testing import make_entry

__all__ = ["Calls", "ForeignEntryError", "Store"]


class Store(Protocol):
    """What is called: a backend, or a client that is known to be unsound."""

    async def get(self, key: bytes) -> Entry | None: ...

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]: ...

    async def put(self, entry: Entry) -> None: ...

    async def fill(self, entry: Entry, *, since: int | None) -> asyncio.Future[int | None]: ...

    async def add(self, entry: Entry) -> bool: ...

    async def delete(self, keys: Collection[bytes]) -> int: ...

    async def generations(self, keys: Sequence[bytes]) -> list[int | None]: ...


class ForeignEntryError(AssertionError):
    """An answer is another entry."""


class Calls:
    """Each raises AssertionError for a wrong answer, and returns whether there was one.

    Args:
        number: of entries.
        shards: of the stores, in which generations are counted.
    """

    def __init__(self, number: int, *, shards: int) -> None:
        now = time.time()
        # Of all sizes, so that replies are cut up within, between and beyond values.
        self.entries: Final = [
            make_entry(
                each,
                created_at=now,
                ttl=3600.0,
                response=Response(b'{"answer": %d, "why": "%s"}' % (each, b"y" * (each * 7))),
            )
            for each in range(number)
        ]
        self._numbers: Final = {entry.key: number for number, entry in enumerate(self.entries)}
        self._shards: Final = shards
        self._owners: Final[dict[tuple[int, int], int]] = {}  # entry by shard and generation

    async def get(self, store: Store, some: Sequence[Entry]) -> bool:
        return self._is_right(await store.get(some[0].key), some[0])

    async def get_many(self, store: Store, some: Sequence[Entry]) -> bool:
        found = await store.get_many([entry.key for entry in some])
        assert len(found) == len(some), "another number of entries"
        right = [self._is_right(each, entry) for each, entry in zip(found, some, strict=True)]
        return any(right)

    async def put(self, store: Store, some: Sequence[Entry]) -> bool:
        await store.put(some[0])
        return True

    async def fill(self, store: Store, some: Sequence[Entry]) -> bool:
        future = await store.fill(some[0], since=None)
        self._owns(await future, some[0])
        return True

    async def add(self, store: Store, some: Sequence[Entry]) -> bool:
        added = await store.add(some[0])
        assert isinstance(added, bool), "no word on whether it was added"
        return True

    async def delete(self, store: Store, some: Sequence[Entry]) -> bool:
        removed = await store.delete([entry.key for entry in some])
        assert type(removed) is int, "no number of removed entries"
        assert 0 <= removed <= len(some), "more removed than asked for"
        return True

    async def generations(self, store: Store, some: Sequence[Entry]) -> bool:
        found = await store.generations([entry.key for entry in some])
        assert len(found) == len(some), "another number of generations"
        for generation, entry in zip(found, some, strict=True):
            self._owns(generation, entry)
        return any(each is not None for each in found)

    def _is_right(self, found: Entry | None, asked: Entry) -> bool:
        if found is None:
            return False
        if found != asked:
            numbers = self._numbers[asked.key], self._numbers.get(found.key)
            raise ForeignEntryError("asked for {}, got {}".format(*numbers))
        self._owns(found.generation, asked)
        return True

    def _owns(self, generation: int | None, entry: Entry) -> None:
        if generation is None:
            return
        number = self._numbers[entry.key]
        shard = int.from_bytes(entry.key[:2], "big") % self._shards
        owner = self._owners.setdefault((shard, generation), number)
        assert owner == number, f"the generation of {owner} was given for {number}"
