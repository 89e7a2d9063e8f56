"""Law: nothing is stored unless the message is complete, free of errors, and what was asked for."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache._models import Response
from tests.dialects._messages_wire import ASKED, MESSAGES

SECRET: Final = "SECRET"
TEXT: Final = {"type": "text", "text": "hello"}
CALL: Final = {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}
SEARCH: Final = {"type": "server_tool_use", "id": "2", "name": "web_search", "input": {"query": "a"}}
FOUND: Final = {"type": "web_search_tool_result", "tool_use_id": "2", "content": []}
SCHEMA: Final = {"type": "json_schema", "schema": {"type": "object"}}


def judged(
    *blocks: Any, reason: Any = "end_turn", document: dict[str, Any] | None = None, **fields: Any
) -> Any:
    answer = {"type": "message", "content": list(blocks), "stop_reason": reason, **(document or {})}
    return MESSAGES.verdict({**ASKED, **fields}, Response(orjson.dumps(answer)))


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ([TEXT], "end_turn"),
        ([TEXT], "stop_sequence"),
        ([CALL], "tool_use"),
        ([TEXT, CALL, CALL], "tool_use"),
        ([CALL], "end_turn"),
        ([{"type": "thinking", "thinking": "", "signature": "a"}, TEXT], "end_turn"),
        ([SEARCH, FOUND, TEXT], "end_turn"),
        ([{"type": "text", "text": ""}, TEXT, {"type": "later"}], "end_turn"),
    ],
)
def test_an_answer_that_came_to_its_own_end_may_be_stored(blocks: list[Any], reason: str) -> None:
    assert judged(*blocks, reason=reason) is None


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("max_tokens", "'max_tokens'"),
        ("refusal", "'refusal'"),
        ("pause_turn", "'pause_turn'"),
        ("model_context_window_exceeded", "'model_context_window_exceeded'"),
        ("compaction", "'compaction'"),
        ("END_TURN", "'END_TURN'"),
        (None, "null"),
        (1, "not a known word"),
        (["end_turn"], "not a known word"),
        ("a SECRET text", "not a known word"),
        (SECRET * 50, "not a known word"),
    ],
)
def test_an_answer_that_ended_otherwise_is_refused(reason: Any, words: str) -> None:
    assert judged(TEXT, reason=reason) == f"stop_reason is {words}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the answer is not JSON"),
        (b'{"content"', "the answer is not JSON"),
        (b'{"x": NaN}', "the answer is not JSON"),
        (b"[]", "the answer is not an object"),
        (b"null", "the answer is not an object"),
        (b'{"type": "error", "error": {"type": "api_error"}}', "the answer carries an error"),
        (b'{"type": "message", "error": "SECRET"}', "the answer carries an error"),
        (b"{}", "the answer is not a message"),
        (b'{"type": "completion", "stop_reason": "end_turn"}', "the answer is not a message"),
        (b'{"type": "message"}', "stop_reason is null"),
        (b'{"type": "message", "stop_reason": "end_turn"}', "the content is not a list"),
        (b'{"type": "message", "stop_reason": "end_turn", "content": "a"}', "the content is not a list"),
    ],
)
def test_what_is_no_message_is_refused(body: bytes, reason: str) -> None:
    assert MESSAGES.verdict(ASKED, Response(body)) == reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"SECRET", "a frame is not JSON"),
        (b"[]", "a frame is not an object"),
        (b'{"type": "error", "error": {}}', "a frame carries an error"),
        (b'{"error": {"message": "SECRET"}}', "a frame carries an error"),
        (b'{"type": "ping"}', None),
    ],
)
def test_a_bad_frame_is_refused_whatever_the_document_says(frame: bytes, reason: str | None) -> None:
    answer = orjson.dumps({"type": "message", "content": [TEXT], "stop_reason": "end_turn"})
    assert MESSAGES.verdict(ASKED, Response(answer, (b'{"type": "message_stop"}', frame))) == reason


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (SECRET, "a content block is not an object with a type"),
        ({"text": SECRET}, "a content block is not an object with a type"),
        ({"type": "text"}, "a text block has no text"),
        ({**CALL, "name": ""}, "a tool call has no name"),
        ({**CALL, "name": None}, "a tool call has no name"),
        ({**CALL, "input": SECRET}, "a tool call's input is not an object"),
        ({**CALL, "input": None}, "a tool call's input is not an object"),
        ({**SEARCH, "input": [1]}, "a tool call's input is not an object"),
        (
            {**FOUND, "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}},
            "a tool of the server failed",
        ),
        ({"type": "mcp_tool_result", "is_error": True, "content": []}, "a tool of the server failed"),
        ({"type": "mcp_tool_result", "is_error": False, "content": []}, None),
    ],
)
def test_a_faulty_block_is_refused(block: Any, reason: str | None) -> None:
    assert judged(TEXT, block) == reason


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [{"type": "text", "text": " \n"}],
        [{"type": "thinking", "thinking": "so", "signature": "a"}],
        [SEARCH, FOUND],
    ],
)
def test_an_answer_that_says_nothing_is_refused(blocks: list[Any]) -> None:
    assert judged(*blocks) == "the content is empty"


def test_a_container_is_not_handed_to_others() -> None:
    left = {"container": {"id": "container_01", "expires_at": "2026-01-01T00:00:00Z"}}
    assert judged(TEXT, document=left) == "the answer left a container behind"
    assert judged(TEXT, document={"container": None}) is None


@pytest.mark.parametrize(
    "choice", [{"type": "any"}, {"type": "tool", "name": "f"}, {"type": "later"}, {"name": "f"}]
)
def test_a_forced_tool_must_have_been_called(choice: dict[str, Any]) -> None:
    assert judged(TEXT, tool_choice=choice) == "no tool was called"
    assert judged(CALL, tool_choice=choice) is None
    assert judged(SEARCH, FOUND, TEXT, tool_choice=choice) is None


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "none"}, None])
def test_no_tool_need_be_called_unless_forced(choice: dict[str, Any] | None) -> None:
    assert judged(TEXT, tool_choice=choice) is None


@pytest.mark.parametrize("blocks", [[TEXT], [SEARCH, FOUND, TEXT], []])
def test_an_answer_that_stopped_for_a_tool_holds_a_call(blocks: list[Any]) -> None:
    assert judged(*blocks, reason="tool_use") == "no tool was called"


@pytest.mark.parametrize("fields", [{"output_config": {"format": SCHEMA}}, {"output_format": SCHEMA}])
def test_json_that_was_asked_for_must_parse(fields: dict[str, Any]) -> None:
    refusal = "the content is not the JSON asked for"
    assert judged({"type": "text", "text": '{"a": 1}'}, **fields) is None
    assert judged({"type": "text", "text": '{"a": 1'}, **fields) == refusal
    assert judged({"type": "text", "text": f"Here: {SECRET}"}, **fields) == refusal
    assert judged(**fields) == refusal
    assert judged(CALL, **fields) is None


@pytest.mark.parametrize(
    "fields",
    [{"output_config": {"effort": "low"}}, {"output_config": {"format": None}}, {"output_config": None}],
)
def test_other_output_is_plain_text(fields: dict[str, Any]) -> None:
    assert judged(TEXT, **fields) is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"output_config": [SECRET]}, "output_config is not a mapping"),
        ({"output_format": SECRET}, "output_format is not a mapping"),
        ({"tool_choice": SECRET}, "tool_choice is not a mapping"),
        ({"output_config": {"format": SECRET}}, "output_config.format is not a mapping"),
    ],
)
def test_a_demand_that_cannot_be_read_is_refused(fields: dict[str, Any], reason: str) -> None:
    assert judged(TEXT, **fields) == reason


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["end_turn", "text", "tool_use", SECRET]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "text", "name", "input", "content"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json, json, st.sampled_from(["end_turn", "tool_use"]))
def test_no_answer_makes_it_stumble_or_repeat_what_was_said(content: Any, more: Any, reason: str) -> None:
    answer = {"type": "message", "content": content, "stop_reason": reason, "container": more}
    told = MESSAGES.verdict(ASKED, Response(orjson.dumps(answer)))
    assert told is None or SECRET not in told
