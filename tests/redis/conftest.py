"""Real Redis servers: one of each kind for the whole run, and fresh ones for tests that kill them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from asynccache.testing import redis_servers
from asynccache.testing.redis_servers import RedisCluster, RedisSentinel, RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server shared by all tests: keys begin with ``own_prefix``."""
    with RedisServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster of three masters shared by all tests."""
    with redis_servers.redis_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisSentinel]:
    """A master, its replica and three Sentinels shared by all tests.

    On a machine with much to do the master may be silent for a second, and has not failed.
    """
    folder = tmp_path_factory.mktemp("sentinel")
    with redis_servers.redis_sentinel(folder, down_after=60.0) as sentinel:
        yield sentinel


@pytest.fixture
def killable_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def fresh_cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Three masters and a replica of each, the test's own."""
    with redis_servers.redis_cluster(tmp_path, replicas=1) as cluster:
        yield cluster


@pytest.fixture
def fresh_sentinel(tmp_path: Path) -> Iterator[RedisSentinel]:
    """A master, its replica and three Sentinels, the test's own."""
    with redis_servers.redis_sentinel(tmp_path) as sentinel:
        yield sentinel


@pytest.fixture
def own_prefix(request: pytest.FixtureRequest) -> str:
    """What the test's keys begin with, so that tests that share a server do not meet."""
    name = re.sub(r"\W+", "-", request.node.name)
    return f"{name[:60]}-{secrets.token_hex(6)}:"
