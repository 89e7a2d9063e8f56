"""The embedder that asks a server, against a real one."""

from __future__ import annotations

import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
import numpy as np
import orjson
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from asynccache._errors import ConfigurationError, EmbedderUnavailable, TextRefused
from asynccache.embedders import UpstreamEmbedder
from tests._prompt_server import PromptServer

pytestmark = pytest.mark.anyio

Answering: TypeAlias = "Callable[[dict[str, Any]], Awaitable[Response]]"


def numbers(text: str, dim: int = 3) -> list[float]:
    return [1.0, float(len(text)), *[2.0] * (dim - 2)]


def document(*rows: Any) -> Response:
    data = [{"object": "embedding", "index": index, "embedding": given} for index, given in rows]
    return Response(orjson.dumps({"object": "list", "data": data}), media_type="application/json")


async def answered(body: dict[str, Any]) -> Response:
    return document(*enumerate(map(numbers, body["input"])))


class Server:
    """Answers /v1/embeddings as told, and remembers what it was asked."""

    def __init__(self, answering: Answering = answered) -> None:
        self.answering = answering
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.app = Starlette(routes=[Route("/v1/embeddings", self.embeddings, methods=["POST"])])
        self.base_url = ""

    async def embeddings(self, request: Request) -> Response:
        self.headers.append(request.headers)
        self.bodies.append(orjson.loads(await request.body()))
        return await self.answering(self.bodies[-1])


async def refusing(_: dict[str, Any]) -> Response:
    return Response(b'{"error": {"message": "unknown field"}}', 400)


@asynccontextmanager
async def serving(answering: Answering = answered) -> AsyncIterator[Server]:
    server = Server(answering)
    config = uvicorn.Config(server.app, log_config=None, access_log=False, lifespan="off", ws="none")
    running = PromptServer(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with anyio.create_task_group() as group:
            group.start_soon(running.serve, [listener])
            yield server
            running.end()


@asynccontextmanager
async def asking(
    answering: Answering = answered, **options: Any
) -> AsyncIterator[tuple[UpstreamEmbedder, Server]]:
    async with serving(answering) as server:
        embedder = UpstreamEmbedder(server.base_url, "tiny", **options)
        async with embedder.lifespan():
            yield embedder, server


def unit(text: str) -> Any:
    return np.array(numbers(text)) / np.linalg.norm(numbers(text))


async def test_texts_are_posted_and_vectors_come_back_with_norm_1() -> None:
    async with asking(api_key="key", headers={"x-team": "blue"}, extra={"dimensions": 3}) as (
        embedder,
        server,
    ):
        got = await embedder.embed(["a", "bb"])
        assert np.allclose(got, [unit("a"), unit("bb")])
        assert embedder.dim == 3
        assert server.bodies == [
            {"model": "tiny", "input": ["a", "bb"], "encoding_format": "float", "dimensions": 3}
        ]
        assert server.headers[0]["authorization"] == "Bearer key"
        assert server.headers[0]["x-team"] == "blue"
        assert server.headers[0]["content-type"] == "application/json"


async def test_base64_of_little_endian_floats_is_understood() -> None:
    async def answering(body: dict[str, Any]) -> Response:
        packed = [
            base64.b64encode(np.array(numbers(text), "<f4").tobytes()).decode() for text in body["input"]
        ]
        return document(*enumerate(packed))

    async with asking(answering, extra={"encoding_format": "base64"}) as (embedder, server):
        assert np.allclose(await embedder.embed(["a", "bb"]), [unit("a"), unit("bb")])
        assert server.bodies[0]["encoding_format"] == "base64"


async def test_vectors_belong_to_texts_by_their_index_whatever_their_order() -> None:
    async def answering(body: dict[str, Any]) -> Response:
        return document(*reversed(list(enumerate(map(numbers, body["input"])))))

    async with asking(answering) as (embedder, _):
        assert np.allclose(await embedder.embed(["a", "bb"]), [unit("a"), unit("bb")])


async def test_long_answer_is_parsed_as_well() -> None:
    async def answering(body: dict[str, Any]) -> Response:
        return document(*enumerate(numbers(text, 1024) for text in body["input"]))

    async with asking(answering) as (embedder, _):
        assert (await embedder.embed([f"text {number}" for number in range(64)])).shape == (64, 1024)


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b'{"data": []}',
        b'{"data": null}',
        b'{"data": [{"index": 0, "embedding": [1.0]}]}',
        b'{"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]}',
        b'{"data": [{"index": 1, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]}',
        b'{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]}',
        b'{"data": [{"index": 0, "embedding": "&&"}, {"index": 1, "embedding": "AAAA"}]}',
        b'{"data": [{"index": 0, "embedding": null}, {"index": 1, "embedding": null}]}',
        b'{"data": [{"embedding": [1.0]}, {"embedding": [1.0]}]}',
    ],
)
async def test_answer_without_a_vector_for_each_text_is_a_failure(body: bytes) -> None:
    async def answering(_: dict[str, Any]) -> Response:
        return Response(body, media_type="application/json")

    async with asking(answering) as (embedder, _):
        with pytest.raises(EmbedderUnavailable):
            await embedder.embed(["a", "b"])


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_failure_of_the_server_is_told_by_its_status_and_nothing_is_sent_twice(status: int) -> None:
    async def answering(body: dict[str, Any]) -> Response:
        return Response(orjson.dumps({"error": {"message": f"about {body['input']}"}}), status)

    async with asking(answering) as (embedder, server):
        with pytest.raises(EmbedderUnavailable, match=str(status)) as caught:
            await embedder.embed(["secret"])
        assert "secret" not in str(caught.value)
        assert len(server.bodies) == 1


async def test_redirect_is_not_followed() -> None:
    async def answering(_: dict[str, Any]) -> Response:
        return RedirectResponse("/v1/elsewhere", 307)

    async with asking(answering) as (embedder, _):
        with pytest.raises(EmbedderUnavailable, match="307"):
            await embedder.embed(["a"])


async def test_text_the_server_refuses_is_found_among_the_others() -> None:
    async def answering(body: dict[str, Any]) -> Response:
        if any(len(text) > 10 for text in body["input"]):
            return Response(b'{"error": {"message": "too long"}}', 400)
        return await answered(body)

    async with asking(answering) as (embedder, _):
        with pytest.raises(TextRefused, match="400"):
            await embedder.embed(["a", "much too long", "b"])
        assert (await embedder.embed(["a", "b"])).shape == (2, 3)


@pytest.mark.parametrize("count", [1, 64])
async def test_server_that_refuses_every_text_is_unavailable_and_asked_twice(count: int) -> None:
    async with asking(refusing) as (embedder, server):
        for asked in (2, 4):
            with pytest.raises(EmbedderUnavailable, match="refuses every text"):
                await embedder.embed([f"secret {number}" for number in range(count)])
            assert len(server.bodies) == asked


async def test_server_that_begins_to_refuse_every_text_is_found_out() -> None:
    async with asking() as (embedder, server):
        await embedder.embed(["a"])
        server.answering = refusing
        for number in range(8):
            with pytest.raises(TextRefused):
                await embedder.embed([f"text {number}"])
        with pytest.raises(EmbedderUnavailable, match="refuses every text"):
            await embedder.embed(["another"])


async def test_one_refused_text_among_many_costs_few_requests() -> None:
    async def answering(body: dict[str, Any]) -> Response:
        return await (refusing if "bad" in body["input"] else answered)(body)

    texts = [*[f"text {number}" for number in range(63)], "bad"]
    async with asking(answering) as (embedder, server):
        with pytest.raises(TextRefused):
            await embedder.embed(texts)
        assert len(server.bodies) <= 2 + 2 * 6  # halves of 64, and the harmless text
        assert (await embedder.embed(texts[:63])).shape == (63, 3)
        assert len(server.bodies) <= 2 + 2 * 6  # those beside it were kept


async def test_answers_are_parsed_though_all_threads_of_the_program_wait_for_them(every_thread: Any) -> None:
    async def answering(body: dict[str, Any]) -> Response:
        return document(*enumerate(numbers(text, 4096) for text in body["input"]))

    async with every_thread() as from_threads, asking(answering) as (embedder, _):
        await from_threads(lambda: embedder.embed([f"text {number}" for number in range(64)]))


async def test_slow_server_is_given_up_after_its_time() -> None:
    async def answering(_: dict[str, Any]) -> Response:
        await anyio.sleep(0.5)
        return Response(status_code=500)

    async with asking(answering, timeout=0.05) as (embedder, _):
        with pytest.raises(EmbedderUnavailable):
            await embedder.embed(["a"])


async def test_server_that_is_not_there_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    embedder = UpstreamEmbedder(f"http://127.0.0.1:{port}/v1", "tiny")
    async with embedder.lifespan():
        with pytest.raises(EmbedderUnavailable, match="ConnectError"):
            await embedder.embed(["a"])


async def test_outside_its_lifespan_it_says_so_and_it_can_be_opened_again() -> None:
    async with serving() as server:
        embedder = UpstreamEmbedder(server.base_url, "tiny")
        for _ in range(2):
            with pytest.raises(EmbedderUnavailable, match="lifespan"):
                await embedder.embed(["a"])
            async with embedder.lifespan():
                assert (await embedder.embed(["a"])).shape == (1, 3)


def test_key_from_the_environment_goes_to_its_own_host_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    own = UpstreamEmbedder("https://api.openai.com/v1", "m")
    assert own._headers["authorization"] == "Bearer from-environment"
    for base_url in (
        "http://api.openai.com/v1",
        "https://elsewhere.example/v1",
        "https://api.openai.com.evil.example",
    ):
        assert "authorization" not in UpstreamEmbedder(base_url, "m")._headers
    assert "authorization" not in UpstreamEmbedder("https://api.openai.com/v1", "m", api_key="")._headers


def test_name_tells_what_shapes_the_vectors() -> None:
    base_url = "http://127.0.0.1/v1"
    assert UpstreamEmbedder(base_url, "m").name == "m"
    assert UpstreamEmbedder(base_url, "m", extra={"dimensions": 3}).name == 'm {"dimensions":3}'
    assert UpstreamEmbedder(base_url, "m", name="mine").name == "mine"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"base_url": "ftp://host/v1"}, "base_url"),
        ({"base_url": "http://"}, "base_url"),
        ({"base_url": "http://user:pass@host/v1"}, "base_url"),
        ({"base_url": "http://host/v1?x=pass@"}, "base_url"),
        ({"base_url": "http://user:pass@ho\u2100st/v1"}, "base_url"),
        ({"base_url": "http://ho st"}, "base_url"),
        ({"base_url": "http://host:99999"}, "base_url"),
        ({"base_url": None}, "base_url"),
        ({"model": ""}, "model"),
        ({"api_key": "a b"}, "api_key"),
        ({"headers": {"x": 3}}, "headers"),
        ({"timeout": -1}, "timeout"),
        ({"dim": 0}, "dim"),
    ],
)
def test_option_that_cannot_work_is_named_without_its_secrets(options: dict[str, Any], named: str) -> None:
    given = {"base_url": "http://127.0.0.1/v1", "model": "tiny", **options}
    with pytest.raises(ConfigurationError, match=named) as caught:
        UpstreamEmbedder(given.pop("base_url"), given.pop("model"), **given)
    assert "pass@" not in str(caught.value)
    assert "pass@" not in str(caught.value.__cause__)
