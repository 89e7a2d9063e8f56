"""LangChain's own suites for caches, on Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite

from asynccache.integrations.langchain import AsyncCacheLLM
from asynccache.testing.redis_servers import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server of these tests' own: a cache of LangChain's is connected until the program ends."""
    with RedisServer(tmp_path_factory.mktemp("langchain")) as server:
        yield server


@pytest.fixture
def empty(lasting_server: RedisServer, own_prefix: str) -> AsyncCacheLLM:
    """A cache of the test's own; the store lives as long as the program, so all tests share it."""
    url = f"redis://127.0.0.1:{lasting_server.port}?prefix=langchain:"
    return AsyncCacheLLM(url, scope={"namespace": own_prefix}, strict=True)


class TestSyncSuite(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, empty: AsyncCacheLLM) -> AsyncCacheLLM:
        return empty


class TestAsyncSuite(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, empty: AsyncCacheLLM) -> AsyncCacheLLM:
        return empty
