"""The caching transport under official clients: what is shared, what passes by, and how calls end."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import httpx
import httpx2
import openai
import pytest

from asynccache import CachePipeline, ConfigurationError
from asynccache.integrations import httpx as over_httpx
from asynccache.integrations.httpx2 import CacheTransport
from asynccache.server.standin import StandIn
from asynccache.testing import FakeEmbedder
from tests.upstreams.conftest import Exchange, Wire

pytestmark = pytest.mark.anyio

MODEL: Any = "m"


def cache(**options: Any) -> CachePipeline:
    return CachePipeline(**{"backend": "memory://", "decision": None, "strict": True, **options})


def asked(text: str) -> Any:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}]}


@asynccontextmanager
async def client(
    base_url: str, transport: Any, key: str = "k", **options: Any
) -> AsyncIterator[openai.AsyncOpenAI]:
    async with httpx2.AsyncClient(transport=transport) as http:
        yield openai.AsyncOpenAI(
            **{"base_url": base_url, "api_key": key, "http_client": http, "max_retries": 0, **options}
        )


async def status(own: openai.AsyncOpenAI, text: str, **options: Any) -> str:
    answer = await own.chat.completions.with_raw_response.create(**asked(text), **options)
    return str(answer.headers["cache-status"])


async def text_of(stream: Any) -> str:
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_streamed_and_whole_answers_are_one_entry() -> None:
    async with StandIn() as server, client(server.base_url, CacheTransport(cache())) as own:
        whole = await own.chat.completions.create(**asked("hello"))
        streamed = await text_of(await own.chat.completions.create(**asked("hello"), stream=True))
        assert streamed == whole.choices[0].message.content
        usage: Any = {"stream": True, "stream_options": {"include_usage": True}}
        first = await text_of(await own.chat.completions.create(**asked("other"), **usage))
        assert (await own.chat.completions.create(**asked("other"))).choices[0].message.content == first
        assert server.stats.requests == 2


async def test_accounts_never_share() -> None:
    async with StandIn() as server, cache() as shared:
        accounts: list[dict[str, Any]] = [
            {},
            {"key": "other"},
            {"organization": "o"},
            {"project": "p"},
            {"default_headers": {"x-unheard-of": "1"}},
        ]
        for number, account in enumerate(accounts):
            async with client(server.base_url, CacheTransport(shared), **account) as own:
                assert await status(own, "hello") == "asynccache; fwd=miss"
                assert (await status(own, "hello")).startswith("asynccache; hit")
            assert server.stats.requests == number + 1


async def test_servers_never_share() -> None:
    async with StandIn() as one, StandIn() as other, cache() as shared:
        for server in (one, other):
            async with client(server.base_url, CacheTransport(shared)) as own:
                await own.chat.completions.create(**asked("hello"))
        assert (one.stats.requests, other.stats.requests) == (1, 1)


async def test_scopes_never_share() -> None:
    async with StandIn() as server, cache() as shared:
        for scope in ({}, {"tenant": "a"}, {"tenant": "b"}, {"user": "a"}, {"namespace": "a"}):
            async with client(server.base_url, CacheTransport(shared, scope=scope)) as own:
                assert await status(own, "hello") == "asynccache; fwd=miss"


@pytest.mark.parametrize("streamed", [False, True])
async def test_fifty_clients_at_once_make_one_call(streamed: bool) -> None:
    async with StandIn(latency=0.05) as server, client(server.base_url, CacheTransport(cache())) as own:

        async def ask(_: int) -> str:
            if streamed:
                return await text_of(await own.chat.completions.create(**asked("hello"), stream=True))
            return (await own.chat.completions.create(**asked("hello"))).choices[0].message.content or ""

        answers = await asyncio.gather(*map(ask, range(50)))
        assert len(set(answers)) == 1
        assert server.stats.requests == 1


async def test_streams_without_usage_are_shared_with_those_alone_who_do_without() -> None:
    async with StandIn(latency=0.05) as server, client(server.base_url, CacheTransport(cache())) as own:

        async def whole() -> int:
            answer = await own.chat.completions.create(**asked("hello"))
            return 0 if answer.usage is None else answer.usage.total_tokens

        async def streamed() -> str:
            return await text_of(await own.chat.completions.create(**asked("hello"), stream=True))

        told = await asyncio.gather(streamed(), whole(), streamed(), whole())
        assert told[0] == told[2]
        assert told[1] == told[3] != 0
        assert server.stats.requests <= 2


async def test_near_question_is_a_semantic_hit() -> None:
    near = cache(decision="threshold", threshold=0.9, embedder=FakeEmbedder())
    async with StandIn() as server, client(server.base_url, CacheTransport(near)) as own:
        await own.chat.completions.create(**asked("how tall is the tower"))
        await near.flush()
        assert (await status(own, "how tall the tower is")).endswith("detail=semantic")


async def test_other_calls_pass_untouched() -> None:
    seen: list[Exchange] = []

    async def answer(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.send(Wire.whole(200, b'{"data": [], "object": "list"}'))

    async with Wire.server(answer) as server, client(server.base_url, CacheTransport(cache())) as own:
        for _ in range(2):
            await own.models.list()
            await own.files.create(file=b"\x00\x01", purpose="assistants")
            await own.post("/chat/completions/x", cast_to=object)
    assert [exchange.path for exchange in seen] == 2 * ["/v1/models", "/v1/files", "/v1/chat/completions/x"]
    assert b"\x00\x01" in seen[1].body


async def test_miss_has_the_headers_of_the_upstream_and_a_hit_has_none_of_them() -> None:
    async def answer(exchange: Exchange) -> None:
        body = gzip.compress(ANSWER)
        headers = {"x_request_id": "req_1", "content_encoding": "gzip"}
        await exchange.send(Wire.whole(200, body, **headers))

    async with Wire.server(answer) as server, client(server.base_url, CacheTransport(cache())) as own:
        miss = await own.chat.completions.with_raw_response.create(**asked("q"))
        hit = await own.chat.completions.with_raw_response.create(**asked("q"))
    assert miss.parse() == hit.parse()
    assert (miss.headers["x-request-id"], miss.headers["cache-status"]) == ("req_1", "asynccache; fwd=miss")
    assert "x-request-id" not in hit.headers
    assert hit.headers["age"] == "0"


async def test_hits_have_ids_of_their_own_if_asked() -> None:
    renewing = CacheTransport(cache(), renew_ids=True)
    async with StandIn() as server, client(server.base_url, renewing) as own:
        answers = [await own.chat.completions.create(**asked("q")) for _ in range(3)]
        ids = {answer.id for answer in answers}
        assert len(ids) == 3
        assert answers[1].created > time.time() - 60
        streamed = [chunk async for chunk in await own.chat.completions.create(**asked("q"), stream=True)]
        assert len({chunk.id for chunk in streamed}) == 1
        assert streamed[0].id not in ids
        changed = answers[2].model_copy(update={"id": answers[0].id, "created": answers[0].created})
        assert changed == answers[0]


async def test_headers_control_the_cache_and_stay_here() -> None:
    seen: list[Exchange] = []

    async def answer(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.send(Wire.whole(200, ANSWER))

    own_cache = cache()
    async with (
        Wire.server(answer) as server,
        own_cache,
        client(server.base_url, CacheTransport(own_cache)) as own,
    ):
        with pytest.raises(openai.InternalServerError, match="only_if_cached"):
            await status(own, "q", extra_headers={"Cache-Control": "only-if-cached"})
        assert not seen
        tagged = {"X-Cache-Tags": "a, b"}
        assert await status(own, "q", extra_headers=tagged) == "asynccache; fwd=miss"
        assert "x-cache-tags" not in seen[0].headers
        assert (await status(own, "q", extra_headers=tagged)).startswith("asynccache; hit")
        assert await own_cache.invalidate(tags=["b"]) == 1
        assert await status(own, "q", extra_headers={"Cache-Control": "no-store"}) == "asynccache; fwd=miss"
        assert await status(own, "q") == "asynccache; fwd=miss"
        refreshed = await status(own, "q", extra_headers={"Cache-Control": "no-cache"})
        assert refreshed == "asynccache; fwd=request"
        with pytest.raises(openai.BadRequestError, match="Cache-Control: max-age needs whole seconds"):
            await status(own, "q", extra_headers={"Cache-Control": "max-age=soon"})


async def test_stale_answer_is_served_when_the_server_is_down() -> None:
    async with cache() as own_cache:
        async with StandIn() as server, client(server.base_url, CacheTransport(own_cache)) as own:
            await own.chat.completions.create(**asked("q"))
            base_url = server.base_url
        async with client(base_url, CacheTransport(own_cache)) as own:
            headers = {"Cache-Control": "max-age=0, stale-if-error=60"}
            assert (await status(own, "q", extra_headers=headers)).endswith("detail=stale")
            with pytest.raises(openai.APIConnectionError):
                await status(own, "q", extra_headers={"Cache-Control": "max-age=0"})


async def test_body_that_is_refused_at_our_door_is_the_servers_to_refuse() -> None:
    async with StandIn() as server, client(server.base_url, CacheTransport(cache())) as own:
        with pytest.raises(openai.BadRequestError, match="at least one message"):
            await own.chat.completions.create(model=MODEL, messages=[])
        assert server.stats.refused == 1


async def test_whole_answer_to_a_stream_is_read_as_one() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(Wire.whole(200, ANSWER))

    async with Wire.server(answer) as server, client(server.base_url, CacheTransport(cache())) as own:
        for _ in range(2):
            assert await text_of(await own.chat.completions.create(**asked("q"), stream=True)) == "a"
        assert len(server.requests) == 1


async def test_server_that_cannot_be_reached_is_the_clients_own_error() -> None:
    async with client("http://127.0.0.1:9/v1", CacheTransport(cache())) as own:
        with pytest.raises(openai.APIConnectionError) as raised:
            await own.chat.completions.create(**asked("q"))
    assert isinstance(raised.value.__cause__, httpx2.ConnectError)


async def test_server_that_is_silent_is_the_clients_own_timeout() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.client_left()

    async with Wire.server(answer) as server, client(server.base_url, CacheTransport(cache())) as own:
        for stream in (False, True):
            with pytest.raises(openai.APITimeoutError):
                await own.chat.completions.create(**asked("q"), timeout=0.2, stream=stream)
        await server.all_closed()


async def test_who_has_waited_for_anothers_call_as_long_as_told_makes_one_of_its_own() -> None:
    transport = CacheTransport(cache())
    async with StandIn(latency=1.0) as server, client(server.base_url, transport) as own:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(status, own, "q")
            await anyio.sleep(0.2)
            began = anyio.current_time()
            with pytest.raises(openai.APITimeoutError):
                await status(own, "q", timeout=httpx2.Timeout(0.05))
            assert anyio.current_time() - began < 0.7
        assert (await status(own, "q")).startswith("asynccache; hit")
        assert server.stats.requests == 2


async def test_stream_that_is_left_early_closes_the_upstreams() -> None:
    async with StandIn(per_token=0.05) as server, client(server.base_url, CacheTransport(cache())) as own:
        stream = await own.chat.completions.create(**asked("a b c d e f g h"), stream=True)
        await anext(aiter(stream))
        await stream.close()
        with anyio.fail_after(5):
            while not server.stats.disconnected:  # noqa: ASYNC110  (another's counter)
                await anyio.sleep(0.01)
        assert await status(own, "a b c d e f g h") == "asynccache; fwd=miss"


async def test_call_that_is_cancelled_closes_the_upstreams() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.client_left()

    async with Wire.server(answer) as server, client(server.base_url, CacheTransport(cache())) as own:
        with anyio.move_on_after(0.2):
            await own.chat.completions.create(**asked("q"))
        await server.all_closed()


async def test_first_call_opens_the_pipeline_and_closing_the_client_closes_it() -> None:
    own_cache = cache()
    async with StandIn() as server:
        async with client(server.base_url, CacheTransport(own_cache)) as own:
            await asyncio.gather(*[status(own, f"q{number}") for number in range(10)])
            assert own_cache.is_open
        assert not own_cache.is_open


async def test_pipeline_of_somebody_else_stays_open() -> None:
    async with StandIn() as server, cache() as own_cache:
        async with client(server.base_url, CacheTransport(own_cache)) as own:
            await status(own, "q")
        assert own_cache.is_open


async def test_closed_pipeline_costs_no_answer_and_one_warning() -> None:
    async with StandIn() as server:
        async with cache() as own_cache:
            transport = CacheTransport(own_cache)
            async with httpx2.AsyncClient(transport=transport) as http:
                own = openai.AsyncOpenAI(base_url=server.base_url, api_key="k", http_client=http)
                await own.chat.completions.create(**asked("q"))
                await own_cache.__aexit__(None, None, None)
                with pytest.warns(RuntimeWarning, match="requests go out uncached"):
                    await own.chat.completions.create(**asked("q"))
                await own.chat.completions.create(**asked("q"))  # warns no more: a warning is an error here
        assert server.stats.requests == 3


@pytest.mark.parametrize("options", [{"pipeline": 5}, {"secret": b"short"}, {"secret": "text" * 10}])
def test_impossible_options_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        CacheTransport(**{"pipeline": cache(), **options})


async def test_httpx_has_the_same() -> None:
    async with StandIn() as server:
        transport = over_httpx.CacheTransport(cache())
        async with httpx.AsyncClient(transport=transport, base_url=server.base_url) as own:
            statuses, bodies = [], []
            for stream in (False, False, True):
                answer = await own.post("/chat/completions", json={**asked("q"), "stream": stream})
                statuses.append(answer.headers["cache-status"].split(";")[1])
                bodies.append(answer.content)
            assert statuses == [" fwd=miss", " hit", " hit"]
            assert bodies[0] == bodies[1]
            assert bodies[2].endswith(b"data: [DONE]\n\n")
            assert (await own.get("/models")).status_code == 200
        async with httpx.AsyncClient(transport=over_httpx.CacheTransport(cache())) as own:
            with pytest.raises(httpx.ConnectError):
                await own.post("http://127.0.0.1:9/v1/chat/completions", json=asked("q"))


@contextmanager
def blocking(base_url: str) -> Iterator[openai.OpenAI]:
    with httpx2.Client(transport=CacheTransport(cache())) as http:
        yield openai.OpenAI(base_url=base_url, api_key="k", http_client=http, max_retries=0)


async def test_blocking_clients_are_cached_too() -> None:
    def work(base_url: str) -> None:
        with blocking(base_url) as own:
            statuses = [
                own.chat.completions.with_raw_response.create(**asked("q"))
                .headers["cache-status"]
                .split(";")[1]
                for _ in range(2)
            ]
            assert statuses == [" fwd=miss", " hit"]
            streams = [list(own.chat.completions.create(**asked("other"), stream=True)) for _ in range(2)]
            assert streams[0] == streams[1]
            assert len(own.models.list().data) == 1
            with own.chat.completions.create(**asked("left early"), stream=True) as left:
                next(iter(left))
            with pytest.raises(openai.BadRequestError):
                own.chat.completions.create(model=MODEL, messages=[])
        with blocking("http://127.0.0.1:9/v1") as own, pytest.raises(openai.APIConnectionError):
            own.chat.completions.create(**asked("q"))

    async with StandIn(per_token=0.01) as server:
        await anyio.to_thread.run_sync(work, server.base_url)
        assert server.stats.requests == 4


async def test_blocking_clients_in_many_threads_make_one_call() -> None:
    def work(base_url: str) -> list[str | None]:
        with blocking(base_url) as own, ThreadPoolExecutor(20) as threads:
            asking = [threads.submit(lambda: own.chat.completions.create(**asked("q"))) for _ in range(20)]
            return [each.result().choices[0].message.content for each in asking]

    async with StandIn(latency=0.3) as server:
        answers = await anyio.to_thread.run_sync(work, server.base_url)
        assert len(set(answers)) == 1
        assert server.stats.requests == 1


async def test_blocking_client_over_a_pipeline_that_is_open_elsewhere_goes_uncached() -> None:
    def work(base_url: str, transport: CacheTransport) -> None:
        with httpx2.Client(transport=transport) as http:
            own = openai.OpenAI(base_url=base_url, api_key="k", http_client=http)
            with pytest.warns(RuntimeWarning, match="open elsewhere"):
                own.chat.completions.create(**asked("q"))

    async with StandIn() as server, cache() as own_cache:
        await anyio.to_thread.run_sync(work, server.base_url, CacheTransport(own_cache))


ANSWER = (
    b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}'
)
