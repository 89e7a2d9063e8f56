"""Every recording, through the official clients over the proxy: what they see is unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integrations._recorded import ANSWERS, Answer, said, serving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),  # what is compared are bytes, whatever the loop
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.id)
async def test_clients_see_what_they_would_without_a_proxy(answer: Answer, proxying: Any) -> None:
    async with serving(answer) as upstream:
        plain = await said(answer, upstream.base_url)
        assert plain.objects or plain.error
        async with proxying.proxy(upstream.base_url) as served:
            for _ in range(2):
                assert await said(answer, f"{served.url}/v1") == plain
            stats = served.app.settings.cache.stats()
            assert not served.reports
        assert (stats.stored > 0, len(upstream.requests)) == ((True, 2) if answer.stored else (False, 3))
