"""What goes wrong on the way goes wrong as it would without a cache, and for nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import openai
import orjson
import pytest

from asynccache import CachePipeline
from asynccache.integrations.httpx2 import CacheTransport
from asynccache.server.standin import StandIn
from tests.upstreams.conftest import Exchange, Wire

pytestmark = pytest.mark.anyio

ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def completion(text: str = "a") -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return orjson.dumps(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    )


def cache(**options: Any) -> CachePipeline:
    return CachePipeline(**{"backend": "memory://", "decision": None, **options})


@asynccontextmanager
async def asking(handler: Any, own_cache: CachePipeline, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with Wire.server(handler) as server:
        transport = CacheTransport(own_cache)
        url = f"{server.base_url}/"
        async with httpx2.AsyncClient(transport=transport, base_url=url, **options) as client:
            yield client


async def post(client: httpx2.AsyncClient, headers: Any = None, **fields: Any) -> httpx2.Response:
    return await client.post("chat/completions", json={**ASKED, **fields}, headers=headers)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [500, 503, 429])
async def test_stale_answer_replaces_a_failure_whole(stream: bool, status: int) -> None:
    failing = False

    async def handler(exchange: Exchange) -> None:
        headers = {"retry_after": "60", "x_request_id": "r"}
        if failing:
            await exchange.send(Wire.whole(status, b'{"error":{"message":"no"}}', **headers))
        else:
            await exchange.send(Wire.whole(200, completion()))

    async with asking(handler, cache()) as client:
        await post(client)
        failing = True
        headers = {"Cache-Control": "max-age=0, stale-if-error=600"}
        answer = await post(client, headers, stream=stream)
        assert (answer.status_code, answer.headers.get("retry-after")) == (200, None)
        assert answer.headers["cache-status"].endswith("detail=stale")
        assert b'"a"' in answer.content
        assert (await post(client, {"Cache-Control": "max-age=0"}, stream=stream)).status_code == status


async def test_who_shares_a_failing_call_makes_one_of_its_own() -> None:
    begun = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            await anyio.sleep(0.3)
            await exchange.send(Wire.whole(429, b"{}", retry_after_ms="7", x_should_retry="false"))
        else:
            await exchange.send(Wire.whole(200, completion(str(begun))))

    async with asking(handler, cache()) as client:
        leader, *followers = await asyncio.gather(*(post(client) for _ in range(3)))
        assert (leader.status_code, leader.headers["retry-after-ms"]) == (429, "7")
        assert [each.status_code for each in followers] == [200, 200]


async def test_timeout_of_one_is_no_timeout_of_another() -> None:
    async def handler(exchange: Exchange) -> None:
        await anyio.sleep(0.6)
        await exchange.send(Wire.whole(200, completion()))

    async def hasty(client: httpx2.AsyncClient) -> None:
        with pytest.raises(httpx2.ReadTimeout):
            await client.post("chat/completions", json=ASKED, timeout=0.2)

    async with asking(handler, cache()) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(hasty, client)
        await anyio.sleep(0.05)
        assert (await post(client)).status_code == 200


async def test_redirect_is_followed_by_each_who_asked() -> None:
    async def handler(exchange: Exchange) -> None:
        if exchange.path.startswith("/v1/chat"):
            await anyio.sleep(0.1)
            await exchange.send(Wire.whole(307, b"", location="/v2/chat/completions"))
        else:
            await exchange.send(Wire.whole(200, completion()))

    async with asking(handler, cache(), follow_redirects=True) as client:
        answers = await asyncio.gather(*(post(client) for _ in range(3)))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert {answer.json()["id"] for answer in answers} == {"x"}


async def test_events_nobody_understands_go_through_and_are_not_stored() -> None:
    odd = [
        b"data: ping\n\n",
        b'data: "keepalive"\n\n',
        b'data: {"choices":[null]}\n\n',
        b'data: {"error":{}}\n\n',
    ]
    events = [odd[0], Wire.event("a"), odd[1], odd[2], odd[3], Wire.event(None, "stop"), b"data: [DONE]\n\n"]

    async def handler(exchange: Exchange) -> None:
        await exchange.send(Wire.events_head(), *Wire.chunks(b"".join(events), 50))

    own_cache = cache()
    async with asking(handler, own_cache) as client:
        for _ in range(2):
            answer = await post(client, stream=True)
            assert answer.content == b"".join(events)
            assert answer.headers["cache-status"] == "asynccache; fwd=miss"
        assert own_cache.stats().stored == 0


@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n"])
async def test_stream_that_ends_too_early_ends_as_it_did(end: bytes) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.send(Wire.events_head(), *Wire.chunks(Wire.event("a") + end, 1000))

    async with asking(handler, cache()) as client:
        answer = await post(client, stream=True)
        assert answer.content == Wire.event("a") + end


async def test_connection_that_breaks_in_midstream_is_the_transports_own_error() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.send(Wire.events_head(), Wire.chunk(Wire.event("a")))
        exchange.writer.close()

    async with asking(handler, cache()) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await post(client, stream=True)


async def test_answer_that_takes_longer_than_it_may_be_waited_for_by_others_is_not_cut_off() -> None:
    async def handler(exchange: Exchange) -> None:
        for piece in (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n", b"connection: close\r\n\r\n"):
            await exchange.send(piece)
            await anyio.sleep(0.3)
        await exchange.send(completion())
        exchange.writer.close()

    async with asking(handler, cache(), timeout=httpx2.Timeout(0.1, read=0.5)) as client:
        assert (await post(client)).status_code == 200


async def test_paths_never_share() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.send(Wire.whole(200, completion(exchange.path)))

    async with asking(handler, cache()) as client:
        paths = ["/openai/deployments/a/chat/completions?v=1", "/openai/deployments/b/chat/completions?v=1"]
        paths.append("/openai/deployments/a/chat/completions?v=2")
        for _ in range(2):
            told = [(await client.post(path, json=ASKED)).json() for path in paths]
            assert [each["choices"][0]["message"]["content"] for each in told] == [
                f"/v1{path}" for path in paths
            ]


async def test_virtual_hosts_never_share() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.send(Wire.whole(200, completion(exchange.headers["host"])))

    async with asking(handler, cache()) as client:
        for _ in range(2):
            for host in ("a.example", "b.example"):
                told = (await post(client, {"host": host})).json()
                assert told["choices"][0]["message"]["content"] == host


async def test_error_under_success_reaches_the_client_as_it_came() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.send(Wire.whole(200, b"<html>", content_type="text/html"))

    async with asking(handler, cache()) as client:
        for answer in await asyncio.gather(*(post(client) for _ in range(2))):
            assert (answer.status_code, answer.content) == (200, b"<html>")
            assert answer.headers["content-type"] == "text/html"


async def test_numbers_too_large_for_json_are_not_mixed_up() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.send(Wire.whole(200, completion(exchange.body.decode().partition('"seed":')[2])))

    async with asking(handler, cache()) as client:
        for seed in (10**23 + 1, 10**23 + 2):
            body = b'{"model":"m","messages":[{"role":"user","content":"q"}],"seed":%d}' % seed
            headers = {"content-type": "application/json"}
            told = (await client.post("chat/completions", content=body, headers=headers)).json()
            assert told["choices"][0]["message"]["content"] == f"{seed}}}"


async def test_audited_stream_is_asked_for_whole() -> None:
    from asynccache.testing import FakeEmbedder

    near = cache(decision="threshold", threshold=0.9, embedder=FakeEmbedder(), audit=1.0, strict=True)
    async with StandIn() as server, httpx2.AsyncClient(transport=CacheTransport(near)) as http:
        own = openai.AsyncOpenAI(base_url=server.base_url, api_key="k", http_client=http)
        question: Any = [{"role": "user", "content": "how tall is the tower"}]
        other: Any = [{"role": "user", "content": "how tall the tower is"}]
        await own.chat.completions.create(model="m", messages=question)
        await near.flush()
        async for _ in await own.chat.completions.create(model="m", messages=other, stream=True):
            pass
        await near.flush()
        assert not near.stats().failed
