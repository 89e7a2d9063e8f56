"""Following what has changed in a store in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asynccache._errors import BackendUnavailable
from asynccache.backends._redis_read_scripts import FEED

if TYPE_CHECKING:
    from asynccache.backends._redis_client import Client
    from asynccache.backends._redis_names import Shard
    from asynccache.backends._redis_positions import Positions

__all__ = ["FeedPage", "FeedReader", "Told"]

PAGE: Final = 512
"""Changes of a shard read at once."""

_PLACE: Final = Struct(">4sQ")
"""A place in one shard's feed: a hash of its history, and a number."""


class Told(NamedTuple):
    """A change of one shard."""

    at: int
    """Microseconds since the epoch by the server's clock: orders those of different shards, nearly."""
    number: int
    key: bytes
    """Empty for what has changed no entry."""
    group: bytes
    """Partition and space of the vector it is about; empty for none."""
    shard: Shard


class FeedPage(NamedTuple):
    """What was told after a cursor."""

    told: list[Told]
    cursor: int
    more: bool
    gap: bool


class FeedReader:
    """Reads the feeds of all shards as one.

    A cursor holds the place in each: of which history, and after which number. Another history, a number
    that is missing, or one that lies beyond the last are a gap.

    Args:
        client: asks.
        positions: learn of what is told here.
    """

    def __init__(self, client: Client, positions: Positions) -> None:
        self._client: Final = client
        self._positions: Final = positions

    async def read(self, after: int | None) -> FeedPage:
        """What was told after a cursor; None: only where the end is."""
        shards = self._client.names.shards
        places = None if after is None else _places(after, len(shards))
        numbers = [None] * len(shards) if places is None else [number for _, number in places]
        # All asked before any is waited for: one journey.
        asked = [
            self._client.run(FEED, shard, b"" if number is None else b"%d" % number, b"%d" % PAGE)
            for shard, number in zip(shards, numbers, strict=True)
        ]
        told: list[Told] = []
        now: list[tuple[bytes, int]] = []
        gap = after is not None and places is None
        more = False
        for at, (shard, number) in enumerate(zip(shards, numbers, strict=True)):
            reply = await asked[at]
            history, last, changes = _checked(reply, shard)
            self._positions.learn(at, reply[1])
            if number is None or places is None:
                now.append((history, last))
                continue
            if history != places[at][0] or not _follows(number, last, changes):
                gap = True
            told += changes
            now.append((history, changes[-1].number if changes else number))
            more = more or len(changes) == PAGE
        if gap:
            return await self._anew()
        told.sort(key=lambda each: each[:2])
        return FeedPage(told, _cursor(now), more, gap=False)

    async def _anew(self) -> FeedPage:
        return (await self.read(None))._replace(gap=True)


def _checked(reply: Sequence[Any], shard: Shard) -> tuple[bytes, int, list[Told]]:
    try:
        _, last, lineage, changes = reply
        told = [Told(int(at), int(number), key, group, shard) for number, key, group, at in changes]
        return sha256(lineage).digest()[:4], int(last.partition(b":")[0]), told
    except (TypeError, ValueError, AttributeError) as error:
        raise BackendUnavailable("the feed in redis is not as this release writes it") from error


def _follows(after: int, last: int, changes: Sequence[Told]) -> bool:
    """Whether nothing is missing between a number and what was told after it."""
    if not changes:
        return last == after
    return changes[0].number == after + 1


def _cursor(places: Sequence[tuple[bytes, int]]) -> int:
    return int.from_bytes(b"".join(_PLACE.pack(*place) for place in places), "big")


def _places(cursor: int, shards: int) -> list[tuple[bytes, int]] | None:
    """The places a cursor holds; None when it is none of such a store."""
    if not 0 <= cursor < 1 << (8 * _PLACE.size * shards):
        return None
    data = cursor.to_bytes(_PLACE.size * shards, "big")
    return [_PLACE.unpack_from(data, at) for at in range(0, len(data), _PLACE.size)]
