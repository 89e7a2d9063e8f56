"""Where a request begins and ends: what a client sends is read as one thing by all, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import orjson
import pytest

pytestmark = pytest.mark.anyio

CHAT = b"/v1/chat/completions"
QUESTION = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
LAST = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
UPGRADE = b"upgrade: h2c\r\nconnection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAA\r\n"


def post(target: bytes, body: bytes, headers: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer one\r\n%b" % (target, headers)
    return head + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def said_to(served: Any, *pieces: bytes) -> bytes:
    """All that comes back until the server closes; each piece arrives alone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    try:
        with anyio.fail_after(5):
            for piece in pieces:
                writer.write(piece)
                await anyio.sleep(0.05)
            return await reader.read()
    finally:
        writer.close()


def statuses(said: bytes) -> list[int]:
    return [int(each[:3]) for each in said.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("target", [CHAT, b"/v1/things"])
async def test_body_of_a_request_for_another_protocol_is_not_read_as_a_request(
    proxying: Any, target: bytes
) -> None:
    inner = post(b"/v1/inner", QUESTION)
    head = post(target, inner, UPGRADE).removesuffix(inner)
    async with proxying.both() as (upstream, served):
        apart = await said_to(served, head, inner, LAST)
        at_once = await said_to(served, head + inner + LAST)
    assert not served.reports
    answered = 400 if target == CHAT else 200
    assert statuses(apart) == statuses(at_once) == [answered, 200]
    assert [asked.body for asked in upstream.asked] == ([] if target == CHAT else [inner, inner])


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
async def test_request_for_another_protocol_is_answered_in_this_one(proxying: Any, protocol: bytes) -> None:
    question = post(CHAT, QUESTION, UPGRADE.replace(b"h2c", protocol))
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(QUESTION), QUESTION)
    length = b"content-length: %d\r\n" % len(QUESTION)
    chunked = question.replace(length, b"transfer-encoding: chunked\r\n").replace(QUESTION, chunks)
    async with proxying.both() as (upstream, served):
        for sent in (
            [question + chunked + LAST],
            [question, chunked, LAST],
            [question[:200], question[200:]],
        ):
            ending = b"" if sent[-1].endswith(LAST) else LAST
            answers = statuses(await said_to(served, *sent, *([ending] if ending else [])))
            assert set(answers) == {200}
            assert len(answers) == (2 if ending else 3)
    assert len(upstream.asked) == 1
    assert upstream.asked[0].json() == orjson.loads(QUESTION)
    assert not {"upgrade", "http2-settings"} & set(upstream.asked[0].headers)
    assert not served.reports


async def test_heads_that_ask_for_another_protocol_are_read_one_after_another(proxying: Any) -> None:
    one = b"GET /healthz HTTP/1.1\r\nhost: x\r\n%b\r\n" % UPGRADE
    async with proxying.both() as (_, served):
        said = await said_to(served, one * 20 + LAST)
    assert statuses(said) == [200] * 21


@pytest.mark.parametrize("target", [b"evil.example:443", b"/v1/messages", b"/v1/x", CHAT, b"/healthz"])
async def test_connect_is_refused_and_what_follows_is_not_read(proxying: Any, target: bytes) -> None:
    inner = post(b"/v1/inner", QUESTION)
    connect = b"CONNECT %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (target, len(inner))
    async with proxying.both(unknown="pass") as (upstream, served):
        apart = await said_to(served, connect, inner)
        at_once = await said_to(served, connect + inner)
        later = await said_to(served, post(CHAT, QUESTION) + connect + inner)
    assert statuses(apart) == statuses(at_once) == [405]
    assert statuses(later) == [200, 405]
    assert b"connection: close" in apart
    assert (b'"type":"error"' if target == b"/v1/messages" else b'"code":405') in apart
    assert [asked.target for asked in upstream.asked] == [CHAT.decode()]
    assert not served.reports


@pytest.mark.parametrize("target", [b"/v1/things", CHAT, b"/healthz", b"/elsewhere"])
async def test_trace_is_refused_everywhere(proxying: Any, target: bytes) -> None:
    async with proxying.both(unknown="pass") as (upstream, served):
        said = await said_to(served, b"TRACE %b HTTP/1.1\r\nhost: x\r\n\r\n" % target, LAST)
    assert statuses(said) == [405, 200]
    assert not upstream.asked


async def test_what_comes_behind_a_body_is_no_header(proxying: Any) -> None:
    plain = post(CHAT, QUESTION)
    chunks = b"%x\r\n%b\r\n0\r\nauthorization: Bearer two\r\nx-odd: 1\r\n\r\n" % (len(QUESTION), QUESTION)
    length = b"content-length: %d\r\n" % len(QUESTION)
    chunked = plain.replace(length, b"transfer-encoding: chunked\r\n").replace(QUESTION, chunks)
    async with proxying.both() as (upstream, served):
        assert statuses(await said_to(served, chunked, LAST)) == [200, 200]
        assert statuses(await said_to(served, chunked + LAST)) == [200, 200]
        assert statuses(await said_to(served, plain + chunked + LAST)) == [200, 200, 200]
        passed = chunked.replace(CHAT, b"/v1/things")
        assert statuses(await said_to(served, passed + LAST)) == [200, 200]
    assert [asked.headers["authorization"] for asked in upstream.asked] == ["Bearer one", "Bearer one"]
    assert not any("x-odd" in asked.headers for asked in upstream.asked)


async def test_space_around_the_value_of_a_header_is_none_of_it(proxying: Any) -> None:
    for target in (CHAT, b"/v1/things"):
        async with proxying.both() as (upstream, served):
            plain = post(target, QUESTION)
            padded = plain.replace(b"Bearer one", b" \tBearer one \t").replace(
                b"%d\r\n" % len(QUESTION), b"%d \r\n" % len(QUESTION)
            )
            assert statuses(await said_to(served, padded + plain + LAST)) == [200, 200, 200]
        assert {asked.headers["authorization"] for asked in upstream.asked} == {"Bearer one"}
        assert len(upstream.asked) == (1 if target == CHAT else 2)
        assert not served.reports
