"""aiohttp's server with a cache, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import httpx2
import pytest
from aiohttp import web

from asynccache.integrations.aiohttp import (
    CACHE,
    CacheLike,
    answer_request,
    cache_ctx,
    cache_errors,
    cache_response,
)
from asynccache.testing import FakeUpstream
from tests.integrations._web import (
    BODY,
    DEADLINE,
    QUESTION,
    STREAMED,
    Serve,
    WebSuite,
    pipeline,
    until,
)

pytestmark = pytest.mark.anyio


async def ask(request: web.Request) -> web.StreamResponse:
    return web.json_response({"answer": (await request.app[CACHE].ask(request.query["question"])).text})


async def outcome(request: web.Request) -> web.StreamResponse:
    return await cache_response(request, await request.app[CACHE].ask(request.query["question"]))


async def stream(request: web.Request) -> web.StreamResponse:
    messages = [{"role": "user", "content": request.query["question"]}]
    return await cache_response(request, request.app[CACHE].stream(messages=messages))


async def chat(request: web.Request) -> web.StreamResponse:
    scope = {"tenant": request.headers.get("x-tenant")}
    return await answer_request(request.config_dict[CACHE], request, scope=scope)


async def renewed(request: web.Request) -> web.StreamResponse:
    return await answer_request(request.app[CACHE], request, renew=True)


ROUTES = [
    web.get("/ask", ask),
    web.get("/outcome", outcome),
    web.get("/stream", stream),
    web.post("/v1/chat/completions", chat),
    web.post("/renewed", renewed),
]


def application(cache: CacheLike) -> web.Application:
    app = web.Application(middlewares=[cache_errors], client_max_size=10**6)
    app.cleanup_ctx.append(cache_ctx(cache))
    app.router.add_routes(ROUTES)
    return app


@asynccontextmanager
async def served(app: web.Application, *, handler_cancellation: bool = False) -> AsyncIterator[str]:
    runner = web.AppRunner(
        app, handler_cancellation=handler_cancellation, shutdown_timeout=0.5, access_log=None
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


class TestAiohttp(WebSuite):
    @pytest.fixture(params=[False, True], ids=["left to itself", "cancelled"])
    def serve(self, request: pytest.FixtureRequest) -> Serve:
        def of(cache: CacheLike) -> AbstractAsyncContextManager[str]:
            return served(application(cache), handler_cancellation=request.param)

        return of


async def test_two_contexts_are_opened_in_order() -> None:
    told: list[str] = []
    app = application(pipeline(FakeUpstream()))

    async def own(app: web.Application) -> AsyncIterator[None]:
        told.append((await app[CACHE].ask("up?")).text)
        yield
        told.append((await app[CACHE].ask("down?")).text)

    app.cleanup_ctx.append(own)
    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        assert (await http.get("/ask", params=QUESTION)).json() == {"answer": "answer 2"}
    assert told == ["answer 1", "answer 3"]


async def test_sub_application_finds_the_cache_of_its_parent() -> None:
    app, below = application(pipeline(FakeUpstream())), web.Application()
    below.router.add_post("/chat", chat)
    app.add_subapp("/below/", below)
    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        assert (await http.post("/below/chat", json=BODY)).status_code == 200


async def test_missing_context_is_an_error_that_names_the_key() -> None:
    app = web.Application()
    app.router.add_routes(ROUTES)
    with pytest.raises(KeyError, match="asynccache"):
        app[CACHE]
    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        assert (await http.get("/ask", params=QUESTION)).status_code == 500


@pytest.mark.parametrize("body", [BODY, STREAMED], ids=["whole", "stream"])
async def test_silent_upstream_is_closed_within_half_a_second(body: dict[str, object]) -> None:
    upstream = FakeUpstream()
    upstream.hold()
    async with served(application(pipeline(upstream))) as url, httpx2.AsyncClient(base_url=url) as http:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: http.post("/v1/chat/completions", json=body))
            await until(lambda: upstream.in_flight == 1)
            await anyio.sleep(0.1)
            assert upstream.in_flight == 1
            tasks.cancel_scope.cancel()
        with anyio.fail_after(0.5):
            await until(lambda: upstream.in_flight == 0)


async def test_handler_that_is_cancelled_closes_the_upstream() -> None:
    upstream = FakeUpstream("one two three")
    handlers: list[anyio.CancelScope] = []

    async def cancelled(request: web.Request) -> web.StreamResponse:
        with anyio.CancelScope() as scope:
            handlers.append(scope)
            return await cache_response(request, request.app[CACHE].stream(BODY))
        return web.Response(status=503)

    app = application(pipeline(upstream))
    app.router.add_get("/cancelled", cancelled)
    upstream.hold()
    async with (
        served(app) as url,
        httpx2.AsyncClient(base_url=url) as http,
        anyio.create_task_group() as tasks,
    ):
        statuses: list[int] = []

        async def call() -> None:
            statuses.append((await http.get("/cancelled")).status_code)

        tasks.start_soon(call)
        with anyio.fail_after(DEADLINE):
            await upstream.called()
        handlers[0].cancel()
        await until(lambda: upstream.in_flight == 0)
        await until(lambda: statuses == [503])
