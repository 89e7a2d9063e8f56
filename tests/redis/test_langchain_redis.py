"""LangChain's own suites for caches, on Redis."""

from __future__ import annotations

import pytest
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite

from asynccache.integrations.langchain import AsyncCacheLLM
from asynccache.testing.redis_servers import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def empty(redis_server: RedisServer, own_prefix: str) -> AsyncCacheLLM:
    """A cache of the test's own; the store lives as long as the program, so all tests share it."""
    url = f"redis://127.0.0.1:{redis_server.port}?prefix=langchain:"
    return AsyncCacheLLM(url, scope={"namespace": own_prefix}, strict=True)


class TestSyncSuite(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, empty: AsyncCacheLLM) -> AsyncCacheLLM:
        return empty


class TestAsyncSuite(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, empty: AsyncCacheLLM) -> AsyncCacheLLM:
        return empty
