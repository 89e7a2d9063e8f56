"""Calls that are cancelled at random, over connections that are delayed, cut up and cut off."""

from __future__ import annotations

import pytest

from asynccache.testing.redis_servers import RedisCluster, RedisSentinel, RedisServer
from tests.redis._fuzz import Fuzz, fuzz_redis, seeded
from tests.redis._naive import BrokenConnectionError, NaiveStore
from tests.redis._proxied import proxied

pytestmark = pytest.mark.anyio

NUMBER = 1500
"""Calls that complete, and calls that are cancelled, on each loop."""


async def check(where: RedisServer | RedisSentinel | RedisCluster) -> None:
    seed = seeded()
    async with proxied(where, seed) as place:
        tally = await fuzz_redis(place, number=NUMBER, seed=seed, within=40.0)
    print(tally)  # noqa: T201  (shown when a test fails)
    assert tally.wrong == 0, tally.found
    assert tally.completed >= NUMBER
    assert tally.cancelled >= NUMBER
    assert tally.right > NUMBER / 3


async def test_no_wrong_answer_from_a_server(redis_server: RedisServer) -> None:
    await check(redis_server)


async def test_no_wrong_answer_from_a_master_that_sentinels_name(redis_sentinel: RedisSentinel) -> None:
    await check(redis_sentinel)


async def test_no_wrong_answer_from_a_cluster(redis_cluster: RedisCluster) -> None:
    await check(redis_cluster)


async def test_the_same_calls_find_a_client_that_believes_in_positions(redis_server: RedisServer) -> None:
    seed = seeded()
    async with proxied(redis_server, seed) as place, NaiveStore(place.proxies[0].port) as naive:
        fuzz = Fuzz([naive], place.proxies, shards=1, seed=seed, broken=(BrokenConnectionError,))
        tally = await fuzz.run(completed=NUMBER, cancelled=NUMBER, within=20.0)
    print(f"{tally.foreign / tally.completed:.1%} foreign:", tally)  # noqa: T201  (what it is about)
    assert tally.foreign > 0
