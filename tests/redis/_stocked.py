"""A store in Redis with something of everything, and calls of which every answer is known."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from asynccache._models import Entry, VectorGroup
from asynccache.backends import RedisBackend
from asynccache.testing import make_embedding, make_entry, make_label
from asynccache.testing.entries import ABSENT, SPACE, same
from asynccache.testing.redis_servers import RedisCluster, RedisServer

ENTRIES: Final = 12
LABELS: Final = 6


@dataclass
class Stocked:
    """A backend, and what its answers have to be.

    Each call raises AssertionError for a wrong answer and BackendError for none, and returns whether there
    was more than a miss.
    """

    backend: RedisBackend
    where: RedisServer | RedisCluster
    entries: list[Entry]
    extra: Entry
    generations: dict[bytes, int] = field(default_factory=dict)
    began: int = 0
    """A cursor of before all."""

    def server(self, name: bytes) -> RedisServer:
        """The one that has what is called so."""
        return self.where.master_of(name) if isinstance(self.where, RedisCluster) else self.where

    def name(self, key: bytes) -> bytes:
        return self.backend._client.names.of(key).entry + key

    def raw(self, key: bytes) -> bytes:
        """The stored form of an entry."""
        value = self.server(self.name(key)).command("GET", self.name(key))
        assert isinstance(value, bytes)
        return value

    async def get(self) -> bool:
        found = await self.backend.get(self.entries[0].key)
        assert found is None or same(found, self.entries[0])
        return found is not None

    async def get_absent(self) -> bool:
        assert await self.backend.get(ABSENT) is None
        return True

    async def get_many(self) -> bool:
        asked = self.entries[3:9]
        found = await self.backend.get_many([*(entry.key for entry in asked), ABSENT])
        assert len(found) == len(asked) + 1
        assert found[-1] is None
        for each, entry in zip(found, asked, strict=False):
            assert each is None or same(each, entry)
        return None not in found[:-1]

    async def generations_of(self) -> bool:
        asked = [entry.key for entry in self.entries[:5]]
        found = await self.backend.generations([*asked, ABSENT])
        assert found == [*(self.generations[key] for key in asked), None]
        return True

    async def fill(self) -> bool:
        generation = await (await self.backend.fill(self.extra, since=None))
        assert generation is not None
        assert generation > max(self.generations.values()) or self.backend._client.names.shards[1:]
        return True

    async def add(self) -> bool:
        assert not await self.backend.add(self.entries[1])
        return True

    async def remove(self) -> bool:
        other = make_entry(1, created_at=0.0)
        assert not await self.backend.remove(other)
        return True

    async def delete(self) -> bool:
        assert await self.backend.delete([ABSENT, self.extra.key]) in {0, 1}
        return True

    async def voided(self) -> bool:
        key = self.entries[2].key
        assert not await self.backend.voided(key, self.entries[2].tags, self.generations[key])
        assert await self.backend.voided(key, ("gone",), 1)
        return True

    async def changes(self) -> bool:
        page = await self.backend.changes(self.began)
        told = {each.key: each.number for each in page.changes}
        assert page.gap or {key: told.get(key) for key in self.generations} == self.generations
        assert set(told) <= {*self.generations, self.extra.key, ABSENT}
        return not page.gap

    async def vectors(self) -> bool:
        rows = []
        after: int | None = 0
        while after is not None:
            page = await self.backend.vectors(self.entries[0].partition, SPACE, after=after)
            rows += page.rows
            after = page.after
        assert {(row.key, row.vector) for row in rows} == self._vectors()
        return True

    async def vector_groups(self) -> bool:
        group = VectorGroup(self.entries[0].partition, SPACE, ENTRIES)
        assert await self.backend.vector_groups() == [group]
        return True

    async def vector_changes(self) -> bool:
        page = await self.backend.vector_changes(self.began)
        told = {(each.key, each.row.vector) for each in page.changes if each.row is not None}
        assert page.gap or told == self._vectors()
        return not page.gap

    def _vectors(self) -> set[tuple[bytes, bytes]]:
        return {(entry.key, entry.embedding.vector) for entry in self.entries if entry.embedding is not None}

    async def labels(self) -> bool:
        page = await self.backend.labels(0)
        assert page.labels == [make_label(number, at=float(number)) for number in range(LABELS)]
        assert not (await self.backend.labels(page.cursor)).labels
        return True

    async def flight(self) -> bool:
        flight = secrets.token_bytes(32)
        boarding = await self.backend.board(flight, key=ABSENT, tags=(), seconds=5.0)
        assert boarding.leads
        assert not (await self.backend.board(flight, key=ABSENT, tags=(), seconds=5.0)).leads
        assert await self.backend.renew(flight, boarding.number, seconds=5.0)
        assert await self.backend.append(flight, boarding.number, [b"one", b"two"], end="whole")
        log = await self.backend.log(flight, boarding.number, after=0)
        assert (log.frames, log.end) == ([b"one", b"two"], "whole")
        return True

    async def measure(self) -> bool:
        assert (await self.backend.measure())["entries"] in {ENTRIES, ENTRIES + 1}
        return True

    async def scan(self) -> bool:
        found = {entry.key: entry async for entry in self.backend.scan()}
        found.pop(self.extra.key, None)
        assert found == {entry.key: entry for entry in self.entries}
        return True

    def calls(self) -> dict[str, Callable[[], Awaitable[bool]]]:
        """All of them."""
        return {name: partial(getattr(self, name)) for name in CALLS}

    def positions_are_sound(self) -> bool:
        """Whether no shard is believed to be further than it is."""
        for shard in self.backend._client.names.shards:
            last = self.server(shard.sequence).command("GET", shard.sequence)
            number = int(last.partition(b":")[0]) if isinstance(last, bytes) else 0
            if self.backend._positions.of(shard.number) % 2**64 > number:
                return False
        return True


CALLS: Final = (
    "get",
    "get_absent",
    "get_many",
    "generations_of",
    "fill",
    "add",
    "remove",
    "delete",
    "voided",
    "changes",
    "vectors",
    "vector_groups",
    "vector_changes",
    "labels",
    "flight",
    "measure",
    "scan",
)


@asynccontextmanager
async def stocked(where: RedisServer | RedisCluster, options: dict[str, Any]) -> AsyncIterator[Stocked]:
    """An open store with entries and labels."""
    backend = RedisBackend(
        prefix=f"stocked-{secrets.token_hex(6)}", op_timeout=1.0, write_timeout=2.0, **options
    )
    now = time.time()
    entries = [
        make_entry(number, created_at=now, ttl=3600.0, embedding=make_embedding(number))
        for number in range(ENTRIES)
    ]
    async with backend.lifespan():
        store = Stocked(backend, where, entries, make_entry(50, created_at=now, ttl=3600.0))
        store.began = (await backend.changes(None)).cursor
        for entry in entries:
            generation = await (await backend.fill(entry, since=None))
            assert generation is not None
            store.generations[entry.key] = generation
        await backend.put_labels([make_label(number, at=float(number)) for number in range(LABELS)])
        yield store
