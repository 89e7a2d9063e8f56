"""Entries in Redis, shared by any number of processes on any number of machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

from asynccache._clock import SystemClock
from asynccache._errors import ConfigurationError
from asynccache._judging import Label, LabelPage
from asynccache._lifespan import Nursery, SharedLifespan
from asynccache._models import (
    Boarding,
    Change,
    Changes,
    Entry,
    FlightLog,
    VectorChanges,
    VectorGroup,
    VectorPage,
)
from asynccache._protocols import Clock, SemanticIndex
from asynccache.backends._packed_vector import FORMS, VectorForm
from asynccache.backends._redis_client import Client
from asynccache.backends._redis_connect import Address, Dialing, MasterByName
from asynccache.backends._redis_feed import FeedReader
from asynccache.backends._redis_fills import Fills
from asynccache.backends._redis_flights import FlightStore
from asynccache.backends._redis_labels import LabelStore
from asynccache.backends._redis_names import Names, tag_digest
from asynccache.backends._redis_news import News
from asynccache.backends._redis_positions import Positions, as_text
from asynccache.backends._redis_read_scripts import GENERATIONS, MARKS, SIZE
from asynccache.backends._redis_reads import Reads
from asynccache.backends._redis_removals import Removals
from asynccache.backends._redis_scan import scan
from asynccache.backends._redis_scripts import OPEN
from asynccache.backends._redis_topology import Cluster, Single, Topology
from asynccache.backends._redis_upkeep import Upkeep
from asynccache.backends._redis_value import GENERATION, generation_of
from asynccache.backends._redis_vector_sets import VectorSets
from asynccache.backends._redis_vectors import VectorReader
from asynccache.backends._same_entry import same_entry

__all__ = ["RedisBackend"]

CLUSTER_SHARDS: Final = 16


class RedisBackend:
    """A store in Redis 7.0 or later: one server, the master that sentinels name, or a cluster.

    Must be open (``lifespan()``) to be used. A server that cannot be reached is no error of opening, but a
    ``BackendUnavailable`` of each operation, at once while it is known not to answer; when it answers again,
    everything goes on by itself.

    The store does not trust the connection: every value says whose it is, every script hands back what it
    was called with, and a reply that belongs to another question is an error and ends its connection. No
    caller holds a connection, so cancelling one harms no other.

    What is acknowledged may be lost when a server fails (replication is asynchronous). Give the server a
    ``maxmemory`` and a ``volatile-`` policy, never an ``allkeys-`` one: that would evict what tells which
    entries carry a tag, and an invalidation by tag would miss them.

    Args:
        nodes: addresses (host, port): the server's, or some of the sentinels or of the cluster's nodes.
        sentinel: name of the service, when ``nodes`` are sentinels.
        cluster: whether ``nodes`` are of a cluster.
        username: of an ACL user.
        password: its, or the default user's.
        db: number of the database; 0 on a cluster.
        tls: arguments of redis-py's ``SSLConnection``; None for none.
        sentinel_auth: username and password for sentinels.
        address_remap: where an address that a server names can be reached (proxies, tunnels).
        prefix: tells stores on one server apart.
        shards: parts the store is divided into, which a cluster spreads over its nodes; default 1, and 16
            on a cluster. All processes must agree on it.
        vectors: form in which embeddings are stored: ``"float16"``, ``"int8"`` or ``"float32"``.
        index: where near questions are found: in each ``"process"``, from what the store holds and tells, or
            in the ``"server"``, which needs Redis 8 (vector sets) and costs a journey for each question; for
            fleets whose index no longer fits into each process.
        op_timeout: seconds one look-up may take, above 0, before it raises ``BackendUnavailable``.
        write_timeout: seconds a change may take, which may have to wait behind others.
        connect_timeout: seconds that making a connection may take; it goes on behind those who wait.
        write_behind: let ``put`` return once the entry is on its way (up to 1,024 at a time). Its failure
            is counted (``measure()``: ``write_errors``); ``get`` of that key waits for it. ``flush()`` and
            closing wait for all.
        clock: what expiry is judged by.

    Raises:
        ConfigurationError: an option can never work.
    """

    def __init__(
        self,
        nodes: Sequence[Address],
        *,
        sentinel: str | None = None,
        cluster: bool = False,
        username: str | None = None,
        password: str | None = None,
        db: int = 0,
        tls: dict[str, Any] | None = None,
        sentinel_auth: tuple[str | None, str | None] = (None, None),
        address_remap: Callable[[Address], Address] | None = None,
        prefix: str = "asynccache",
        shards: int | None = None,
        vectors: VectorForm = "float16",
        index: Literal["process", "server"] = "process",
        op_timeout: float = 0.1,
        write_timeout: float = 1.0,
        connect_timeout: float = 2.0,
        write_behind: bool = True,
        clock: Clock | None = None,
    ) -> None:
        options = {
            "op_timeout": op_timeout,
            "write_timeout": write_timeout,
            "connect_timeout": connect_timeout,
        }
        for name, seconds in options.items():
            if not 0 < seconds < float("inf"):
                raise ConfigurationError(f"{name}={seconds!r}: expected a positive number of seconds")
        if not nodes:
            raise ConfigurationError("nodes: at least one address is needed")
        if sentinel is not None and cluster:
            raise ConfigurationError("sentinel and cluster exclude each other")
        if cluster and db:
            raise ConfigurationError(f"db={db!r}: a cluster has database 0 only")
        if vectors not in FORMS:
            raise ConfigurationError(f"unknown vectors={vectors!r}; known: {', '.join(map(repr, FORMS))}")
        if index not in {"process", "server"}:
            raise ConfigurationError(f"unknown index={index!r}; known: 'process', 'server'")
        self._clock: Final = clock if clock is not None else SystemClock()
        self._write_behind: Final = write_behind
        self._nursery: Final = Nursery(lambda _: None)  # its children hand their errors to who waits
        names = Names(prefix, shards if shards is not None else CLUSTER_SHARDS if cluster else 1)
        dialing = Dialing(
            username=username,
            password=password,
            db=db,
            tls=tls,
            timeout=connect_timeout,
            remap=address_remap,
            sentinel=sentinel_auth,
        )
        topology: Topology
        if cluster:
            topology = Cluster(nodes, names, dialing, nursery=self._nursery)
        else:
            master = None if sentinel is None else MasterByName(nodes, sentinel, dialing)
            topology = Single(
                dialing,
                address=nodes[0] if master is None else None,
                master=master,
                nursery=self._nursery,
            )
        self._topology: Final = topology
        self._client: Final = Client(names, topology, within=op_timeout, change_within=write_timeout)
        self._positions: Final = Positions(len(names.shards))
        self._reads: Final = Reads(
            self._client, self._positions, now=self._clock.now, damaged=self._remove_damaged
        )
        self._sets: Final = None if index == "process" else VectorSets(self._client, now=self._clock.now)
        self._fills: Final = Fills(
            self._client,
            now=self._clock.now,
            form=vectors,
            positions=self._positions,
            upkeep=Upkeep(self._client, self._nursery),
            sets=self._sets,
        )
        self._removals: Final = Removals(self._client, self._positions, now=self._clock.now)
        self._feed: Final = FeedReader(self._client, self._positions)
        self._vectors: Final = VectorReader(self._client, self._feed)
        self._labels: Final = LabelStore(self._client)
        self._flights: Final = FlightStore(self._client)
        self._news: Final = News(partial(topology.connect, protocol=2), names.channel, self._nursery)
        self._damaged = 0
        self._lifespan: Final = SharedLifespan(self._opening)

    def __repr__(self) -> str:
        return f"<RedisBackend at {', '.join(node.name for node in self._topology.nodes()) or 'a cluster'}>"

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Open with the first user, close with the last, when what is on its way has arrived."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        try:
            async with self._nursery.lifespan():
                await self._topology.start()
                self._client.open = True
                self._reads.begin()
                try:
                    await self._learn_positions()
                    if self._sets is not None:
                        await self._sets.detect()
                    yield
                finally:
                    await self._fills.all_settled()
                    self._client.open = False
        finally:
            self._news.close()
            await self._topology.close()

    async def _learn_positions(self) -> None:
        asked = [self._client.run(OPEN, shard) for shard in self._client.names.shards]
        await asyncio.wait(asked)
        for at, future in enumerate(asked):
            if future.exception() is None:
                self._positions.learn(at, future.result()[1])

    # Reading

    async def get(self, key: bytes) -> Entry | None:
        """The entry under a 32-byte key, without its embedding, or None when absent or expired.

        Raises:
            BackendUnavailable: not open, or no sound reply within ``op_timeout``.
            CorruptEntry: what was stored is damaged; it is being removed, and a later get is a miss.
        """
        self._client.check_open()
        if self._fills.pending and key in self._fills.pending:
            async with self._client.deadline():
                await self._fills.settled((key,))
                return await self._reads.look(key)
        return await self._reads.look(key)

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """As ``get``, for several keys at once; same order, same length. Raises as ``get``."""
        if self._fills.pending:
            async with self._client.deadline():
                await self._fills.settled(keys)
                return await self._look(keys)
        return await self._look(keys)

    async def _look(self, keys: Sequence[bytes]) -> list[Entry | None]:
        self._client.check_open()
        looks = [self._reads.look(key) for key in keys]
        return [await look for look in looks]

    async def scan(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
        """Every live entry, with its embedding, oldest first, without damaged ones. Raises as ``get``."""
        await self._fills.all_settled()
        async with aclosing(scan(self._client, partition, self._clock.now)) as entries:
            async for entry in entries:
                yield entry

    async def measure(self) -> Mapping[str, int]:
        """Live ``entries`` and their ``bytes`` (estimated from 500), and what this object counted.

        That is: ``write_errors``, ``voided`` writes, ``damaged`` values and ``mismatches`` of replies found,
        and the ``connections`` it has.
        """
        await self._fills.all_settled()
        now = repr(self._clock.now()).encode()
        asked = [self._client.run(SIZE, shard, now) for shard in self._client.names.shards]
        sizes = [await each for each in asked]
        return {
            "entries": sum(size[1] for size in sizes),
            "bytes": sum(size[2] for size in sizes),
            "write_errors": self._fills.errors,
            "voided": self._fills.voided,
            "damaged": self._damaged,
            "mismatches": sum(node.mismatches for node in self._topology.nodes()),
            "connections": sum(node.connections for node in self._topology.nodes()),
        }

    def _remove_damaged(self, key: bytes, value: bytes) -> None:
        self._damaged += 1
        self._removals.if_still(key, value[:GENERATION])

    def _now(self) -> bytes:
        return repr(self._clock.now()).encode()

    # Reading vectors

    @property
    def index_folder(self) -> None:
        """None: each process reads its index from the store."""
        return

    def semantic_index(self) -> SemanticIndex | None:
        """The server's own index, if it was asked for; None: each process builds one."""
        return self._sets

    async def vector_groups(self) -> list[VectorGroup]:
        """How many vectors there are of each partition and space. Raises as ``get``."""
        await self._fills.all_settled()
        return await self._vectors.groups()

    async def vectors(self, partition: bytes, space: bytes, *, after: int = 0) -> VectorPage:
        """Some vectors of a partition; damaged ones are left out. Raises as ``get``."""
        await self._fills.all_settled()
        return await self._vectors.page(partition, space, after=after)

    async def vector_changes(self, after: int | None) -> VectorChanges:
        """What has changed after a cursor; the last 100,000 changes are known. Raises as ``get``."""
        await self._fills.all_settled()
        return await self._vectors.changes(after)

    # Writing

    async def put(self, entry: Entry) -> None:
        """Store, replacing.

        Raises:
            BackendUnavailable: not open, or (unless writing behind) not stored in time.
            BackendError: this entry can never be stored.
        """
        await self.fill(entry, since=None)

    async def fill(self, entry: Entry, *, since: int | None) -> asyncio.Future[int | None]:
        """As ``put``, unless key or tags were invalidated after a position. Raises as ``put``."""
        future = self._fills.begin(entry, since=since)
        if not self._write_behind or self._fills.crowded or not self._client.healthy(entry.key):
            await asyncio.wait([future])
            try:
                future.result()
            except BaseException:
                del future  # its error and the frame that it names would keep each other alive
                raise
        return future

    async def add(self, entry: Entry) -> bool:
        """As ``put``, unless a live entry is there; whether it was stored, also when writing behind."""
        future = self._fills.begin(entry, since=None, only_new=True)
        await asyncio.wait([future])
        return future.result() is not None

    async def remove(self, entry: Entry) -> bool:
        """Delete, if what is stored is still this very entry, its embedding aside; whether."""
        found = await self.get(entry.key)
        if found is None or found.generation is None or not same_entry(found, entry):
            return False
        return await self._removals.is_removed(entry.key, found.generation)

    async def delete(self, keys: Collection[bytes]) -> int:
        """Remove; the number of entries that were there. Raises as ``put``."""
        return await self._removals.of_keys(keys)

    async def delete_tagged(self, tags: Collection[str]) -> int:
        """Remove entries carrying any of the tags; the number removed. Raises as ``put``."""
        return await self._removals.of_tags(tags)

    async def clear(self) -> int:
        """Remove every entry, and all labels; the number of entries removed. Raises as ``put``."""
        return await self._removals.of_all()

    async def flush(self) -> None:
        """Wait until all that was put before is stored (or counted in ``write_errors``)."""
        await self._fills.all_settled()

    # Telling others

    def position(self, key: bytes) -> int:
        """The last change of the key's shard, as far as it is known here."""
        return self._positions.of(self._client.names.of(key).number)

    async def generations(self, keys: Sequence[bytes]) -> list[int | None]:
        """The generation of what is stored under each key now. Raises as ``get``."""
        now = self._now()
        async with self._client.deadline():
            await self._fills.settled(keys)
            asked = [self._client.run(GENERATIONS, self._client.names.of(key), now, key) for key in keys]
            replies = [await each for each in asked]
        return [generation_of(reply[1][0]) if reply[1][0] else None for reply in replies]

    async def voided(self, key: bytes, tags: Collection[str], since: int) -> bool:
        """Whether that key or one of the tags was invalidated after a position. Raises as ``get``."""
        reply = await self._client.run(
            MARKS, self._client.names.of(key), as_text(since), key, *tag_digest(tags)
        )
        return bool(reply[1])

    async def changes(self, after: int | None) -> Changes:
        """What has changed after a cursor; the last 100,000 changes are known. Raises as ``get``."""
        await self._fills.all_settled()
        self._client.check_open()
        self._news.expect(b"")
        page = await self._feed.read(after)
        changes = [Change(told.key, told.number) for told in page.told if told.key or told.group]
        return Changes(changes, page.cursor, page.more, page.gap)

    async def news(self, seconds: float) -> None:
        """Return when something may have changed, after so many seconds at the latest."""
        self._client.check_open()
        await self._news.wait(b"", seconds)

    async def put_labels(self, labels: Sequence[Label]) -> None:
        """Keep labels; some 100,000 are kept, and as many of those that callers gave. Raises as ``put``."""
        await self._labels.put(labels)

    async def labels(self, after: int) -> LabelPage:
        """Labels stored after a cursor, by this process or another. Raises as ``get``."""
        return await self._labels.page(after)

    async def board(self, flight: bytes, *, key: bytes, tags: Collection[str], seconds: float) -> Boarding:
        """Take the lead of a flight, or follow the one who has it. Raises as ``get``."""
        return await self._flights.board(flight, key=key, tags=tags, seconds=seconds)

    async def renew(self, flight: bytes, number: int, *, seconds: float) -> bool:
        """Hold the lead for so many seconds from now. Raises as ``get``."""
        return await self._flights.renew(flight, number, seconds=seconds)

    async def append(
        self,
        flight: bytes,
        number: int,
        frames: Sequence[bytes],
        *,
        end: str | None = None,
        alone: float = 0.0,
    ) -> bool:
        """Write down what the leader has got. Raises as ``put``."""
        return await self._flights.append(flight, number, frames, end=end, alone=alone)

    async def log(self, flight: bytes, number: int, *, after: int) -> FlightLog:
        """What is written down after a place. Raises as ``get``."""
        self._client.check_open()
        self._news.expect(flight)
        return await self._flights.log(flight, number, after=after)

    async def flight_news(self, flight: bytes, seconds: float) -> None:
        """Return when there may be something new of a flight, after so many seconds at the latest."""
        self._client.check_open()
        await self._news.wait(flight, seconds)
