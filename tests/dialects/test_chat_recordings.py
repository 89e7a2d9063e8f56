"""The dialect on what a real server sent: recordings of vLLM 0.32."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from asynccache._models import Response
from asynccache.dialects import ChatCompletions

CHAT: Final = ChatCompletions()
RECORDINGS: Final = Path(__file__).parents[1] / "fixtures" / "vllm-0.32"
ALL: Final = sorted(path.stem for path in RECORDINGS.glob("*.http"))
STREAMS: Final = ["reasoning_stream", "stream_n2", "tool_required_stream", "tool_stream_named"]
GOOD: Final = ["json_schema"]
"""The only answers that ended by themselves."""

FORCED: Final[dict[str, Any]] = {
    "tools": [{"type": "function", "function": {"name": "get_weather"}}],
    "tool_choice": "required",
}


class Recording(NamedTuple):
    status: int
    streamed: bool
    payload: bytes
    """The body, or what stands in the frames, one a line."""

    @property
    def frames(self) -> tuple[bytes, ...]:
        return tuple(self.payload.splitlines()) if self.streamed else ()

    @property
    def response(self) -> Response:
        """What an upstream would hand on; for a stream that cannot be assembled, its frames alone."""
        if not self.streamed:
            return Response(self.payload)
        return Response(CHAT.assemble(self.frames), self.frames)

    def ended_by(self, reason: str) -> Recording:
        """A copy whose choices were not cut by length."""
        return self._replace(payload=self.payload.replace(b'"length"', b'"%b"' % reason.encode()))


def recording(name: str) -> Recording:
    head, _, rest = (RECORDINGS / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    status = int(head.split(maxsplit=2)[1])
    if b"text/event-stream" not in head:
        return Recording(status, streamed=False, payload=rest)
    lines = (line.removeprefix(b"data: ") for line in rest.splitlines() if line.startswith(b"data: "))
    return Recording(status, streamed=True, payload=b"\n".join(line for line in lines if line != b"[DONE]"))


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], **fields}


def request_of(name: str) -> dict[str, Any]:
    match name:
        case "stream_n2":
            return asking(n=2, stream=True)
        case "json_schema":
            return asking(response_format={"type": "json_schema", "json_schema": {"name": "a"}})
        case "tool_named" | "tool_required_stream" | "tool_stream_named":
            return asking(**FORCED)
        case _:
            return asking()


def test_every_recording_is_there() -> None:
    assert len(ALL) == 17


@pytest.mark.parametrize("name", ALL)
def test_every_recording_parses(name: str) -> None:
    found = recording(name)
    documents = found.frames if found.streamed else (found.payload,)
    assert documents
    assert all(isinstance(orjson.loads(document), dict) for document in documents)


@pytest.mark.parametrize("name", ALL)
def test_only_an_answer_that_ended_by_itself_may_be_stored(name: str) -> None:
    reason = CHAT.verdict(request_of(name), recording(name).response)
    assert (reason is None) is (name in GOOD)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("401_no_key", "the answer carries an error"),
        ("503_queue", "the answer carries an error"),
        ("midstream_engine_death", "a frame carries an error"),
        ("reset_while_running", "there are no choices"),
        ("chat_basic", "finish_reason is 'length'"),
        ("stream_n2", "finish_reason is 'length'"),
    ],
)
def test_the_reason_names_what_went_wrong(name: str, reason: str) -> None:
    assert CHAT.verdict(request_of(name), recording(name).response) == reason


def test_a_dead_engine_is_refused_even_if_its_last_frame_is_lost() -> None:
    died = recording("midstream_engine_death")
    frames = died.frames[:-1]
    assert CHAT.verdict(asking(), Response(CHAT.assemble(frames), frames)) == "finish_reason is null"


@pytest.mark.parametrize("name", ["chat_basic", "stream_n2", "tool_required_stream", "tool_stream_named"])
def test_the_same_answer_ended_by_itself_may_be_stored(name: str) -> None:
    assert CHAT.verdict(request_of(name), recording(name).ended_by("stop").response) is None


@pytest.mark.parametrize("name", ["chat_nodetails", "priority_fcfs", "reasoning_stream"])
def test_reasoning_without_an_answer_is_refused_however_it_ended(name: str) -> None:
    assert CHAT.verdict(request_of(name), recording(name).ended_by("stop").response) == "the content is empty"


def test_a_forced_tool_call_that_came_as_words_is_refused_however_it_ended() -> None:
    words = recording("tool_named").ended_by("stop").response
    assert "<tool_call>" in CHAT.text(orjson.loads(words.body))
    assert CHAT.verdict(request_of("tool_named"), words) == "no tool was called"


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_is_replayed_as_it_came(name: str) -> None:
    found = recording(name)
    asked = asking(stream=True, stream_options={"include_usage": True})
    assert tuple(CHAT.replay(asked, found.response)) == found.frames
    assert CHAT.replayable(asked, found.response) is None
    assert tuple(CHAT.replay(asking(stream=True), found.response)) == found.frames[:-1]


@pytest.mark.parametrize("name", [*STREAMS, "chat_basic", "chat_nodetails", "json_schema", "tool_named"])
def test_the_document_survives_a_stream_of_made_frames(name: str) -> None:
    document = recording(name).response.body
    asked = asking(stream=True, stream_options={"include_usage": True})
    frames = tuple(CHAT.replay(asked, Response(document)))
    assert orjson.loads(CHAT.assemble(frames)) == orjson.loads(document)


@pytest.mark.parametrize("name", [*STREAMS, "chat_basic", "json_schema"])
def test_openais_client_reads_made_frames_as_the_document(name: str) -> None:
    document = orjson.loads(recording(name).ended_by("stop").response.body)
    state = ChatCompletionStreamState[None]()
    for frame in CHAT.replay(asking(stream=True), Response(orjson.dumps(document))):
        state.handle_chunk(ChatCompletionChunk.model_validate_json(frame))
    completion = state.get_final_completion()
    assert completion.id == document["id"]
    assert len(completion.choices) == len(document["choices"])
    for read, choice in zip(completion.choices, document["choices"], strict=True):
        assert (read.message.content or None) == choice["message"].get("content")
        assert read.finish_reason == choice["finish_reason"]
        calls = [call.function for call in read.message.tool_calls or () if call.type == "function"]
        stored = [call["function"] for call in choice["message"].get("tool_calls") or ()]
        assert [(call.name, call.arguments) for call in calls] == [
            (call["name"], call["arguments"]) for call in stored
        ]


def test_a_stream_of_reasoning_assembles_to_the_message_of_an_unstreamed_call() -> None:
    streamed = orjson.loads(recording("reasoning_stream").response.body)
    whole = orjson.loads(recording("chat_nodetails").response.body)
    message = streamed["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "reasoning": "chat addtral add"}
    assert {name: whole["choices"][0]["message"][name] for name in ("role", "content")} == {
        "role": "assistant",
        "content": None,
    }
    assert streamed["object"] == whole["object"]
    assert streamed["system_fingerprint"] == whole["system_fingerprint"]
    assert streamed["usage"]["completion_tokens"] == 4


def test_interleaved_choices_with_log_probabilities_are_told_apart() -> None:
    document = orjson.loads(recording("stream_n2").response.body)
    first, second = document["choices"]
    assert first["message"]["content"] == "chedulcoder"
    assert second["message"]["content"] == "\ufffdv"
    assert [token["token"] for token in first["logprobs"]["content"]] == ["chedul", "coder"]
    assert len(second["logprobs"]["content"]) == 2
    cost = CHAT.cost(Response(orjson.dumps(document)))
    assert (cost.prompt_tokens, cost.completion_tokens) == (13, 4)


@pytest.mark.parametrize("name", ["tool_required_stream", "tool_stream_named"])
def test_the_fragments_of_a_tool_call_become_one_call(name: str) -> None:
    found = recording(name)
    message = orjson.loads(found.response.body)["choices"][0]["message"]
    (call,) = message["tool_calls"]
    assert message["content"] is None
    assert call.keys() == {"id", "type", "function"}
    assert call["function"]["name"] == "get_weather"
    assert call["function"]["arguments"].startswith("66456133333")


def test_the_deltas_of_a_stream_add_up_to_its_text() -> None:
    found = recording("stream_n2")
    deltas = "".join(CHAT.delta(orjson.loads(frame)) for frame in found.frames)
    assert deltas == CHAT.text(orjson.loads(found.response.body)) == "chedulcoder"
