"""Reading all entries of a store in Redis, oldest first."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asynccache._errors import CorruptEntry
from asynccache.backends._redis_read_scripts import HEADS
from asynccache.backends._redis_value import is_of, open_whole

if TYPE_CHECKING:
    from asynccache._models import Entry
    from asynccache.backends._redis_client import Client
    from asynccache.backends._redis_names import Shard

__all__ = ["scan"]

KEYS: Final = 500
"""Keys listed, and heads read, at once."""
PAGE: Final = 32
"""Entries read at once: they may be large, and all are in memory together."""

_HEAD: Final = Struct(">dd32s")


class _Listed(NamedTuple):
    created_at: float
    key: bytes
    shard: Shard


async def scan(
    client: Client, partition: bytes | None, now: Callable[[], float]
) -> AsyncGenerator[Entry, None]:
    """Every live entry, of one partition or of all, with its embedding.

    Where they stand in time is read of all before the first is given out: some 150 bytes for each.
    """
    listed: list[_Listed] = []
    for shard in client.names.shards:
        listed += [each async for each in _listed(client, shard, partition)]
    listed.sort(key=lambda each: each[:2])
    for first in range(0, len(listed), PAGE):
        some = listed[first : first + PAGE]
        for each, value in zip(some, await _values(client, some), strict=True):
            if value is None:
                continue
            try:
                entry = open_whole(value, each.key)
            except CorruptEntry:
                continue
            if entry.expires_at > now() and partition in (None, entry.partition):
                yield entry


async def _listed(client: Client, shard: Shard, partition: bytes | None) -> AsyncIterator[_Listed]:
    cursor = b"0"
    seen: set[bytes] = set()
    while True:
        cursor, members = await client.ask(
            shard, b"ZSCAN", shard.base + b"keys", cursor, b"COUNT", b"%d" % KEYS, fits=_is_page
        )
        keys = [key for key in members[::2] if key not in seen]
        seen.update(keys)
        for first in range(0, len(keys), KEYS):
            some = keys[first : first + KEYS]
            _, heads = await client.run(HEADS, shard, *some)
            for key, head in zip(some, heads, strict=True):
                if len(head) == _HEAD.size:
                    _, created_at, of = _HEAD.unpack(head)
                    if partition in (None, of):
                        yield _Listed(created_at, key, shard)
        if cursor == b"0":
            return


async def _values(client: Client, listed: Sequence[_Listed]) -> list[Any]:
    by_shard: dict[Shard, list[bytes]] = {}
    for each in listed:
        by_shard.setdefault(each.shard, []).append(each.key)
    asked = {
        shard: client.ask(shard, b"MGET", *[shard.entry + key for key in keys], fits=partial(_fits, keys))
        for shard, keys in by_shard.items()
    }
    values: dict[bytes, Any] = {}
    for shard, keys in by_shard.items():
        values.update(zip(keys, await asked[shard], strict=True))
    return [values[each.key] for each in listed]


def _fits(keys: Sequence[bytes], reply: Any) -> bool:
    if not isinstance(reply, list) or len(reply) != len(keys):
        return False
    return all(value is None or is_of(value, key) for value, key in zip(reply, keys, strict=True))


def _is_page(reply: Any) -> bool:
    return isinstance(reply, list) and len(reply) == 2 and isinstance(reply[1], list)  # noqa: PLR2004
