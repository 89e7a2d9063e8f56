"""The vectors of a store in Redis, apart from the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asynccache._errors import BackendUnavailable
from asynccache._models import VectorChange, VectorChanges, VectorGroup, VectorPage, VectorRow
from asynccache.backends._redis_read_scripts import PAGE, ROWS
from asynccache.backends._redis_value import GROUP, open_row

if TYPE_CHECKING:
    from asynccache.backends._redis_client import Client
    from asynccache.backends._redis_feed import FeedReader
    from asynccache.backends._redis_names import Shard

__all__ = ["VectorReader"]

ROWS_AT_ONCE: Final = 256
"""Vectors read by one script: a millisecond of the server."""

_NUMBER: Final = 64
"""Bits of a change's number in a place between pages."""


class VectorReader:
    """Reads vectors and what has become of them.

    Args:
        client: asks.
        feed: tells what has changed.
    """

    def __init__(self, client: Client, feed: FeedReader) -> None:
        self._client: Final = client
        self._feed: Final = feed

    async def groups(self) -> list[VectorGroup]:
        """How many vectors there are of each partition and space; expired ones may be among them."""
        sizes: dict[bytes, int] = {}
        shards = self._client.names.shards
        asked = [
            self._client.ask(shard, b"SMEMBERS", shard.base + b"groups", fits=_is_some) for shard in shards
        ]
        for at, shard in enumerate(shards):
            groups = [group for group in await asked[at] if len(group) == GROUP]
            counts = [
                self._client.ask(shard, b"ZCARD", shard.base + b"g:" + group, fits=_is_number)
                for group in groups
            ]
            for group, count in zip(groups, counts, strict=True):
                sizes[group] = sizes.get(group, 0) + await count
        return [VectorGroup(group[:32], group[32:], size) for group, size in sizes.items() if size]

    async def page(self, partition: bytes, space: bytes, *, after: int) -> VectorPage:
        """Some vectors; a place is a shard and the number of a change in it."""
        at, number = after >> _NUMBER, after & ((1 << _NUMBER) - 1)
        shards = self._client.names.shards
        group = partition + space
        while at < len(shards):
            reply = await self._client.run(PAGE, shards[at], group, b"%d" % number, b"%d" % ROWS_AT_ONCE)
            _, size, last, listed = _parts(reply, 4)
            rows = [row for each in listed if (row := _row(each, group)) is not None]
            full = size == ROWS_AT_ONCE
            at, number = (at, int(float(last))) if full else (at + 1, 0)
            if rows or full:
                return VectorPage(rows, (at << _NUMBER) + number if at < len(shards) else None)
        return VectorPage([], None)

    async def changes(self, after: int | None) -> VectorChanges:
        """What has changed after a cursor, each key with what it is by now."""
        page = await self._feed.read(after)
        if page.gap or not page.told:
            return VectorChanges([], page.cursor, page.more, page.gap)
        wanted: dict[Shard, list[tuple[bytes, bytes]]] = {}
        for told in page.told:
            if told.group and told.key:
                wanted.setdefault(told.shard, []).append((told.key, told.group))
        now: dict[tuple[bytes, bytes], VectorRow | None] = {}
        for shard, pairs in wanted.items():
            pairs = list(dict.fromkeys(pairs))  # noqa: PLW2901  (each once)
            for first in range(0, len(pairs), ROWS_AT_ONCE):
                some = pairs[first : first + ROWS_AT_ONCE]
                reply = await self._client.run(ROWS, shard, *[part for pair in some for part in pair])
                _, rows = _parts(reply, 2)
                for (key, group), row in zip(some, rows, strict=True):
                    now[key, group] = _row(row, group) if row else None
        changes = [
            VectorChange(group[:32], group[32:], key, now[key, group])
            for key, group in dict.fromkeys(
                (told.key, told.group) for told in page.told if told.group and told.key
            )
        ]
        return VectorChanges(changes, page.cursor, page.more)


def _parts(reply: Any, number: int) -> Any:
    if len(reply) != number:
        raise BackendUnavailable("the store in redis is not as this release writes it")
    return reply


def _row(told: Any, group: bytes) -> VectorRow | None:
    return open_row(*told, group=group) if isinstance(told, list) and len(told) == 3 else None  # noqa: PLR2004


def _is_some(reply: Any) -> bool:
    return isinstance(reply, list | set)


def _is_number(reply: Any) -> bool:
    return isinstance(reply, int)
