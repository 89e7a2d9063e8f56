"""What every web framework's integration must do, asked over real HTTP: a suite to inherit from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx2
import openai
import orjson
import pytest

from asynccache import CachePipeline, PipelineClosed, UpstreamBusy, UpstreamStreamError
from asynccache.server.standin import StandIn
from asynccache.stages import MissHandler, Normalize, SingleFlight
from asynccache.testing import FakeUpstream
from asynccache.upstreams import CallableUpstream

DEADLINE = 10.0
"""Seconds; all that is waited for comes sooner, or not at all."""

MESSAGES: Any = [{"role": "user", "content": "what is a cache"}]
BODY: dict[str, Any] = {"model": "m", "messages": MESSAGES}
STREAMED = {**BODY, "stream": True}
QUESTION = {"question": "what is a cache"}

Serve = Callable[[CachePipeline | Callable[[], CachePipeline]], AbstractAsyncContextManager[str]]
"""Serves an application with these routes, and gives its base URL.

``GET /ask`` is ``cache.ask``, its errors handled; ``/outcome`` and ``/stream`` are ``cache_response``; ``POST
/v1/chat/completions`` is ``answer_request`` with the scope of the ``X-Tenant`` header, ``/renewed`` with
``renew``. Bodies may have a million bytes.
"""


def pipeline(upstream: Any, **options: Any) -> CachePipeline:
    return CachePipeline(
        upstream, **{"backend": "memory://", "decision": None, "default_model": "m", **options}
    )


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(DEADLINE):
        while not true():  # noqa: ASYNC110  (what is waited for happens in another's task)
            await anyio.sleep(0.01)


@asynccontextmanager
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left: set[asyncio.Task[Any]] = set()
    for _ in range(100):
        left = asyncio.all_tasks() - before
        if not left:
            return
        await anyio.sleep(0.01)
    raise AssertionError(left)


def events_of(body: bytes) -> list[bytes]:
    return [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]


async def raw_post(url: str, body: Mapping[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that sends a request, and then reads no more than it is told to."""
    at = httpx2.URL(url)
    reader, writer = await asyncio.open_connection(at.host, at.port, limit=2**16)
    content = orjson.dumps(body)
    head = f"POST {at.path} HTTP/1.1\r\nhost: {at.host}\r\ncontent-length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    await writer.drain()
    return reader, writer


class WebSuite:
    """Inherit, and give a ``serve`` fixture."""

    async def test_second_outcome_is_a_hit_and_its_headers_say_so(self, serve: Serve) -> None:
        upstream = FakeUpstream("a store")
        async with serve(pipeline(upstream)) as url, httpx2.AsyncClient(base_url=url) as http:
            first = await http.get("/outcome", params=QUESTION)
            second = await http.get("/outcome", params=QUESTION)
        assert first.headers["cache-status"] == "asynccache; fwd=miss"
        assert "age" not in first.headers
        assert second.headers["cache-status"].startswith("asynccache; hit; ttl=3")
        assert second.headers["age"] == "0"
        assert second.headers["content-type"] == "application/json"
        assert second.content == first.content
        assert second.json()["choices"][0]["message"]["content"] == "a store"
        assert len(upstream.calls) == 1

    async def test_pipeline_is_closed_with_the_application_and_may_be_opened_again(
        self, serve: Serve
    ) -> None:
        cache = pipeline(FakeUpstream())
        for _ in range(2):
            async with serve(cache) as url, httpx2.AsyncClient(base_url=url) as http:
                assert (await http.get("/ask", params=QUESTION)).status_code == 200
            with pytest.raises(PipelineClosed):
                await cache.ask("anybody there?")

    async def test_factory_makes_the_pipeline_when_the_application_starts(self, serve: Serve) -> None:
        made = 0

        def factory() -> CachePipeline:
            nonlocal made
            made += 1
            return pipeline(FakeUpstream())

        served = serve(factory)
        assert made == 0
        async with served as url, httpx2.AsyncClient(base_url=url) as http:
            assert (await http.get("/ask", params=QUESTION)).json() == {"answer": "answer 1"}
        assert made == 1

    @pytest.mark.parametrize("path", ["/stream", "/v1/chat/completions"])
    async def test_streamed_events_are_those_of_the_upstream_fresh_and_stored(
        self, serve: Serve, path: str
    ) -> None:
        async def asked(http: httpx2.AsyncClient) -> httpx2.Response:
            if path == "/stream":
                return await http.get(path, params=QUESTION)
            return await http.post(path, json=STREAMED)

        async with (
            StandIn() as standin,
            serve(pipeline(standin.base_url)) as url,
            httpx2.AsyncClient(base_url=url) as http,
        ):
            plain = await http.post(f"{standin.base_url}/chat/completions", json=STREAMED)
            first, second = await asked(http), await asked(http)
            assert standin.stats.requests == 2
        expected = [
            b"[DONE]" if event == b"[DONE]" else orjson.loads(event) for event in events_of(plain.content)
        ]
        assert len(expected) > 5
        for response in (first, second):
            events = events_of(response.content)
            assert [b"[DONE]" if event == b"[DONE]" else orjson.loads(event) for event in events] == expected
            assert response.headers["content-type"].startswith("text/event-stream")
        assert first.headers["cache-status"] == "asynccache; fwd=miss"
        assert "hit" in second.headers["cache-status"]
        assert second.headers["age"] == "0"

    async def test_fresh_events_arrive_as_the_upstream_sends_them(self, serve: Serve) -> None:
        more = anyio.Event()

        async def slow(_: Mapping[str, Any]) -> AsyncIterator[str]:
            yield "one"
            await more.wait()
            yield " two"

        async with serve(pipeline(slow)) as url, httpx2.AsyncClient(base_url=url) as http:
            with anyio.fail_after(DEADLINE):
                async with http.stream("POST", "/v1/chat/completions", json=STREAMED) as response:
                    pieces = response.aiter_raw()
                    begun = await anext(pieces)
                    while b"one" not in begun:
                        begun += await anext(pieces)
                    more.set()
                    assert b"two" in b"".join([piece async for piece in pieces])

    async def test_openai_client_is_answered_in_both_modes(self, serve: Serve) -> None:
        async with (
            StandIn() as standin,
            serve(pipeline(standin.base_url)) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        ):
            whole = await client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
            assert whole.headers["cache-status"] == "asynccache; fwd=miss"
            text = whole.parse().choices[0].message.content
            stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            assert "".join(pieces) == text
            assert standin.stats.requests == 1

    async def test_fifty_alike_at_once_cost_one_call_whole_and_streamed(self, serve: Serve) -> None:
        async with (
            StandIn(latency=0.2) as standin,
            serve(pipeline(standin.base_url)) as url,
            httpx2.AsyncClient(base_url=url, limits=httpx2.Limits(max_connections=60)) as http,
        ):
            for calls, body in enumerate((BODY, {**STREAMED, "seed": 1}), 1):
                answers: list[httpx2.Response] = []

                async def ask(body: dict[str, Any] = body, into: list[httpx2.Response] = answers) -> None:
                    into.append(await http.post("/v1/chat/completions", json=body))

                with anyio.fail_after(DEADLINE):
                    async with anyio.create_task_group() as tasks:
                        for _ in range(50):
                            tasks.start_soon(ask)
                assert standin.stats.requests == calls
                assert {answer.status_code for answer in answers} == {200}
                assert len({answer.content for answer in answers}) == 1
                told = [answer.headers["cache-status"] for answer in answers]
                assert sum("collapsed" in status or "hit" in status for status in told) == 49

    async def test_client_that_leaves_in_mid_stream_closes_the_silent_upstream(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with StandIn(per_token=60) as standin, serve(pipeline(standin.base_url)) as url:
            async with (
                no_task_is_left(),
                httpx2.AsyncClient(base_url=url) as http,
                http.stream("POST", "/v1/chat/completions", json=STREAMED) as response,
            ):
                pieces = response.aiter_raw()
                await anext(pieces)
                assert standin.stats.disconnected == 0
            await until(lambda: standin.stats.disconnected == 1)
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []

    @pytest.mark.parametrize("body", [BODY, STREAMED], ids=["whole", "stream"])
    async def test_client_that_leaves_before_anything_came_closes_the_upstream(
        self, serve: Serve, body: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        upstream = FakeUpstream("late", "in time")
        upstream.hold()
        async with serve(pipeline(upstream)) as url, httpx2.AsyncClient(base_url=url) as http:
            async with no_task_is_left(), anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: http.post("/v1/chat/completions", json=body))
                with anyio.fail_after(DEADLINE):
                    await upstream.called()
                assert upstream.in_flight == 1
                tasks.cancel_scope.cancel()
            await until(lambda: upstream.in_flight == 0)
            upstream.release()
            assert b"in time" in (await http.post("/v1/chat/completions", json=BODY)).content
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []

    async def test_client_that_leaves_takes_nothing_from_another(self, serve: Serve) -> None:
        async with (
            StandIn(latency=0.3, per_token=0.02) as standin,
            serve(pipeline(standin.base_url)) as url,
            httpx2.AsyncClient(base_url=url) as http,
        ):
            _, leaver = await raw_post(f"{url}/v1/chat/completions", STREAMED)
            await until(lambda: standin.stats.streams == 1)
            async with http.stream("POST", "/v1/chat/completions", json=STREAMED) as response:
                leaver.close()
                await leaver.wait_closed()
                body = b"".join([piece async for piece in response.aiter_raw()])
            assert events_of(body)[-1] == b"[DONE]"
            assert "collapsed" in response.headers["cache-status"]
            assert (standin.stats.completed, standin.stats.disconnected) == (1, 0)

    async def test_client_that_does_not_read_stops_the_upstream_instead_of_filling_the_memory(
        self, serve: Serve
    ) -> None:
        piece, most, sent, closed = "x" * 2**16, 4000, 0, anyio.Event()

        async def endless(_: Mapping[str, Any]) -> AsyncIterator[str]:
            nonlocal sent
            try:
                while sent < most:
                    sent += 1
                    yield piece
            finally:
                closed.set()

        flight = SingleFlight(MissHandler(CallableUpstream(endless)), window=2**20)
        async with serve(CachePipeline(stages=[Normalize(), flight])) as url:
            reader, writer = await raw_post(f"{url}/v1/chat/completions", STREAMED)
            with anyio.fail_after(DEADLINE):
                assert b"200" in await reader.readline()
                seen = -1
                while seen != sent:
                    seen = sent
                    await anyio.sleep(0.3)
            assert sent < most / 4
            with anyio.fail_after(DEADLINE):
                await reader.readexactly((seen + 10) * 2**16)
            assert seen < sent < most
            writer.close()
            await writer.wait_closed()
            with anyio.fail_after(DEADLINE):
                await closed.wait()
            assert sent < most

    @pytest.mark.parametrize("path", ["/ask", "/stream", "/v1/chat/completions"])
    async def test_error_before_the_first_byte_has_its_status(self, serve: Serve, path: str) -> None:
        upstream = FakeUpstream(UpstreamBusy("busy", status=429, retry_after=7))
        async with serve(pipeline(upstream)) as url, httpx2.AsyncClient(base_url=url) as http:
            if path.startswith("/v1"):
                response = await http.post(path, json=STREAMED)
            else:
                response = await http.get(path, params=QUESTION)
        assert response.status_code == 429
        assert response.headers["retry-after"] == "7"
        assert response.headers["content-type"] == "application/json"
        assert response.json()["error"]["code"] == 429

    async def test_error_after_the_first_byte_is_the_last_event(self, serve: Serve) -> None:
        first = {"id": "1", "choices": [{"index": 0, "delta": {"content": "so"}, "finish_reason": None}]}
        upstream = FakeUpstream([first, UpstreamStreamError("the upstream broke off")], "well")
        async with serve(pipeline(upstream)) as url, httpx2.AsyncClient(base_url=url) as http:
            response = await http.post("/v1/chat/completions", json=STREAMED)
            again = await http.post("/v1/chat/completions", json=BODY)
        assert response.status_code == 200
        begun, error, done = events_of(response.content)
        assert orjson.loads(begun) == first
        assert orjson.loads(error)["error"]["message"] == "the upstream broke off"
        assert done == b"[DONE]"
        assert b"well" in again.content

    @pytest.mark.parametrize("body", [BODY, STREAMED], ids=["whole", "stream"])
    async def test_failure_of_the_applications_own_upstream_is_500_without_its_words(
        self, serve: Serve, body: dict[str, Any]
    ) -> None:
        upstream = FakeUpstream(ValueError("secret words"))
        async with serve(pipeline(upstream)) as url, httpx2.AsyncClient(base_url=url) as http:
            response = await http.post("/v1/chat/completions", json=body)
        assert response.status_code == 500
        assert b"secret" not in response.content

    @pytest.mark.parametrize(
        ("content", "headers", "status", "param"),
        [
            (b"", {}, 400, "body"),
            (b'{"messages": secret', {}, 400, "body"),
            (b"\xff", {}, 400, "body"),
            (b"[]", {}, 400, "body"),
            (b'{"model": "m"}', {}, 400, "messages"),
            (orjson.dumps(BODY), {"cache-control": "max-age=soon"}, 400, "Cache-Control"),
            (orjson.dumps(BODY), {"cache-control": "only-if-cached"}, 504, None),
            (orjson.dumps({**BODY, "user": "x" * 10**6}), {}, 413, "body"),
        ],
        ids=[
            "empty",
            "not json",
            "not utf-8",
            "array",
            "no messages",
            "directive",
            "only if cached",
            "large",
        ],
    )
    async def test_request_that_cannot_be_answered_is_told_why_in_the_protocols_shape(
        self, serve: Serve, content: bytes, headers: dict[str, str], status: int, param: str | None
    ) -> None:
        upstream = FakeUpstream()
        async with serve(pipeline(upstream)) as url, httpx2.AsyncClient(base_url=url) as http:
            response = await http.post("/v1/chat/completions", content=content, headers=headers)
        error = response.json()["error"]
        assert response.status_code == error["code"] == status
        assert error["param"] == param
        assert "secret" not in error["message"]
        assert upstream.calls == []

    async def test_cache_control_of_the_request_is_obeyed(self, serve: Serve) -> None:
        upstream = FakeUpstream()
        async with serve(pipeline(upstream)) as url, httpx2.AsyncClient(base_url=url) as http:

            async def asked(*control: str) -> httpx2.Response:
                headers = [("cache-control", one) for one in control]
                return await http.post("/v1/chat/completions", json=BODY, headers=headers)

            await asked()
            renewed = await asked("max-age=60", "no-cache")
            stored = await asked("only-if-cached")
        assert renewed.headers["cache-status"].startswith("asynccache; fwd=request")
        assert "hit" in stored.headers["cache-status"]
        assert b"answer 2" in stored.content
        assert len(upstream.calls) == 2

    async def test_tenants_are_kept_apart_by_their_scope(self, serve: Serve) -> None:
        upstream = FakeUpstream()
        async with serve(pipeline(upstream)) as url, httpx2.AsyncClient(base_url=url) as http:
            answers = [
                (await http.post("/v1/chat/completions", json=BODY, headers={"x-tenant": tenant})).json()
                for tenant in ("a", "b", "a")
            ]
        said = [answer["choices"][0]["message"]["content"] for answer in answers]
        assert said == ["answer 1", "answer 2", "answer 1"]

    async def test_renewed_answers_have_ids_of_their_own(self, serve: Serve) -> None:
        async with serve(pipeline(FakeUpstream())) as url, httpx2.AsyncClient(base_url=url) as http:
            whole = [(await http.post("/renewed", json=BODY)).json() for _ in range(3)]
            streams = [await http.post("/renewed", json=STREAMED) for _ in range(2)]
        assert len({answer["id"] for answer in whole}) == 3
        assert len({answer["choices"][0]["message"]["content"] for answer in whole}) == 1
        ids = [
            {orjson.loads(event)["id"] for event in events_of(response.content)[:-1]} for response in streams
        ]
        assert [len(one) for one in ids] == [1, 1]
        assert ids[0] != ids[1]

    async def test_nothing_is_left_running_when_the_application_has_ended(self, serve: Serve) -> None:
        upstream = FakeUpstream()
        async with (
            no_task_is_left(),
            serve(pipeline(upstream)) as url,
            httpx2.AsyncClient(base_url=url) as http,
        ):
            for body in (BODY, STREAMED, {**STREAMED, "seed": 1}):
                assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        assert upstream.in_flight == 0

    async def test_application_that_ends_closes_the_streams_it_has_open(self, serve: Serve) -> None:
        async with StandIn(per_token=60) as standin:
            async with no_task_is_left(), httpx2.AsyncClient() as http, contextlib.AsyncExitStack() as stack:
                with anyio.fail_after(DEADLINE):
                    async with serve(pipeline(standin.base_url)) as url:
                        streaming = http.stream("POST", f"{url}/v1/chat/completions", json=STREAMED)
                        response = await stack.enter_async_context(streaming)
                        pieces = response.aiter_raw()  # it leaves when the iterator is let go
                        await anext(pieces)
                        assert standin.stats.disconnected == 0
            await until(lambda: standin.stats.disconnected == 1)
