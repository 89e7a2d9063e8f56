"""OpenAI's own client before the cache, for text completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import openai
import pytest

from asynccache import CachePipeline
from asynccache.integrations.httpx2 import CacheTransport
from tests.dialects._openai_wire import served, transcript
from tests.upstreams.conftest import RawServer

pytestmark = pytest.mark.anyio

FOLDER: Final = "openai-completions"
ASKED: Final[dict[str, Any]] = {"model": "m", "prompt": "What is the capital of France?"}


@asynccontextmanager
async def client(*answers: bytes) -> AsyncIterator[tuple[openai.AsyncOpenAI, RawServer]]:
    async with served(*answers) as server:
        transport = CacheTransport(CachePipeline(backend="memory://", decision=None, strict=True))
        async with httpx2.AsyncClient(transport=transport) as http:
            yield (
                openai.AsyncOpenAI(base_url=server.base_url, api_key="k", http_client=http, max_retries=0),
                server,
            )


async def streamed(own: openai.AsyncOpenAI) -> list[Any]:
    stream = await own.completions.create(**ASKED, stream=True, stream_options={"include_usage": True})
    return [chunk async for chunk in stream]


async def test_a_whole_answer_is_read_again_and_as_a_stream() -> None:
    async with client(transcript(FOLDER, "openai_plain").wire) as (own, server):
        whole = await own.completions.create(**ASKED)
        again = await own.completions.create(**ASKED)
        chunks = await streamed(own)
    assert len(server.requests) == 1
    assert again.choices == whole.choices
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage


async def test_a_stream_is_read_again_and_as_a_whole_answer() -> None:
    async with client(transcript(FOLDER, "openai_plain_stream").wire) as (own, server):
        chunks = await streamed(own)
        again = await streamed(own)
        whole = await own.completions.create(**ASKED)
    assert len(server.requests) == 1
    assert [chunk.choices for chunk in again] == [chunk.choices for chunk in chunks]
    assert whole.choices[0].text == "\n\nParis is the capital of France."
    assert whole.usage == chunks[-1].usage
