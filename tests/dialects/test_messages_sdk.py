"""Anthropic's own client, unmodified and over HTTP, reads what the dialect makes as it reads the original."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
import pytest
from anthropic import APIStatusError, AsyncAnthropic
from anthropic.types import Message

from asynccache._models import Response
from tests.dialects._messages_wire import (
    ASKED,
    MESSAGES,
    NAMES,
    answering,
    recording,
    streamed,
    whole,
)

pytestmark = pytest.mark.anyio

GOOD: Final = [name for name in NAMES if recording(name).status == 200 and name != "midstream_overloaded"]
STREAMS: Final = [name for name in GOOD if recording(name).streamed]
WHOLE: Final = [name for name in GOOD if not recording(name).streamed]
NOT_JSON: Final = ("max_tokens_tool_stream", "tool_broken_stream")
"""Of a broken input the client makes what it can; the dialect keeps the text, and stores nothing."""


@asynccontextmanager
async def asking(*answers: bytes) -> AsyncIterator[AsyncAnthropic]:
    """A client whose first, second … request gets these answers."""
    async with (
        answering(*answers) as raw,
        AsyncAnthropic(api_key="none", base_url=f"http://127.0.0.1:{raw.port}", max_retries=0) as client,
    ):
        yield client


async def fetched(client: AsyncAnthropic) -> Message:
    message: Message = await client.messages.create(**ASKED)
    return message


async def accumulated(client: AsyncAnthropic) -> Message:
    """The client's own sum of the events, as the type that it makes of a document."""
    async with client.messages.stream(**ASKED) as stream:
        return Message.model_validate((await stream.get_final_message()).to_dict())


async def events(client: AsyncAnthropic) -> list[dict[str, Any]]:
    return [event.to_dict() async for event in await client.messages.create(**ASKED, stream=True)]


@pytest.mark.parametrize("name", STREAMS)
async def test_a_replayed_stream_gives_the_events_of_the_original(name: str) -> None:
    taken = recording(name)
    again = streamed(list(MESSAGES.replay(ASKED, taken.response)))
    async with asking(taken.sent, again) as client:
        assert await events(client) == await events(client)


@pytest.mark.parametrize("name", [name for name in STREAMS if name not in NOT_JSON])
async def test_a_stream_served_whole_gives_the_message_the_client_accumulates(name: str) -> None:
    taken = recording(name)
    async with asking(taken.sent, whole(taken.response.body)) as client:
        assert await accumulated(client) == await fetched(client)


@pytest.mark.parametrize("name", [name for name in GOOD if name not in NOT_JSON])
async def test_a_document_served_as_a_stream_gives_the_same_message(name: str) -> None:
    document = recording(name).response.body
    frames = list(MESSAGES.replay(ASKED, Response(document)))
    async with asking(whole(document), streamed(frames)) as client:
        assert await fetched(client) == await accumulated(client)


@pytest.mark.parametrize("name", WHOLE)
async def test_the_client_reads_the_whole_transcript(name: str) -> None:
    taken = recording(name)
    async with asking(taken.sent) as client:
        assert (await fetched(client)).to_dict() == orjson.loads(taken.body)


async def test_text_of_a_callable_is_a_message_in_both_modes() -> None:
    document = orjson.dumps(MESSAGES.answer(ASKED, "Hello!"))
    frames = list(MESSAGES.replay(ASKED, Response(document)))
    async with asking(whole(document), streamed(frames)) as client:
        message = await fetched(client)
        assert await accumulated(client) == message
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hello!"}]


async def raised(client: AsyncAnthropic, *, stream: bool) -> APIStatusError:
    with pytest.raises(APIStatusError) as caught:
        await (events(client) if stream else fetched(client))
    return caught.value


@pytest.mark.parametrize("name", [name for name in NAMES if recording(name).status != 200])
async def test_a_failure_is_the_error_the_client_makes_of_the_original(name: str) -> None:
    taken = recording(name)
    ours = whole(MESSAGES.failure(taken.status, "made up"), taken.status)
    async with asking(taken.sent, ours) as client:
        theirs, made = [await raised(client, stream=False) for _ in range(2)]
    assert type(made) is type(theirs)
    assert made.type == theirs.type


async def test_a_failure_in_a_stream_is_an_error_to_the_client() -> None:
    taken = recording("midstream_overloaded")
    ours = streamed([*taken.frames[:-1], MESSAGES.failure(529, "made up")])
    async with asking(taken.sent, ours) as client:
        theirs, made = [await raised(client, stream=True) for _ in range(2)]
    assert type(made) is type(theirs)
    assert (made.type, theirs.type) == ("overloaded_error", "overloaded_error")
