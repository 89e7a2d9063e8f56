"""A hundred thousand calls to Redis that complete, and as many that are cancelled: no answer is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from asynccache.testing import redis_servers
from asynccache.testing.redis_servers import RedisCluster, RedisSentinel, RedisServer
from tests.redis._fuzz import fuzz_redis, seeded
from tests.redis._proxied import proxied

pytestmark = [pytest.mark.anyio, pytest.mark.soak, pytest.mark.timeout(1200)]

NUMBER = 34_000
"""Of each kind, on each of three topologies."""


@pytest.fixture(params=["server", "sentinel", "cluster"])
def where(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[RedisServer | RedisSentinel | RedisCluster]:
    with ExitStack() as stack:
        if request.param == "server":
            yield stack.enter_context(RedisServer(tmp_path))
        elif request.param == "sentinel":
            yield stack.enter_context(redis_servers.redis_sentinel(tmp_path))
        else:
            yield stack.enter_context(redis_servers.redis_cluster(tmp_path))


async def test_no_wrong_answer_in_a_hundred_thousand(
    where: RedisServer | RedisSentinel | RedisCluster,
) -> None:
    seed = seeded()
    async with proxied(where, seed) as place:
        tally = await fuzz_redis(place, number=NUMBER, seed=seed, within=500.0)
    print(tally)  # noqa: T201  (what a soak is for)
    assert tally.wrong == 0, tally.found
    assert tally.completed >= NUMBER
    assert tally.cancelled >= NUMBER
