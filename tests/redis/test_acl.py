"""Users that may do no more than a cache needs."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final
from urllib.parse import quote

import pytest

from asynccache._errors import BackendError, BackendUnavailable
from asynccache.backends import MemoryBackend, Tiered
from asynccache.testing.entries import make_embedding
from asynccache.testing.redis_servers import RedisCluster, RedisServer
from tests.redis._watched import ALL, Watched, entry, in_time, opened, options_of, until

pytestmark = pytest.mark.anyio

READING: Final = "+mget +evalsha +eval +zscan +smembers +zcard +xrange"
"""What is asked directly."""
SCRIPTED: Final = (
    "+time +get +getrange +strlen +exists +set +del +unlink +pexpire +hget +hset +hdel +sadd +srem +zadd"
    " +zrem +zscore +zcount +zrange +zrandmember +zremrangebyrank +xadd +xlen +xrevrange +publish +info"
)
"""What scripts do."""
CONNECTING: Final = "+ping +select +client|setname +subscribe +role +cluster|slots +command|info"
"""``role`` is for Sentinel, ``cluster|slots`` for a cluster, ``select`` for a database other than 0."""
RIGHTS: Final = f"resetkeys ~own:* resetchannels &own:* -@all {CONNECTING} {READING} {SCRIPTED}"


def grant(server: RedisServer, user: str, rights: str) -> None:
    server.command("ACL", "SETUSER", user, "reset", "on", ">a pass:word", *rights.split())


def as_user(server: RedisServer, user: str) -> str:
    return f"redis://{user}:{quote('a pass:word', safe='')}@127.0.0.1:{server.port}"


async def use_everything(store: Watched) -> None:
    """Ask for everything, twice: some of it needs something to be there."""
    for number in range(2):
        await store.put(entry(number, embedding=make_embedding(number)))
        await store.flush()
        assert store._fills.errors == 0
        for name, asking in ALL.items():
            try:
                await asking(store)
            except BackendError as error:
                raise AssertionError(f"{name}: {error}") from error


async def test_a_user_with_no_more_than_these_rights_can_do_everything(redis_server: RedisServer) -> None:
    grant(redis_server, "cache", RIGHTS)
    async with opened(as_user(redis_server, "cache"), prefix="own") as store:
        await use_everything(store)
    async with opened(as_user(redis_server, "cache"), prefix="own", db=1) as store:
        await use_everything(store)


async def test_such_a_user_hears_of_changes(redis_server: RedisServer) -> None:
    grant(redis_server, "cache", RIGHTS)
    writer = Watched(**options_of(redis_server.url, prefix="own"))
    reader = Tiered(MemoryBackend(), Watched(**options_of(as_user(redis_server, "cache"), prefix="own")))
    async with writer.lifespan(), reader.lifespan():
        await reader.put(entry())
        await reader.flush()
        await asyncio.sleep(0.1)
        assert reader.at_hand(entry().key) is not None
        began = time.monotonic()
        await writer.delete([entry().key])
        await until(lambda: reader.at_hand(entry().key) is None, 0.5)
        print(f"heard after {(time.monotonic() - began) * 1000:.1f} ms")  # noqa: T201


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        (RIGHTS.replace("~own:*", "~other:*"), "key"),
        (RIGHTS.replace("+mget", ""), "mget"),
        ("-@all +ping", "client|setname"),
    ],
)
async def test_a_user_without_rights_is_told_what_is_missing(
    redis_server: RedisServer, rights: str, missing: str
) -> None:
    grant(redis_server, "nobody", rights)
    async with opened(as_user(redis_server, "nobody"), prefix="own") as store:
        error = await in_time(store.get(entry().key), 0.1)
        assert isinstance(error, BackendUnavailable)
        assert "refuses these credentials" in str(error)
        assert missing in str(error)
        assert not store.node.breaker.open


async def test_the_rights_suffice_on_a_cluster(redis_cluster: RedisCluster) -> None:
    for node in redis_cluster.nodes:
        grant(node, "cache", RIGHTS)
    where: dict[str, Any] = options_of(
        redis_cluster.url, username="cache", password="a pass:word", prefix="own"
    )
    store = Watched(**where)
    async with store.lifespan():
        await use_everything(store)
