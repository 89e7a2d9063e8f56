"""Finding near questions in the server itself: vector sets, which Redis 8 has.

One set for each partition, space and shard. A set knows no expiry of its elements: each carries it as an
attribute, which searches filter by, and whoever stores something sweeps a few that have gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from asynccache._errors import BackendUnavailable
from asynccache._models import Neighbour, VectorRow
from asynccache.backends._redis_lua import BASE, Script
from asynccache.backends._redis_read_scripts import ROWS
from asynccache.backends._redis_value import open_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from asynccache._models import Embedding, Entry
    from asynccache.backends._redis_client import Client
    from asynccache.backends._redis_names import Shard

__all__ = ["VectorSets"]

NEEDED: Final = (b"VADD", b"VSIM", b"VREM")

_SEARCH: Final = Script(
    BASE,
    """
local group, vector, most, now = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local found = redis.call(
  'VSIM', base .. 'v:' .. group, 'FP32', vector, 'WITHSCORES', 'COUNT', most, 'FILTER', '.exp > ' .. now)
local flat = {}
for at, each in ipairs(found) do flat[at] = each end
return {nonce, flat}
""",
)
"""Elements and their scores, best first."""

_FORGET: Final = Script(
    BASE,
    """
for _, group in ipairs(redis.call('SMEMBERS', base .. 'groups')) do
  if string.sub(group, 1, 32) == ARGV[3] then
    for at = 4, #ARGV do
      if redis.call('EXISTS', entries .. ARGV[at]) == 0 then
        redis.pcall('VREM', base .. 'v:' .. group, ARGV[at])
      end
    end
  end
end
return {nonce}
""",
)
"""Take keys that are not in the store any more out of the sets of a partition."""


class VectorSets:
    """A SemanticIndex that is kept by the server, in the step that stores an entry.

    For fleets whose index no longer fits into each process. Searches are approximate, and a journey each.

    Args:
        client: asks.
        now: seconds since the epoch, which entries expire by.
    """

    def __init__(self, client: Client, *, now: Callable[[], float]) -> None:
        self._client: Final = client
        self._now: Final = now
        self.there = False
        """Whether every server has vector sets, as far as is known."""

    async def detect(self) -> None:
        """Ask the servers whether they have what is needed."""
        asked = [
            self._client.ask(shard, b"COMMAND", b"INFO", *NEEDED, fits=_is_list)
            for shard in self._client.names.shards
        ]
        await asyncio.wait(asked)
        self.there = all(
            each.exception() is None and len(each.result()) == len(NEEDED) and None not in each.result()
            for each in asked
        )

    async def nearest(
        self, partition: bytes, embedding: Embedding, k: int, *, vectors: int = 0
    ) -> list[Neighbour]:
        """The k nearest stored questions of a partition and space, best first.

        Raises:
            BackendUnavailable: the server has no vector sets, or no sound reply came in time.
        """
        if not self.there:
            await self.detect()
        if not self.there:
            raise BackendUnavailable("index=server needs vector sets, which this redis-server does not have")
        group = partition + embedding.space
        now = b"%.3f" % self._now()
        shards = self._client.names.shards
        asked = [
            self._client.run(_SEARCH, shard, group, embedding.vector, b"%d" % k, now) for shard in shards
        ]
        found: list[tuple[float, bytes, Shard]] = []
        for shard, each in zip(shards, asked, strict=True):
            _, flat = await each
            # A score of 1 is the same direction, of 0 the opposite one.
            found += [
                (2.0 * float(score) - 1.0, key, shard)
                for key, score in zip(flat[::2], flat[1::2], strict=True)
            ]
        found.sort(key=lambda each: -each[0])
        rows = await self._rows(found[: min(k, vectors)], group)
        return [
            Neighbour(key, similarity, None if key not in rows else rows[key].vector)
            for similarity, key, _ in found[:k]
        ]

    async def _rows(
        self, found: Sequence[tuple[float, bytes, Shard]], group: bytes
    ) -> dict[bytes, VectorRow]:
        asked = [self._client.run(ROWS, shard, key, group) for _, key, shard in found]
        rows: dict[bytes, VectorRow] = {}
        for each in asked:
            _, (told,) = await each
            row = open_row(*told, group=group) if told else None
            if row is not None:
                rows[row.key] = row
        return rows

    def learn(self, entry: Entry) -> None:
        """Nothing to do: what is stored is in the set."""

    def forget(self, partition: bytes, keys: Collection[bytes]) -> None:
        """Take keys out of the partition's sets, behind the caller."""
        for key in keys:
            self._client.change(_FORGET, self._client.names.of(key), partition, key)


def _is_list(reply: Any) -> bool:
    return isinstance(reply, list | dict)
