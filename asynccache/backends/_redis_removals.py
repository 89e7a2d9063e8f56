"""Taking entries out of a store in Redis, and keeping out the answers that were asked for before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from asynccache.backends._redis_lua import FEED_LENGTH, PIECE, Script
from asynccache.backends._redis_names import Shard, tag_digest
from asynccache.backends._redis_scripts import CLEAR, REMOVE, TAGGED

if TYPE_CHECKING:
    from asynccache.backends._redis_client import Client
    from asynccache.backends._redis_positions import Positions

__all__ = ["Removals"]

ROUNDS: Final = 50_000
"""Pieces in which a tag is deleted, or all, at most."""


class Removals:
    """Removes entries; many of them in short steps, rather than one that keeps every client waiting.

    Args:
        client: asks.
        positions: learn of what is removed here.
        now: seconds since the epoch, which entries expire by.
    """

    def __init__(self, client: Client, positions: Positions, *, now: Callable[[], float]) -> None:
        self._client: Final = client
        self._positions: Final = positions
        self._now: Final = now
        self._common: Final = (b"%d" % (FEED_LENGTH // len(client.names.shards)), client.names.channel)

    async def of_keys(self, keys: Collection[bytes]) -> int:
        """Remove keys; the number of live entries that were there."""
        by_shard: dict[Shard, list[bytes]] = {}
        for key in keys:
            by_shard.setdefault(self._client.names.of(key), []).append(key)
        now = self._time()
        asked = [
            (shard, self._client.change(REMOVE, shard, *self._common, now, b"", *some[first : first + PIECE]))
            for shard, some in by_shard.items()
            for first in range(0, len(some), PIECE)
        ]
        return sum([self._removed(shard, await reply) for shard, reply in asked])

    def if_still(self, key: bytes, generation: bytes) -> asyncio.Future[Any]:
        """Remove a key while its generation, as it is stored, is this one."""
        shard = self._client.names.of(key)
        return self._client.change(REMOVE, shard, *self._common, self._time(), generation, key)

    async def is_removed(self, key: bytes, generation: int) -> bool:
        """Remove a key if its generation is still this one; whether."""
        reply = await self.if_still(key, b"%016d" % generation)
        return bool(self._removed(self._client.names.of(key), reply))

    async def of_tags(self, tags: Collection[str]) -> int:
        """Remove whatever carries any of the tags; the number of live entries."""
        return sum([await self._in_pieces(TAGGED, digest) for digest in tag_digest(tags)])

    async def of_all(self) -> int:
        """Remove everything, labels too; the number of live entries."""
        return await self._in_pieces(CLEAR)

    async def _in_pieces(self, script: Script, *what: bytes) -> int:
        common = (*self._common, self._time(), *what)
        shards = self._client.names.shards
        # The first step of all shards before the rest of any: it leaves the mark.
        asked = [self._client.change(script, shard, *common, b"1") for shard in shards]
        total = 0
        for shard, first in zip(shards, asked, strict=True):
            reply = await first
            total += self._removed(shard, reply)
            for _ in range(ROUNDS):
                if reply[3] < PIECE:
                    break
                reply = await self._client.change(script, shard, *common, b"")
                total += self._removed(shard, reply)
        return total

    def _removed(self, shard: Shard, reply: Sequence[Any]) -> int:
        """How many a script has removed. What this process invalidates, it knows of."""
        self._positions.learn(shard.number, reply[2])
        return int(reply[1])

    def _time(self) -> bytes:
        return repr(self._now()).encode()
