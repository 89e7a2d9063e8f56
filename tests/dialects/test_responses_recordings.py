"""The dialect on transcripts of the Responses protocol, which are written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from asynccache._models import Response
from asynccache.dialects.responses import Responses

RESPONSES: Final = Responses()
TRANSCRIPTS: Final = Path(__file__).parents[1] / "fixtures" / "openai-responses"
ASKED: Final[dict[str, Any]] = {"input": "hi"}
TWINS: Final = ["cut", "empty", "json", "parts", "reasoning", "refusal", "text", "tool", "tools_parallel"]
VLLM: Final = ["vllm_last_word_stream", "vllm_no_output_stream", "vllm_reasoning_stream"]
ENDED: Final = [*(f"{name}_stream" for name in TWINS), "failed_stream", *VLLM]
ERRORS: Final = ["err_400", "err_401", "err_429"]

VERDICTS: Final = {
    "cut": "status is 'incomplete'",
    "empty": "there is no output",
    "failed": "the answer carries an error",
    "json": None,
    "parts": None,
    "reasoning": None,
    "refusal": "the model refused",
    "text": None,
    "tool": None,
    "tools_parallel": None,
    "vllm_last_word": "the final output is not what was streamed",
    "vllm_no_output": None,
    "vllm_reasoning": None,
}


def body_of(name: str) -> bytes:
    return (TRANSCRIPTS / f"{name}.http").read_bytes().partition(b"\r\n\r\n")[2]


def events_of(name: str) -> list[bytes]:
    return [event + b"\n\n" for event in body_of(name).removesuffix(b"\n\n").split(b"\n\n")]


def frames_of(name: str) -> tuple[bytes, ...]:
    lines = [line for line in body_of(name).splitlines() if line.startswith(b"data: ")]
    return tuple(line.removeprefix(b"data: ") for line in lines if line != b"data: [DONE]")


def recorded(name: str) -> Response:
    if not name.endswith("_stream"):
        return Response(body_of(name))
    frames = frames_of(name)
    return Response(RESPONSES.assemble(frames), frames)


def test_every_transcript_is_covered() -> None:
    known = {*TWINS, *ENDED, *ERRORS, "error_stream"}
    assert known == {path.stem for path in TRANSCRIPTS.glob("*.http")}


@pytest.mark.parametrize("name", TWINS)
def test_a_stream_is_assembled_into_its_unstreamed_twin(name: str) -> None:
    assert orjson.loads(recorded(f"{name}_stream").body) == orjson.loads(body_of(name))


@pytest.mark.parametrize("name", [*TWINS, *ENDED])
def test_only_good_transcripts_may_be_stored(name: str) -> None:
    assert RESPONSES.verdict(ASKED, recorded(name)) == VERDICTS[name.removesuffix("_stream")]


def test_a_call_that_was_asked_for_is_there_and_another_is_missed() -> None:
    asked = {**ASKED, "tool_choice": "required"}
    assert RESPONSES.verdict(asked, recorded("tool_stream")) is None
    assert RESPONSES.verdict(asked, recorded("text_stream")) == "no tool was called"


def test_the_json_that_was_asked_for_is_there_and_prose_is_not() -> None:
    asked = {**ASKED, "text": {"format": {"type": "json_schema"}}}
    assert RESPONSES.verdict(asked, recorded("json_stream")) is None
    assert RESPONSES.verdict(asked, recorded("text_stream")) == "the text is not the JSON asked for"


@pytest.mark.parametrize("name", [*TWINS, *ENDED])
def test_a_transcript_survives_being_replayed_from_its_document(name: str) -> None:
    document = recorded(name).body
    made = tuple(RESPONSES.replay(ASKED, Response(document)))
    assert orjson.loads(RESPONSES.assemble(made)) == orjson.loads(document)


@pytest.mark.parametrize("name", ENDED)
def test_recorded_events_go_out_byte_for_byte(name: str) -> None:
    again = [RESPONSES.event(frame) for frame in RESPONSES.replay(ASKED, recorded(name))]
    assert again == [event for event in events_of(name) if event != b"data: [DONE]\n\n"]


@pytest.mark.parametrize("name", ENDED)
def test_the_deltas_of_a_transcript_are_its_text(name: str) -> None:
    said = "".join(RESPONSES.delta(orjson.loads(frame)) for frame in frames_of(name))
    text = RESPONSES.text(orjson.loads(recorded(name).body))
    assert said == (text if name != "vllm_last_word_stream" else "Hello there!")


@pytest.mark.parametrize("name", ENDED)
def test_a_transcript_is_complete_with_its_last_event_and_not_before(name: str) -> None:
    progress = RESPONSES.progress()
    for frame in frames_of(name):
        assert progress.missing() is not None
        progress.note(orjson.loads(frame))
    assert progress.missing() is None


def test_made_events_are_those_of_a_server_that_cuts_nothing() -> None:
    """All but the obfuscation, the progress of a search, and what an event says of encrypted content."""
    for name in TWINS:
        made = [orjson.loads(frame)["type"] for frame in RESPONSES.replay(ASKED, recorded(name))]
        sent = [orjson.loads(frame)["type"] for frame in frames_of(f"{name}_stream")]
        cut = [kind for at, kind in enumerate(sent) if at == 0 or kind != sent[at - 1] or "delta" not in kind]
        assert made == [kind for kind in cut if ".web_search_call." not in kind]


def test_the_cost_is_that_of_the_final_event() -> None:
    assert RESPONSES.cost(recorded("reasoning_stream")) == RESPONSES.cost(recorded("reasoning"))
    assert RESPONSES.cost(recorded("reasoning")).completion_tokens == 73
