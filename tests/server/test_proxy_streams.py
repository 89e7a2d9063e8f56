"""Streams through the proxy: as they came, to clients that are slow, or leave."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import anyio
import orjson
import pytest

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


def event(text: str | None, finish: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


async def test_stream_is_passed_on_event_by_event_and_replayed_from_the_cache(proxying: Any) -> None:
    seen, go_on = asyncio.Event(), asyncio.Event()

    async def answer(asked: Any) -> None:
        await asked.begin_events()
        await asked.send(event("one "))
        await go_on.wait()
        await asked.send(event("two"), event(None, "stop"), b"data: [DONE]\n\n")
        asked.writer.close()

    async with proxying.both(answer) as (upstream, served):
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        async with served.client.stream("POST", CHAT, json=body) as response:
            pieces = []
            async for piece in response.aiter_raw():
                pieces.append(piece)
                if not seen.is_set():
                    assert piece == event("one ")
                    seen.set()
                    go_on.set()
        stored = await served.client.post(CHAT, json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
    assert stored.content == b"".join(pieces)
    assert "hit" in stored.headers["cache-status"]
    assert len(upstream.asked) == 1


async def test_stream_that_the_engine_broke_reaches_the_client_as_it_came_and_is_not_stored(
    proxying: Any,
) -> None:
    _, _, body = proxying.recording("midstream_engine_death")

    async def answer(asked: Any) -> None:
        await asked.begin_events()
        await asked.send(body)
        asked.writer.close()

    async with proxying.both(answer) as (upstream, served):
        answers = [await served.ask(stream=True) for _ in range(2)]
    for each in answers:
        assert each.status_code == 200
        assert each.text.strip().split("\n\n") == body.decode().strip().split("\n\n")
    assert len(upstream.asked) == 2


@pytest.mark.parametrize(
    "name", ["reasoning_stream", "stream_n2", "tool_stream_named", "tool_required_stream"]
)
async def test_recorded_streams_reach_the_client_as_they_came_and_none_that_was_cut_is_stored(
    proxying: Any, name: str
) -> None:
    _, _, body = proxying.recording(name)

    async def answer(asked: Any) -> None:
        await asked.begin_events()
        await asked.send(body)
        asked.writer.close()

    async with proxying.both(answer) as (upstream, served):
        answers = [await served.ask(stream=True) for _ in range(2)]
    assert {each.text.strip() for each in answers} == {body.decode().strip()}
    assert len(upstream.asked) == 2


@pytest.mark.parametrize(
    ("name", "asked"),
    [("chat_basic", 2), ("chat_nodetails", 2), ("json_schema", 1), ("priority_fcfs", 2), ("tool_named", 2)],
)
async def test_recorded_documents_reach_the_client_as_they_came(proxying: Any, name: str, asked: int) -> None:
    _, _, body = proxying.recording(name)

    async def answer(asked: Any) -> None:
        await asked.answer(body)

    async with proxying.both(answer) as (upstream, served):
        answers = [await served.ask() for _ in range(2)]
    assert {each.content for each in answers} == {body}
    assert len(upstream.asked) == asked


async def test_stream_refused_before_its_first_event_keeps_its_status(proxying: Any) -> None:
    status, _, body = proxying.recording("503_queue_stream")

    async def answer(asked: Any) -> None:
        await asked.answer(body, status=status)

    async with proxying.both(answer) as (_, served):
        answer_ = await served.ask(stream=True)
    assert (answer_.status_code, answer_.content) == (503, body)


@pytest.mark.parametrize("streamed", [True, False])
async def test_client_that_leaves_closes_the_upstream_call(proxying: Any, *, streamed: bool) -> None:
    left = asyncio.Event()

    async def stall(asked: Any) -> None:
        if streamed:
            await asked.begin_events()
            await asked.send(event("one"))
        await asked.client_left()
        left.set()

    async with proxying.both(stall) as (_, served):
        with anyio.move_on_after(0.3):
            await served.ask(stream=streamed)
        with anyio.fail_after(5):
            await left.wait()
        assert served.app._gate.running == 0
    assert not served.reports


async def test_client_that_leaves_does_not_harm_another_who_asks_the_same(proxying: Any) -> None:
    go_on = asyncio.Event()

    async def slow(asked: Any) -> None:
        await go_on.wait()
        await asked.answer(proxying.completion())

    async with proxying.both(slow) as (upstream, served):
        answers: list[Any] = []

        async def stay() -> None:
            answers.append(await served.ask())

        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(0.3):
                tasks.start_soon(stay)
                await served.ask()
            await anyio.sleep(0.1)
            go_on.set()
    assert [answer.status_code for answer in answers] == [200]
    assert len(upstream.asked) == 1


async def test_slow_reader_holds_up_its_own_stream_alone(proxying: Any) -> None:
    text = "word " * 4_000_000  # 20 MB: more than sockets and buffers hold

    async def answer(asked: Any) -> None:
        await asked.answer(proxying.completion(text if b"long" in asked.body else "short"))

    async with proxying.both(answer) as (_, served):
        assert (await served.ask("long")).status_code == 200
        body = orjson.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "long"}]})
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer one\r\n".encode()
        head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as slow:
            slow.sendall(head + body)
            await anyio.sleep(0.2)
            with anyio.fail_after(2):
                assert (await served.ask("other")).status_code == 200
        with anyio.fail_after(5):
            while served.app._gate.running:  # noqa: ASYNC110  (nothing tells of it)
                await anyio.sleep(0.01)


async def test_answer_shared_between_a_stream_and_a_whole_request_asks_once(proxying: Any) -> None:
    async with proxying.both() as (upstream, served):
        whole = await served.ask()
        stream = await served.ask(stream=True)
    assert whole.json()["choices"][0]["message"]["content"] in stream.text
    assert stream.text.endswith("data: [DONE]\n\n")
    assert len(upstream.asked) == 1


async def test_json_answer_to_a_stream_request_is_sent_as_events(proxying: Any) -> None:
    async with proxying.both() as (_, served):
        stream = await served.ask(stream=True)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert "hello" in stream.text
