"""The dialect on whole transcripts of the protocol."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache._models import Cost, Response
from tests.dialects._messages_wire import ASKED, MESSAGES, NAMES, recording

PAIRS: Final = sorted(name for name in NAMES if f"{name}_stream" in NAMES)
STREAMS: Final = sorted(name for name in NAMES if recording(name).streamed)
REFUSED: Final = {
    "broken_off": "stop_reason is null",
    "empty": "the content is empty",
    "empty_stream": "the content is empty",
    "max_tokens": "stop_reason is 'max_tokens'",
    "max_tokens_stream": "stop_reason is 'max_tokens'",
    "max_tokens_tool_stream": "stop_reason is 'max_tokens'",
    "pause_turn": "stop_reason is 'pause_turn'",
    "refusal": "stop_reason is 'refusal'",
    "refusal_midway_stream": "stop_reason is 'refusal'",
    "tool_broken_stream": "a tool call's input is not an object",
    "web_search_failed_stream": "a tool of the server failed",
}


def request_of(name: str) -> dict[str, Any]:
    if name.startswith("json"):
        return {**ASKED, "output_config": {"format": {"type": "json_schema", "schema": {}}}}
    if name.startswith("tool"):
        return {
            **ASKED,
            "tools": [{"name": "get_weather", "input_schema": {}}],
            "tool_choice": {"type": "any"},
        }
    return ASKED


def test_every_transcript_is_there() -> None:
    assert len(NAMES) == 37
    assert len(PAIRS) == 11


@pytest.mark.parametrize("name", [name for name in NAMES if recording(name).status == 200])
def test_the_verdict_is_right(name: str) -> None:
    if name == "midstream_overloaded":
        taken = recording(name)
        assert MESSAGES.verdict(ASKED, Response(b"{}", taken.frames)) == "a frame carries an error"
    else:
        assert MESSAGES.verdict(request_of(name), recording(name).response) == REFUSED.get(name)


@pytest.mark.parametrize("name", [name for name in NAMES if recording(name).status != 200])
def test_an_error_document_is_refused(name: str) -> None:
    assert MESSAGES.verdict(ASKED, recording(name).response) == "the answer carries an error"


@pytest.mark.parametrize("name", PAIRS)
def test_a_stream_is_assembled_to_the_document_of_the_unstreamed_answer(name: str) -> None:
    unstreamed = orjson.loads(recording(name).body)
    assert orjson.loads(MESSAGES.assemble(recording(f"{name}_stream").frames)) == unstreamed


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_frames_are_replayed_byte_for_byte(name: str) -> None:
    frames = recording(name).frames
    assert tuple(MESSAGES.replay(ASKED, Response(b"{}", frames))) == frames


@pytest.mark.parametrize("name", [name for name in NAMES if recording(name).status == 200])
def test_frames_made_of_a_document_amount_to_it(name: str) -> None:
    if name == "midstream_overloaded":
        return
    document = recording(name).response.body
    frames = list(MESSAGES.replay(ASKED, Response(document)))
    assert orjson.loads(MESSAGES.assemble(frames)) == orjson.loads(document)


@pytest.mark.parametrize("name", [name for name in STREAMS if name != "midstream_overloaded"])
def test_the_text_is_the_sum_of_its_deltas(name: str) -> None:
    taken = recording(name)
    deltas = [MESSAGES.delta(orjson.loads(frame)) for frame in taken.frames]
    assert "".join(deltas) == MESSAGES.text(orjson.loads(taken.response.body))


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_complete_at_its_end_and_nowhere_before(name: str) -> None:
    frames = recording(name).frames
    complete = name not in {"midstream_overloaded", "broken_off"}
    for kept in range(len(frames) + 1):
        progress = MESSAGES.progress()
        for frame in frames[:kept]:
            progress.note(orjson.loads(frame))
        assert (progress.missing() is None) is (complete and kept == len(frames))


@pytest.mark.parametrize("name", STREAMS)
def test_events_are_written_as_they_were_recorded(name: str) -> None:
    taken = recording(name)
    written = b"".join(map(MESSAGES.event, taken.frames)) + MESSAGES.closing
    assert written == taken.body.removesuffix(b"data: [DONE]\n\n")


@pytest.mark.parametrize("name", [name for name in STREAMS if name != "midstream_overloaded"])
def test_a_new_id_changes_nothing_but_the_id(name: str) -> None:
    taken = recording(name)
    old = orjson.loads(taken.response.body)["id"].encode()
    renewed = [MESSAGES.renewed(frame, token="0" * 32, now=1) for frame in taken.frames]
    assert b"\n".join(renewed) == b"\n".join(taken.frames).replace(old, b"msg_" + b"0" * 32)
    document = MESSAGES.renewed(taken.response.body, token="0" * 32, now=1)
    assert orjson.loads(document) == orjson.loads(MESSAGES.assemble(renewed))


def test_all_tokens_of_the_prompt_are_counted() -> None:
    for name in ("text", "text_stream"):
        assert MESSAGES.cost(recording(name).response) == Cost(21 + 188 + 2051, 14)


@pytest.mark.parametrize(
    ("name", "acts"),
    [("tool", True), ("tools_parallel", True), ("web_search", False), ("text", False), ("thinking", False)],
)
def test_only_calls_of_the_callers_tools_act(name: str, *, acts: bool) -> None:
    assert MESSAGES.acts(recording(name).response) is acts
