"""Storing entries behind their callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis import exceptions as redis_errors

from asynccache.backends._redis_lua import FEED_LENGTH
from asynccache.backends._redis_positions import Positions, as_text
from asynccache.backends._redis_scripts import FILL
from asynccache.backends._redis_value import to_stored

if TYPE_CHECKING:
    from asynccache._models import Entry
    from asynccache.backends._packed_vector import VectorForm
    from asynccache.backends._redis_client import Client
    from asynccache.backends._redis_names import Shard
    from asynccache.backends._redis_upkeep import Upkeep
    from asynccache.backends._redis_vector_sets import VectorSets

__all__ = ["Fills"]

MOST: Final = 1024
"""Entries on their way at once; from then on a caller waits for its own."""
MOST_BYTES: Final = 64 * 2**20
"""Bytes of these."""
MARGIN: Final = 60.0
"""Seconds for which the server keeps an entry that has expired."""


class Fills:
    """Entries on their way into the store, and what has become of them.

    Args:
        client: asks.
        now: seconds since the epoch.
        form: in which vectors are stored.
        positions: learn where the server is when it has voided something.
        upkeep: is told when a server has no memory left.
        sets: vector sets of the server, which take vectors in as well; None for none.
    """

    def __init__(
        self,
        client: Client,
        *,
        now: Callable[[], float],
        form: VectorForm,
        positions: Positions,
        upkeep: Upkeep,
        sets: VectorSets | None = None,
    ) -> None:
        self._client: Final = client
        self._upkeep: Final = upkeep
        self._positions: Final = positions
        self._sets: Final = sets
        self._now: Final = now
        self._form: Final[VectorForm] = form
        self.pending: Final[dict[bytes, asyncio.Future[int | None]]] = {}
        """By key, the latest that is on its way; changed here only."""
        self._under_way: Final[set[asyncio.Future[int | None]]] = set()
        self._bytes = 0
        self.errors = 0
        """Entries that could not be stored, whoever may have waited for it."""
        self.voided = 0
        """Entries kept out because they had been invalidated."""

    @property
    def crowded(self) -> bool:
        """Whether callers should wait for what they store."""
        return len(self._under_way) >= MOST or self._bytes >= MOST_BYTES

    def begin(self, entry: Entry, *, since: int | None, only_new: bool = False) -> asyncio.Future[int | None]:
        """Store it; the future has its generation, or None when it was voided or (``only_new``) is there.

        Raises:
            BackendError: it has no stored form.
        """
        now = self._now()
        stored = to_stored(entry, self._form)
        shard = self._client.names.of(entry.key)
        lifetime = b""
        if entry.ttl is not None:
            # The entry itself says when it expires. The server lets go of it some time later, however its
            # clock, this one and those of other processes may differ.
            lifetime = b"%d" % max(1, min(round((entry.expires_at - now + MARGIN) * 1000), 2**52))
        number = len(self._client.names.shards)
        asked = self._client.change(
            FILL,
            shard,
            b"%d" % (FEED_LENGTH // number),
            self._client.names.channel,
            repr(now).encode(),
            b"add" if only_new else b"put",
            b"" if since is None else as_text(since),
            lifetime,
            entry.key,
            stored.rest,
            repr(entry.expires_at).encode(),
            stored.group,
            self._vector(entry),
            *stored.tags,
        )
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        size = len(stored.rest)
        self._bytes += size
        self._under_way.add(future)
        self.pending[entry.key] = future
        asked.add_done_callback(partial(self._arrived, shard, entry.key, size, future))
        return future

    def _vector(self, entry: Entry) -> bytes:
        """What a set of vectors takes in; empty where there is none."""
        there = self._sets is not None and self._sets.there and entry.embedding is not None
        return entry.embedding.vector if there and entry.embedding is not None else b""

    def _arrived(
        self,
        shard: Shard,
        key: bytes,
        size: int,
        future: asyncio.Future[int | None],
        asked: asyncio.Future[Any],
    ) -> None:
        self._bytes -= size
        self._under_way.discard(future)
        if self.pending.get(key) is future:
            del self.pending[key]
        error = asked.exception()
        if error is not None:
            self.errors += 1
            if isinstance(error.__cause__, redis_errors.OutOfMemoryError):
                self._upkeep.no_memory(shard)
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen: nobody may be waiting
            return
        _, number, why, *position = asked.result()
        if why == b"voided":
            self.voided += 1
            self._positions.learn(shard.number, position[0] if position else None, anew=True)
        if not future.done():
            future.set_result(int(number) if number else None)

    async def settled(self, keys: Sequence[bytes]) -> None:
        """Wait until what is on its way to these keys has arrived, or failed."""
        futures = [self.pending[key] for key in keys if key in self.pending]
        if futures:
            await asyncio.wait(futures)

    async def all_settled(self) -> None:
        """Wait until all that is on its way now has arrived, or failed."""
        if self._under_way:
            await asyncio.wait(set(self._under_way))
