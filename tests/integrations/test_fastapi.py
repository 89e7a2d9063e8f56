"""FastAPI and Starlette with a cache, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

import anyio
import httpx2
import pytest
import uvicorn
from fastapi import BackgroundTasks, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from asynccache import ConfigurationError, NotCached, UpstreamBusy, UpstreamError
from asynccache.integrations.fastapi import (
    CacheDep,
    CacheLike,
    answer_request,
    cache_lifespan,
    cache_response,
    current_cache,
    install_error_handlers,
)
from asynccache.testing import FakeUpstream
from tests._prompt_server import PromptServer
from tests.integrations._web import (
    BODY,
    DEADLINE,
    QUESTION,
    STREAMED,
    Serve,
    WebSuite,
    no_task_is_left,
    pipeline,
    until,
)

pytestmark = pytest.mark.anyio

Tenant = Annotated[str | None, Header(alias="x-tenant")]


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app, port=0, log_config=None, lifespan="on", ws="none", timeout_graceful_shutdown=1
    )
    server = PromptServer(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await until(lambda: server.started)
        try:
            host, port = server.servers[0].sockets[0].getsockname()
            yield f"http://{host}:{port}"
        finally:
            server.end()


def application(lifespan: Any = None) -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.get("/ask")
    async def ask(question: str, cache: CacheDep) -> dict[str, str]:
        return {"answer": (await cache.ask(question)).text}

    @app.get("/outcome")
    async def outcome(question: str, cache: CacheDep) -> Response:
        return cache_response(await cache.ask(question))

    @app.get("/stream")
    async def stream(question: str, cache: CacheDep) -> Response:
        return cache_response(cache.stream(messages=[{"role": "user", "content": question}]))

    @app.post("/v1/chat/completions")
    async def chat(request: Request, cache: CacheDep, x_tenant: Tenant = None) -> Response:
        return await answer_request(cache, request, scope={"tenant": x_tenant}, max_bytes=10**6)

    @app.post("/renewed")
    async def renewed(request: Request, cache: CacheDep) -> Response:
        return await answer_request(cache, request, renew=True)

    return app


class TestFastAPI(WebSuite):
    @pytest.fixture
    def serve(self) -> Serve:
        def of(cache: CacheLike) -> AbstractAsyncContextManager[str]:
            app = application(cache_lifespan(cache))
            install_error_handlers(app)
            return served(app)

        return of


class TestFastAPIBehindMiddleware(WebSuite):
    """Middleware with a task of its own for the application, which hands disconnects on in its own way."""

    @pytest.fixture
    def serve(self) -> Serve:
        def of(cache: CacheLike) -> AbstractAsyncContextManager[str]:
            app = application(cache_lifespan(cache))
            install_error_handlers(app)

            @app.middleware("http")
            async def passing(request: Request, call_next: Callable[[Request], Any]) -> Any:
                return await call_next(request)

            return served(app)

        return of


async def test_lifespan_of_the_application_runs_while_the_cache_is_open_and_keeps_its_state() -> None:
    told: list[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        told.append((await app.state.asynccache.ask("up?")).text)
        yield {"greeting": "hello"}
        told.append((await app.state.asynccache.ask("down?")).text)

    app = application(cache_lifespan(pipeline(FakeUpstream()), lifespan=own))

    @app.get("/greeting")
    async def greeting(request: Request) -> str:
        return str(request.state.greeting)

    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        assert (await http.get("/greeting")).json() == "hello"
        assert (await http.get("/ask", params=QUESTION)).json() == {"answer": "answer 2"}
    assert told == ["answer 1", "answer 3"]
    assert not hasattr(app.state, "asynccache")


async def test_cache_is_opened_within_a_lifespan_of_ones_own() -> None:
    cache = pipeline(FakeUpstream())

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        async with cache_lifespan(cache)(app):
            yield

    async with served(application(own)) as url, httpx2.AsyncClient(base_url=url) as http:
        assert (await http.get("/ask", params=QUESTION)).json() == {"answer": "answer 1"}


async def test_missing_lifespan_is_an_error_that_says_what_to_do() -> None:
    app = application()
    errors: list[Exception] = []

    @app.exception_handler(ConfigurationError)
    async def keep(_: Request, error: Exception) -> Response:
        errors.append(error)
        return Response(status_code=500)

    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        assert (await http.get("/ask", params=QUESTION)).status_code == 500
    assert "lifespan=cache_lifespan(CachePipeline(...))" in str(errors[0])


async def test_error_of_a_stream_has_its_status_though_no_handlers_are_installed() -> None:
    app = application(cache_lifespan(pipeline(FakeUpstream(UpstreamBusy("busy", status=429)))))
    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        response = await http.get("/stream", params=QUESTION)
    assert response.status_code == response.json()["error"]["code"] == 429


async def test_error_of_a_stream_goes_to_the_applications_own_handler_first() -> None:
    app = application(cache_lifespan(pipeline(FakeUpstream(UpstreamBusy("busy", status=429)))))

    @app.exception_handler(UpstreamError)
    async def own(_: Request, error: Exception) -> Response:
        return JSONResponse({"sorry": str(error)}, 418)

    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        response = await http.get("/stream", params=QUESTION)
    assert (response.status_code, response.json()) == (418, {"sorry": "busy"})


async def test_handlers_answer_in_the_shape_of_the_dialect_asked_for() -> None:
    app = Starlette()

    async def route(_: Request) -> Response:
        raise NotCached("not here")

    app.router.routes.append(Route("/", route))
    install_error_handlers(app, dialect="chat.completions")
    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        response = await http.get("/")
    assert response.status_code == 504
    assert response.json()["error"]["message"] == "not here"


async def test_background_tasks_and_headers_of_ones_own_go_with_a_stream() -> None:
    app = application(cache_lifespan(pipeline(FakeUpstream())))
    done: list[str] = []

    @app.get("/with")
    async def with_more(cache: CacheDep, after: BackgroundTasks) -> Response:
        after.add_task(done.append, "done")
        response = cache_response(cache.stream(messages=BODY["messages"]))
        response.headers["x-mine"] = "yes"
        response.set_cookie("seen", "1")
        return response

    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        response = await http.get("/with")
        assert response.content.endswith(b"data: [DONE]\n\n")
        assert response.headers["x-mine"] == "yes"
        assert response.cookies["seen"] == "1"
        await until(lambda: done == ["done"])


async def test_starlette_alone_is_served() -> None:
    async def ask(request: Request) -> Response:
        cache = await current_cache(request)
        return cache_response(await cache.ask("what?"))

    app = Starlette(routes=[Route("/", ask)], lifespan=cache_lifespan(pipeline(FakeUpstream())))
    app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, call_next: call_next(request))
    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        assert "hit" not in (await http.get("/")).headers["cache-status"]
        assert "hit" in (await http.get("/")).headers["cache-status"]


async def ask_app(app: ASGIApp, send: Callable[[Message], Any], receive: Callable[[], Any]) -> None:
    scope = {
        "type": "http",
        "asgi": {"spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/stream",
        "raw_path": b"/stream",
        "root_path": "",
        "scheme": "http",
        "query_string": b"question=what",
        "headers": [],
    }
    await app(scope, receive, send)


async def no_message() -> Message:
    await anyio.sleep_forever()
    raise AssertionError


async def test_server_that_raises_when_the_client_has_left_ends_the_stream_quietly() -> None:
    upstream = FakeUpstream("one two three")
    app = application()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        if len(sent) == 2:
            raise OSError
        sent.append(message)

    async with pipeline(upstream) as cache:
        app.state.asynccache = cache
        async with no_task_is_left():
            with anyio.fail_after(DEADLINE):
                await ask_app(app, send, no_message)
        await until(lambda: upstream.in_flight == 0)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("begun", [False, True], ids=["before the first event", "in mid-stream"])
async def test_cancelled_request_closes_the_upstream(*, begun: bool) -> None:
    upstream = FakeUpstream("one two three")
    app = application()
    sent = anyio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            sent.set()
            await anyio.sleep_forever()

    if not begun:
        upstream.hold()
    async with pipeline(upstream) as cache:
        app.state.asynccache = cache
        async with no_task_is_left(), anyio.create_task_group() as tasks:
            tasks.start_soon(ask_app, app, send, no_message)
            with anyio.fail_after(DEADLINE):
                await upstream.called()
                if begun:
                    await sent.wait()
            tasks.cancel_scope.cancel()
        await until(lambda: upstream.in_flight == 0)


async def test_stream_that_is_never_sent_asks_nobody() -> None:
    upstream = FakeUpstream()
    async with pipeline(upstream) as cache:
        cache_response(cache.stream(STREAMED))
        await cache.flush()
    assert upstream.calls == []


def test_test_client_is_answered_whole_and_in_events() -> None:
    app = application(cache_lifespan(pipeline(FakeUpstream("a store"))))
    with TestClient(app) as client:
        assert client.get("/ask", params=QUESTION).json() == {"answer": "a store"}
        assert client.get("/stream", params=QUESTION).text.endswith("data: [DONE]\n\n")
        assert "hit" in client.get("/outcome", params=QUESTION).headers["cache-status"]


def test_dependency_does_not_show_in_the_applications_schema() -> None:
    schema = application().openapi()
    assert [one["name"] for one in schema["paths"]["/ask"]["get"]["parameters"]] == ["question"]
    assert "CachePipeline" not in str(schema)
