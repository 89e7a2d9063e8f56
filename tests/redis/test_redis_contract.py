"""The contract of a backend, on each topology, alone and behind a memory."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asynccache._protocols import Backend, Clock, Feed
from asynccache.backends import MemoryBackend, RedisBackend, Tiered
from asynccache.testing import BackendContract, FakeClock
from asynccache.testing.redis_servers import RedisCluster, RedisSentinel, RedisServer

PATIENT: dict[str, Any] = {"op_timeout": 10.0, "write_timeout": 20.0}
"""What is asked here is right answers; how long a busy machine takes for them is asked elsewhere."""


class RedisContract(BackendContract):
    persistent = True
    examples = 15
    behind = False
    where: dict[str, Any]

    def make_redis(self, tmp_path: Path, clock: Clock) -> RedisBackend:
        prefix = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
        return RedisBackend(prefix=prefix, clock=clock, write_behind=self.behind, **self.where, **PATIENT)

    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        return self.make_redis(tmp_path, clock)


class TieredContract(RedisContract):
    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        return Tiered(MemoryBackend(clock=clock), self.make_redis(tmp_path, clock))

    @pytest.fixture
    async def neighbour(self, feed: Feed, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Backend]:
        """The backend itself: what another does shows when the feed has told it, not at once."""
        backend: object = feed
        assert isinstance(backend, Backend)
        yield backend  # noqa: PT022  (as the one it replaces)


class OnServer(RedisContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.where = {"nodes": [("127.0.0.1", redis_server.port)]}


class OnSentinel(RedisContract):
    @pytest.fixture(autouse=True)
    def _sentinel(self, redis_sentinel: RedisSentinel) -> None:
        nodes = [("127.0.0.1", each.port) for each in redis_sentinel.sentinels]
        self.where = {"nodes": nodes, "sentinel": "mymaster"}


class OnCluster(RedisContract):
    @pytest.fixture(autouse=True)
    def _cluster(self, redis_cluster: RedisCluster) -> None:
        self.where = {"nodes": [("127.0.0.1", node.port) for node in redis_cluster.nodes], "cluster": True}


class TestServer(OnServer):
    pass


class TestServerBehind(OnServer):
    behind = True
    persistent = False  # what one has put and not flushed, another need not see


class TestServerTiered(OnServer, TieredContract):
    pass


class TestSentinel(OnSentinel):
    pass


class TestSentinelTiered(OnSentinel, TieredContract):
    pass


class TestCluster(OnCluster):
    pass


class TestClusterTiered(OnCluster, TieredContract):
    pass
