"""OpenAI's own client before the cache: batches, as numbers and as base64."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import orjson
import pytest

from asynccache import CachePipeline
from asynccache.integrations.httpx2 import CacheTransport
from tests.stages._batches import document, expected
from tests.upstreams.conftest import Exchange, Handler, RawServer, Wire

pytestmark = pytest.mark.anyio


async def embed(exchange: Exchange) -> None:
    """Answer as a server of embeddings does, in the form that was asked for."""
    body = exchange.json()
    given = body["input"]
    answer = document(given if isinstance(given, list) else [given])
    if body.get("encoding_format") == "base64":
        for item in answer["data"]:
            item["embedding"] = b64encode(struct.pack("<3f", *item["embedding"])).decode()
    await exchange.send(Wire.whole(200, orjson.dumps(answer)))


@asynccontextmanager
async def client(handler: Handler = embed) -> AsyncIterator[tuple[openai.AsyncOpenAI, RawServer]]:
    async with Wire.server(handler) as server:
        transport = CacheTransport(CachePipeline(backend="memory://", decision=None, strict=True))
        async with httpx2.AsyncClient(transport=transport) as http:
            yield (
                openai.AsyncOpenAI(base_url=server.base_url, api_key="k", http_client=http, max_retries=0),
                server,
            )


def inputs(server: RawServer) -> list[Any]:
    return [exchange.json()["input"] for exchange in server.requests]


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}], ids=str)
async def test_the_official_client_gets_batches_of_which_only_the_missing_were_asked_for(
    options: dict[str, Any],
) -> None:
    async with client() as (own, server):
        for given in (["a", "b"], ["c", "b", "a", "c"], ["a"], "c"):
            answer = await own.embeddings.create(model="e", input=given, **options)
            assert [item.embedding for item in answer.data] == expected(list(given))
            assert [item.index for item in answer.data] == list(range(len(given)))
            assert answer.usage.total_tokens == len(given)
    assert inputs(server) == [["a", "b"], ["c"]]


async def test_the_official_client_gets_each_form_from_entries_of_its_own() -> None:
    async with client() as (own, server):
        for _ in range(2):
            decoded = await own.embeddings.create(model="e", input=["a", "b"])
            numbers = await own.embeddings.create(model="e", input=["a", "b"], encoding_format="float")
            assert [item.embedding for item in decoded.data] == [item.embedding for item in numbers.data]
    assert inputs(server) == [["a", "b"]] * 2


async def test_the_official_client_never_gets_the_answer_to_a_part_of_its_batch() -> None:
    short = orjson.dumps(document(["b"]))

    async def sometimes(exchange: Exchange) -> None:
        if exchange.json()["input"] == ["b", "c"]:
            await exchange.send(Wire.whole(200, short))
        else:
            await embed(exchange)

    async with client(sometimes) as (own, server):
        await own.embeddings.create(model="e", input="a")
        answer = await own.embeddings.create(model="e", input=["a", "b", "c"])
    assert [item.embedding for item in answer.data] == expected(["a", "b", "c"])
    assert inputs(server) == ["a", ["b", "c"], ["a", "b", "c"]]
