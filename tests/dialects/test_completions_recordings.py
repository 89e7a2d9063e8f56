"""The dialect on transcripts of the wire, read by the official client before and after."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest
from openai.types import Completion

from asynccache._models import Response
from asynccache._registry import find_dialect
from tests.dialects._openai_wire import Transcript, asking, names, transcript

COMPLETIONS: Final = find_dialect("completions")
FOLDER: Final = "openai-completions"
GOOD: Final[dict[str, dict[str, Any]]] = {
    "openai_plain": {},
    "openai_two_prompts_n2": {"prompt": ["one:", "two:"], "n": 2},
    "openai_logprobs": {"logprobs": 2},
}
"""Answers that exist whole and as a stream, and what asked for them."""
ALONE: Final[dict[str, dict[str, Any]]] = {
    "openai_echo": {"echo": True, "logprobs": 1},
    "vllm_stop_string": {"stop": ["\n\n"]},
}
STREAMS: Final = [*(f"{name}_stream" for name in GOOD), "vllm_token_ids_stream"]
BAD: Final = {
    "openai_cut_by_length": "finish_reason is 'length'",
    "openai_cut_by_length_stream": "finish_reason is 'length'",
    "openai_content_filter_stream": "finish_reason is 'content_filter'",
    "openai_empty": "the text is empty",
    "openai_empty_stream": "the text is empty",
    "openai_error_midstream": "a frame carries an error",
    "openai_400_best_of": "the answer carries an error",
    "openai_404_chat_model": "the answer carries an error",
    "openai_429_quota": "the answer carries an error",
}


def asked(name: str) -> dict[str, Any]:
    fields = {**GOOD, **ALONE}.get(name.removesuffix("_stream"), {})
    return {"model": "m", "prompt": "The sky is", **fields}


def response(name: str) -> Response:
    found = transcript(FOLDER, name)
    return Response(COMPLETIONS.assemble(found.frames) if found.streamed else found.body, found.frames)


def test_every_transcript_is_covered() -> None:
    assert {*GOOD, *ALONE, *STREAMS, *BAD} == set(names(FOLDER))


@pytest.mark.parametrize("name", [*GOOD, *ALONE, *STREAMS])
def test_a_complete_answer_may_be_stored(name: str) -> None:
    assert COMPLETIONS.verdict(asked(name), response(name)) is None


@pytest.mark.parametrize(("name", "reason"), BAD.items())
def test_any_other_answer_is_refused(name: str, reason: str) -> None:
    assert COMPLETIONS.verdict(asked(name), response(name)) == reason


@pytest.mark.parametrize("name", GOOD)
def test_a_stream_assembles_to_the_answer_of_an_unstreamed_call(name: str) -> None:
    whole = orjson.loads(response(name).body)
    streamed = orjson.loads(response(f"{name}_stream").body)
    if streamed.get("usage") is None:  # it was not asked for
        del whole["usage"]
    assert streamed == whole


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_is_replayed_as_it_came(name: str) -> None:
    found = transcript(FOLDER, name)
    counted = {**asked(name), "stream": True, "stream_options": {"include_usage": True}}
    assert tuple(COMPLETIONS.replay(counted, response(name))) == found.frames
    last = orjson.loads(found.frames[-1])
    without = found.frames[:-1] if not last["choices"] else found.frames
    assert tuple(COMPLETIONS.replay(asked(name), response(name))) == without


def test_what_vllm_tells_of_tokens_is_kept() -> None:
    document = orjson.loads(response("vllm_token_ids_stream").body)
    [choice] = document["choices"]
    assert choice["prompt_token_ids"] == [1, 2, 3]
    assert choice["token_ids"] == [7, 8, 9]
    assert choice["stop_reason"] == 151645
    assert document["system_fingerprint"] == "vllm-0.32.0-94a4bdea"


def test_tokens_are_counted_as_the_upstream_did() -> None:
    cost = COMPLETIONS.cost(response("openai_plain_stream"))
    assert (cost.prompt_tokens, cost.completion_tokens) == (6, 9)


async def read_whole(answer: bytes, body: dict[str, Any]) -> Completion:
    async with asking(answer) as client:
        made: Completion = await client.completions.create(**body)
        return made


async def read_stream(answer: bytes, body: dict[str, Any]) -> list[Completion]:
    async with asking(answer) as client:
        stream = await client.completions.create(**body, stream=True)
        return [chunk async for chunk in stream]


def sent(document: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(document) + document


def events(frames: tuple[bytes, ...]) -> bytes:
    head = transcript(FOLDER, "openai_plain_stream").head
    return Transcript(head, b"".join(map(COMPLETIONS.event, frames)) + COMPLETIONS.closing).wire


@pytest.mark.anyio
@pytest.mark.parametrize("name", GOOD)
async def test_the_official_client_reads_an_assembled_stream_as_the_whole_answer(name: str) -> None:
    whole = await read_whole(transcript(FOLDER, name).wire, asked(name))
    assembled = await read_whole(sent(response(f"{name}_stream").body), asked(name))
    assert assembled.choices == whole.choices
    assert assembled == whole.model_copy(update={"usage": assembled.usage})


@pytest.mark.anyio
@pytest.mark.parametrize("name", STREAMS)
async def test_the_official_client_reads_a_replayed_stream_as_the_original(name: str) -> None:
    counted = {**asked(name), "stream_options": {"include_usage": True}}
    replayed = tuple(COMPLETIONS.replay(counted, response(name)))
    original = await read_stream(transcript(FOLDER, name).wire, asked(name))
    assert await read_stream(events(replayed), asked(name)) == original
    assert original


@pytest.mark.anyio
@pytest.mark.parametrize("name", [*GOOD, *ALONE])
async def test_the_official_client_reads_made_frames_as_the_whole_answer(name: str) -> None:
    whole = await read_whole(transcript(FOLDER, name).wire, asked(name))
    made = tuple(COMPLETIONS.replay(asked(name), Response(response(name).body)))
    chunks = await read_stream(events(made), asked(name))
    for choice in whole.choices:
        parts = [part for chunk in chunks for part in chunk.choices if part.index == choice.index]
        assert "".join(part.text for part in parts) == choice.text
        assert [part.finish_reason for part in parts if part.finish_reason] == [choice.finish_reason]
        assert [part.logprobs for part in parts if part.logprobs] == [choice.logprobs] * bool(choice.logprobs)
