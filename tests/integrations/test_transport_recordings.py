"""Every recording, through the official clients over the caching transport: what they see is unchanged."""

from __future__ import annotations

import pytest

from asynccache import CachePipeline
from asynccache.integrations.httpx2 import CacheTransport
from tests.integrations._recorded import ANSWERS, Answer, bare, said, serving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),  # what is compared are bytes, whatever the loop
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.id)
async def test_clients_see_what_they_would_without_a_cache(answer: Answer) -> None:
    async with serving(answer) as server:
        plain = await said(answer, server.base_url)
        assert plain.objects or plain.error
        async with CachePipeline(backend="memory://", decision=None, strict=True) as cache:
            for _ in range(2):
                assert await said(answer, server.base_url, CacheTransport(cache, bare())) == plain
            stats = cache.stats()
        assert (stats.stored > 0, len(server.requests)) == ((True, 2) if answer.stored else (False, 3))


def test_most_recordings_are_stored_and_no_failure_is(anyio_backend: str) -> None:
    del anyio_backend
    stored = [answer.id for answer in ANSWERS if answer.stored]
    assert len(stored) >= 50
    assert not [name for name in stored if "err" in name or "midstream" in name or "503" in name]
