"""The caching proxy: what it answers from where, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import orjson
import pytest

from asynccache.server._proxy_options import ProxyOptions
from asynccache.server.proxy import ProxyApp

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


async def test_second_question_is_answered_from_the_cache_with_the_same_bytes(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        first, second = await served.ask(), await served.ask()
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert first.headers["cache-status"] == "asynccache; fwd=miss"
    assert second.headers["cache-status"].startswith("asynccache; hit; ttl=")
    assert second.headers["age"] == "0"
    assert len(upstream.asked) == 1


async def test_fresh_answer_comes_with_the_headers_of_the_upstream_and_a_stored_one_without(
    proxying: Any,
) -> None:
    async def answer(asked: Any) -> None:
        await asked.answer(
            proxying.completion(),
            x_request_id="req-1",
            set_cookie="a=b",
            server="theirs",
            connection="x-hop",
            x_words="日本",
        )

    async with proxying.both(answer) as (_, served):
        first, second = await served.ask(), await served.ask()
    assert first.headers["x-request-id"] == "req-1"
    assert first.headers.get_list("content-type") == ["application/json"]
    assert not {"set-cookie", "server", "connection"} & set(first.headers)
    assert dict(first.headers.raw)[b"x-words"].decode() == "日本"
    assert "x-request-id" not in second.headers


async def test_upstream_gets_the_callers_headers_and_nothing_of_the_connection(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        await served.ask(
            headers={
                "openai-organization": "org",
                "x-cache-tags": "t",
                "connection": "x-hop",
                "x-hop": "1",
                "x-custom": b"\xc3\xa9",
            }
        )
    sent = upstream.asked[0].headers
    assert sent["authorization"] == "Bearer one"
    assert sent["openai-organization"] == "org"
    assert sent["x-custom"].encode("latin-1") == b"\xc3\xa9"
    assert sent["host"] == f"127.0.0.1:{upstream.port}"
    assert not {"x-cache-tags", "x-hop"} & set(sent)


async def test_body_goes_upstream_byte_for_byte(proxying: Any) -> None:
    body = b'{ "messages": [{"content":"hi","role":"user"}],\n "model":"m", "temperature": 1.0 }'
    async with proxying.both() as (upstream, served):
        await served.client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert upstream.asked[0].body == body


async def test_renewed_ids_are_given_to_stored_answers_alone(proxying: Any) -> None:
    async with proxying.both(renew_ids=True) as (_, served):
        first, second, third = await served.ask(), await served.ask(), await served.ask()
    assert first.json()["id"] == "chatcmpl-1"
    assert len({answer.json()["id"] for answer in (first, second, third)}) == 3


@pytest.mark.parametrize(
    ("header", "value", "asked"),
    [("cache-control", "no-cache", 2), ("cache-control", "no-store", 2), ("x-cache-tags", "a, b", 1)],
)
async def test_request_headers_control_the_cache(proxying: Any, header: str, value: str, asked: int) -> None:
    async with proxying.both() as (upstream, served):
        for _ in range(2):
            answer = await served.ask(headers={header: value})
            assert answer.status_code == 200
    assert len(upstream.asked) == asked


async def test_only_if_cached_is_answered_504_when_nothing_is_stored(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        answer = await served.ask(headers={"cache-control": "only-if-cached"})
        await served.ask()
        stored = await served.ask(headers={"cache-control": "only-if-cached"})
    assert answer.status_code == 504
    assert stored.status_code == 200
    assert len(upstream.asked) == 1


async def test_header_that_cannot_be_read_is_answered_400_with_its_name(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        answer = await served.ask(headers={"cache-control": "max-age=soon"})
    assert answer.status_code == 400
    assert "Cache-Control" in answer.json()["error"]["message"]
    assert not upstream.asked


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"\xff", b"[" * 5000, b"[]", b"1", b"null", b'"text"', b'{"model":"m"}']
)
async def test_body_that_is_no_question_is_answered_400(proxying: Any, body: bytes) -> None:
    async with proxying.both() as (upstream, served):
        answer = await served.client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert not upstream.asked
    assert not served.reports


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
)
async def test_body_in_another_form_is_answered_415(proxying: Any, headers: dict[str, str]) -> None:
    async with proxying.both() as (_, served):
        answer = await served.client.post(CHAT, content=b"{}", headers=headers)
    assert answer.status_code == 415


async def test_body_over_the_limit_is_answered_413_by_its_length_or_while_it_comes(proxying: Any) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 600
            await anyio.sleep(0.05)  # so that each comes by itself

    async with proxying.both(max_body=1000) as (_, served):
        json = {"content-type": "application/json"}
        announced = await served.client.post(CHAT, content=b" " * 1001, headers=json)
        chunked = await served.client.post(CHAT, content=pieces(), headers=json)
        after = await served.ask()
    assert announced.status_code == chunked.status_code == 413
    assert after.status_code == 200


async def test_unknown_methods_are_answered_405_with_those_allowed(proxying: Any) -> None:
    async with proxying.both() as (_, served):
        asked = await served.client.get(CHAT)
        page = await served.client.post("/healthz")
    assert (asked.status_code, asked.headers["allow"]) == (405, "POST")
    assert (page.status_code, page.headers["allow"]) == (405, "GET, HEAD")


async def test_errors_have_the_shape_of_the_dialect(proxying: Any) -> None:
    async with proxying.both() as (_, served):
        answers = [
            await served.client.post(
                f"/v1/{path}", content=b"{", headers={"content-type": "application/json"}
            )
            for path in ("chat/completions", "completions", "embeddings", "responses", "messages")
        ]
    assert {answer.status_code for answer in answers} == {400}
    for answer in answers[:4]:
        assert set(answer.json()["error"]) >= {"message", "type", "param"}
    assert answers[4].json()["type"] == "error"


async def test_requests_over_the_concurrency_are_answered_429_while_health_pages_go_on(proxying: Any) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(asked: Any) -> None:
        inside.set()
        await go_on.wait()
        await asked.answer(proxying.completion())

    async with proxying.both(slow, max_concurrency=1) as (_, served):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(served.ask, "first")
            await inside.wait()
            refused = await served.ask("second")
            health = await served.client.get("/healthz")
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert health.status_code == 200
            go_on.set()
        assert (await served.ask("second")).status_code == 200


async def test_place_is_free_again_after_every_kind_of_end(proxying: Any) -> None:
    async with proxying.both(max_concurrency=1) as (_, served):
        for _ in range(3):
            assert (await served.client.get(CHAT)).status_code == 405
            assert (await served.client.post(CHAT, content=b"{", headers=JSON)).status_code == 400
            assert (await served.ask()).status_code == 200
            assert (await served.client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize("name", ["401_no_key", "503_queue", "err_400_temp", "err_404_model"])
async def test_recorded_refusals_reach_the_client_as_they_came_and_are_not_stored(
    proxying: Any, name: str
) -> None:
    status, _, body = proxying.recording(name)

    async def refuse(asked: Any) -> None:
        await asked.answer(body, status=status, x_request_id="req-1")

    async with proxying.both(refuse) as (upstream, served):
        answers = [await served.ask() for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status, status]
    assert {answer.content for answer in answers} == {body}
    assert answers[0].headers["x-request-id"] == "req-1"
    assert answers[0].headers["cache-status"].endswith(f"fwd-status={status}")
    assert len(upstream.asked) == 2


async def test_upstream_that_cannot_be_reached_is_answered_502(proxying: Any) -> None:
    async with proxying.proxy("http://127.0.0.1:9/v1") as served:
        answer = await served.ask()
        passed = await served.client.get("/v1/models")
    assert answer.status_code == passed.status_code == 502
    assert not served.reports


async def test_upstream_that_is_silent_too_long_is_answered_504(proxying: Any) -> None:
    async def silent(asked: Any) -> None:
        await asked.client_left()

    async with proxying.both(silent, timeout=0.1) as (_, served):
        answer = await served.ask()
    assert answer.status_code == 504


@pytest.mark.parametrize("status", [200, 500])
async def test_answer_that_breaks_off_is_answered_502_and_not_stored(proxying: Any, status: int) -> None:
    async def half(asked: Any) -> None:
        await asked.send(f"HTTP/1.1 {status} Half\r\ncontent-length: 100\r\n\r\n{{".encode())
        asked.writer.close()

    async with proxying.both(half) as (upstream, served):
        answers = [await served.ask() for _ in range(2)]
    assert [answer.status_code for answer in answers] == [502, 502]
    assert len(upstream.asked) == 2
    assert not served.reports


@pytest.mark.parametrize("status", [204, 304, 302, 999])
async def test_answers_that_are_none_are_answered_as_failures(proxying: Any, status: int) -> None:
    async def odd(asked: Any) -> None:
        await asked.send(f"HTTP/1.1 {status} Odd\r\nconnection: close\r\n\r\n".encode())
        asked.writer.close()

    async with proxying.both(odd) as (_, served):
        answer = await served.ask()
    assert answer.status_code in {302, 502}
    assert not served.reports


async def test_failure_nobody_has_foreseen_is_answered_500_without_words_and_reported(
    proxying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object, **__: object) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr("asynccache.server.proxy.answer", crash)
    async with proxying.both() as (_, served):
        answer = await served.ask()
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert [(what, type(error)) for what, error in served.reports] == [("request", RuntimeError)]


async def test_pages_tell_of_health_readiness_and_the_interface(proxying: Any) -> None:
    async with proxying.both() as (_, served):
        health, ready, openapi = [
            await served.client.get(f"/{page}") for page in ("healthz", "readyz", "openapi.json")
        ]
        head = await served.client.head("/healthz")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert openapi.json()["openapi"] == "3.1.0"
    assert set(openapi.json()["paths"]) >= {CHAT, "/v1/embeddings", "/v1/messages", "/readyz"}
    assert (head.status_code, head.content) == (200, b"")


async def test_closed_or_draining_server_takes_no_requests(proxying: Any) -> None:
    async with proxying.both() as (_, served):
        served.app._gate.draining = True
        ready, asked = await served.client.get("/readyz"), await served.ask()
        health = await served.client.get("/healthz")
    assert ready.status_code == asked.status_code == 503
    assert asked.headers["connection"] == "close"
    assert health.status_code == 200


async def test_backend_that_cannot_be_opened_fails_the_start_and_is_reported(
    proxying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise OSError("no disk")

    monkeypatch.setattr("asynccache._pipeline.entered", broken)
    reports: list[str] = []
    options = ProxyOptions(
        upstream="http://127.0.0.1:9/v1", pipeline={"backend": "memory://", "decision": None}
    )
    app = ProxyApp(options, report=lambda what, error: reports.append(f"{what} {type(error).__name__}"))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert reports == ["server OSError"]
    assert "disk" not in orjson.dumps(sent[0]).decode()
