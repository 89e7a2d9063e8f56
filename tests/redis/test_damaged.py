"""Values that are not what was stored under their names: they are never served, and can be replaced."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from asynccache import BackendError
from asynccache.testing.entries import SPACE, same
from asynccache.testing.redis_servers import RedisCluster, RedisServer
from tests.redis._stocked import Stocked, stocked

pytestmark = pytest.mark.anyio

MUTANTS = 1000


@pytest.fixture(params=["server", "cluster"])
def where(request: pytest.FixtureRequest) -> RedisServer | RedisCluster:
    name = f"redis_{request.param}"
    return request.getfixturevalue(name)  # type: ignore[no-any-return]  # pytest types it as Any


@pytest.fixture
async def store(where: RedisServer | RedisCluster) -> AsyncIterator[Stocked]:
    nodes = where.nodes if isinstance(where, RedisCluster) else (where,)
    options = {
        "nodes": [("127.0.0.1", node.port) for node in nodes],
        "cluster": isinstance(where, RedisCluster),
    }
    async with stocked(where, options) as store:
        yield store


def place(store: Stocked, name: bytes, value: bytes) -> None:
    assert store.server(name).command("SET", name, value) == "OK"


async def test_a_value_under_the_name_of_another_is_never_served(store: Stocked) -> None:
    raw = {entry.key: store.raw(entry.key) for entry in store.entries}
    for at, entry in enumerate(store.entries):
        other = store.entries[at - 1]
        place(store, store.name(entry.key), raw[other.key])
        await is_not_served(store, at)
        await store.backend.put(entry)
        assert same(await store.backend.get(entry.key), entry)


async def test_a_value_that_was_renamed_is_never_served(redis_server: RedisServer) -> None:
    async with stocked(redis_server, {"nodes": [("127.0.0.1", redis_server.port)]}) as store:
        one, other = (store.name(entry.key) for entry in store.entries[:2])
        assert redis_server.command("RENAME", other, one) == "OK"
        await is_not_served(store, 0)
        assert await store.backend.get(store.entries[1].key) is None
        assert redis_server.command("COPY", store.name(store.entries[2].key), other) == 1
        await is_not_served(store, 1)


async def is_not_served(store: Stocked, at: int) -> None:
    """Nobody gets a wrong answer for it, by whatever call."""
    key = store.entries[at].key
    for _ in range(2):
        with suppress(BackendError):
            assert await store.backend.get(key) is None
        try:
            found = await store.backend.get_many([entry.key for entry in store.entries])
        except BackendError:
            pass
        else:
            assert found[at] is None
            for each, entry in zip(found, store.entries, strict=True):
                assert each is None or same(each, entry)
    try:
        scanned = {entry.key: entry async for entry in store.backend.scan()}
    except BackendError:
        pass
    else:
        assert key not in scanned
    rows = (await store.backend.vectors(store.entries[0].partition, SPACE)).rows
    expected = {entry.key: entry.embedding.vector for entry in store.entries if entry.embedding is not None}
    assert all(expected[row.key] == row.vector for row in rows)


def mutant(value: bytes, chance: random.Random) -> bytes:
    changed = bytearray(value)
    kind = chance.random()
    if kind < 0.1:
        return value[: chance.randrange(len(value))]
    if kind < 0.2:
        return value + chance.randbytes(chance.randint(1, 40))
    first = 102 if kind > 0.8 else len(value)  # often in what tells where the parts are
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        changed[chance.randrange(min(first, len(value)))] ^= 1 << chance.randrange(8)
    return bytes(changed)


async def test_flipped_bits_are_never_an_answer(redis_server: RedisServer) -> None:
    chance = random.Random(14)
    ends: Counter[str] = Counter()
    async with stocked(redis_server, {"nodes": [("127.0.0.1", redis_server.port)]}) as store:
        for _ in range(MUTANTS):
            entry = chance.choice(store.entries)
            value = store.raw(entry.key)
            place(store, store.name(entry.key), mutant(value, chance))
            try:
                found = await store.backend.get(entry.key)
            except BackendError as error:
                ends[type(error).__name__] += 1
            else:
                assert found is None or same(found, entry)
                ends["missed" if found is None else "right"] += 1
            if chance.random() < 0.2:
                await is_sound(store)
            await store.backend.put(entry)
            assert same(await store.backend.get(entry.key), entry)
        for name in ("get_many", "vectors", "vector_groups", "measure", "scan", "flight"):
            assert await store.calls()[name]()
    print(ends)  # noqa: T201  (shown when a test fails)


async def is_sound(store: Stocked) -> None:
    """What else reads values gets no wrong ones."""
    expected = {entry.key: entry for entry in (*store.entries, store.extra)}
    with suppress(BackendError):
        found = await store.backend.get_many(list(expected))
        assert all(
            each is None or same(each, expected[key]) for key, each in zip(expected, found, strict=True)
        )
    with suppress(BackendError):
        async for each in store.backend.scan():
            assert same(each, expected[each.key])
    with suppress(BackendError):
        for row in (await store.backend.vectors(store.entries[0].partition, SPACE)).rows:
            embedding = expected[row.key].embedding
            assert embedding is not None
            assert row.vector == embedding.vector
    with suppress(BackendError):
        await store.backend.generations(list(expected))
    with suppress(BackendError):
        await store.backend.vector_changes(store.began)


KINDS = {
    "list": ("RPUSH", "one", "two"),
    "hash": ("HSET", "field", "value"),
    "set": ("SADD", "one"),
    "sorted": ("ZADD", "1", "one"),
    "stream": ("XADD", "*", "other", "fields"),
    "empty": ("SET", ""),
    "text": ("SET", "something else"),
    "huge": ("SET", "8" * 2**24),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["entry", "seq", "feed", "keys", "marks", "labels", "lasting", "groups"])
async def test_values_of_other_formats_are_misses_or_errors(
    redis_server: RedisServer, name: str, kind: str
) -> None:
    async with stocked(redis_server, {"nodes": [("127.0.0.1", redis_server.port)]}) as store:
        key = store.entries[0].key
        base = store.backend._client.names.shards[0].base
        where = store.name(key) if name == "entry" else base + name.encode()
        word, *rest = KINDS[kind]
        redis_server.command("DEL", where)
        redis_server.command(word, where, *rest)
        for call in ("get", "get_many", "generations_of", "fill", "add", "delete", "labels", "flight"):
            try:
                await asyncio.wait_for(store.calls()[call](), 2.0)
            except BackendError:
                continue
            except AssertionError:
                assert (name, call) in LOST
        await is_sound(store)


LOST = {("entry", "generations_of"), ("entry", "fill"), ("labels", "labels"), ("lasting", "labels")}
"""Where what was there is gone, so that the answer is another one."""
