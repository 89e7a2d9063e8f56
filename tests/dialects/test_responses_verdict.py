"""Which responses may be stored, and the reason why another may not."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache._models import Response
from asynccache.dialects.responses import Responses

RESPONSES: Final = Responses()
ASKED: Final[dict[str, Any]] = {"input": "hi"}
CALL: Final[dict[str, Any]] = {
    "type": "function_call",
    "call_id": "c",
    "name": "f",
    "arguments": '{"x":1}',
    "status": "completed",
}
CUSTOM: Final[dict[str, Any]] = {
    "type": "custom_tool_call",
    "call_id": "c",
    "name": "f",
    "input": "free text",
}
SEARCH: Final[dict[str, Any]] = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
THOUGHT: Final[dict[str, Any]] = {"type": "reasoning", "id": "rs_1", "summary": []}


def say(*texts: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"type": "message", "role": "assistant", "status": "completed", "content": content, **fields}


HELLO: Final = say("hello")
REFUSAL: Final = {**HELLO, "content": [{"type": "refusal", "refusal": "no"}]}


def document(*output: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": "completed", "output": list(output), **fields}


def verdict(whole: Any, *frames: Any, **asked: Any) -> str | None:
    body = whole if isinstance(whole, bytes) else orjson.dumps(whole)
    made = tuple(frame if isinstance(frame, bytes) else orjson.dumps(frame) for frame in frames)
    return RESPONSES.verdict({**ASKED, **asked}, Response(body, made))


def formatted(kind: str) -> dict[str, Any]:
    return {"text": {"format": {"type": kind}}}


@pytest.mark.parametrize(
    ("output", "asked"),
    [
        ([HELLO], {}),
        ([THOUGHT, HELLO], {}),
        ([SEARCH, say("on my way", phase="commentary"), HELLO], {}),
        ([CALL], {}),
        ([CALL, CALL, CUSTOM], {"tool_choice": "required"}),
        ([{**CALL, "arguments": ""}], {"tool_choice": {"type": "function", "name": "f"}}),
        ([{**CUSTOM, "input": ""}], {"tool_choice": {"type": "custom", "name": "f"}}),
        ([say(""), CALL], {}),
        ([SEARCH, HELLO], {"tool_choice": {"type": "web_search_preview"}}),
        ([HELLO], {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}),
        ([HELLO], {"tool_choice": "none"}),
        ([say('{"a":1}')], formatted("json_object")),
        ([say("[1]")], formatted("json_schema")),
        ([say("looking", phase="commentary"), say("[1]", phase="final_answer")], formatted("json_schema")),
        ([CALL], formatted("json_schema")),
        ([say("5")], {"structured_outputs": {"json": {}}}),
        ([say("hello")], formatted("text")),
        ([{**say("hello"), "status": None}], {}),
    ],
)
def test_a_complete_response_of_what_was_asked_for_may_be_stored(
    output: list[Any], asked: dict[str, Any]
) -> None:
    assert verdict(document(*output), **asked) is None


@pytest.mark.parametrize(
    ("whole", "reason"),
    [
        (b"{", "the answer is not JSON"),
        ([], "the answer is not an object"),
        (document(HELLO, error={"code": "server_error"}), "the answer carries an error"),
        (document(HELLO, status="incomplete"), "status is 'incomplete'"),
        (document(HELLO, status="failed"), "status is 'failed'"),
        (document(HELLO, status="queued"), "status is 'queued'"),
        (document(HELLO, status="in_progress"), "status is 'in_progress'"),
        (document(HELLO, status="a secret"), "status is not a known word"),
        (document(HELLO, status=None), "status is not a known word"),
        (document(HELLO, status=["completed"]), "status is not a known word"),
        ({"choices": [], "status": "completed"}, "there is no output"),
        (
            document(HELLO, incomplete_details={"reason": "content_filter"}),
            "the answer has incomplete_details",
        ),
        (document(), "there is no output"),
        ({**document(), "output": {"a": 1}}, "there is no output"),
        (document("hello"), "an output item is not an object"),
        (document({**HELLO, "status": "incomplete"}), "an output item is not completed"),
        (document({**SEARCH, "status": "failed"}, HELLO), "an output item is not completed"),
        (document({**SEARCH, "error": {"code": "x"}}, HELLO), "an output item carries an error"),
        (document({**CALL, "name": ""}), "a call has no name"),
        (document({**CALL, "name": None}), "a call has no name"),
        (document({**CALL, "call_id": None}), "a call has no call_id"),
        (document({**CALL, "arguments": None}), "a call hands over nothing"),
        (document({**CUSTOM, "input": {}}), "a call hands over nothing"),
        (document({**CALL, "arguments": '{"x":'}), "a call's arguments are not JSON"),
        (document(HELLO, {**CALL, "arguments": "x"}), "a call's arguments are not JSON"),
        (document(REFUSAL), "the model refused"),
        (document(HELLO, REFUSAL), "the model refused"),
        (document(THOUGHT), "the output has neither text nor calls"),
        (document(say("")), "the output has neither text nor calls"),
        (document(say(" \n")), "the output has neither text nor calls"),
        (document({**HELLO, "content": None}), "the output has neither text nor calls"),
        (document({**HELLO, "content": ["hello"]}), "the output has neither text nor calls"),
        (document(SEARCH), "the output has neither text nor calls"),
    ],
)
def test_what_is_not_complete_is_not_stored(whole: Any, reason: str) -> None:
    assert verdict(whole) == reason


@pytest.mark.parametrize(
    ("output", "asked", "reason"),
    [
        (HELLO, {"tool_choice": "required"}, "no tool was called"),
        (HELLO, {"tool_choice": {"type": "function", "name": "f"}}, "no tool was called"),
        (HELLO, {"tool_choice": {"type": "web_search_preview"}}, "no tool was called"),
        (HELLO, {"tool_choice": {"type": "allowed_tools", "mode": "required"}}, "no tool was called"),
        (HELLO, formatted("json_object"), "the text is not the JSON asked for"),
        (say("[1]"), formatted("json_object"), "the text is not the JSON asked for"),
        (say('{"a":'), formatted("json_schema"), "the text is not the JSON asked for"),
        (say('{"a":1}', "and more"), formatted("json_schema"), "the text is not the JSON asked for"),
        (say("{}", phase="commentary"), formatted("json_schema"), "the text is not the JSON asked for"),
        (THOUGHT, formatted("json_schema"), "the text is not the JSON asked for"),
        (REFUSAL, formatted("json_schema"), "the model refused"),
        (HELLO, {"structured_outputs": {"json": {}}}, "the text is not the JSON asked for"),
        (HELLO, {"structured_outputs": {"json_object": True}}, "the text is not the JSON asked for"),
        (HELLO, {"text": {"format": "json"}}, "text.format is not a mapping"),
        (HELLO, {"structured_outputs": "json"}, "structured_outputs is not a mapping"),
        (HELLO, {"tool_choice": 5}, "tool_choice is not a string or a mapping"),
    ],
)
def test_what_was_not_asked_for_is_not_stored(output: Any, asked: dict[str, Any], reason: str) -> None:
    assert verdict(document(output), **asked) == reason


def done(item: Any, place: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": place, "item": item}


COMPLETED: Final = {"type": "response.completed", "response": document(HELLO)}


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b"{", COMPLETED], "a frame is not JSON"),
        ([b"[]", COMPLETED], "a frame is not an object"),
        ([{"error": {"code": 500}}, COMPLETED], "a frame carries an error"),
        ([{"type": "error", "code": "server_error"}, COMPLETED], "a frame carries an error"),
        ([done(HELLO)], "the stream has no final event"),
        ([done(say("hullo")), COMPLETED], "the final output is not what was streamed"),
        ([done(HELLO), done(CALL, 1), COMPLETED], "the final output is not what was streamed"),
        ([done(REFUSAL), COMPLETED], "the final output is not what was streamed"),
    ],
)
def test_a_stream_that_does_not_bear_out_its_end_is_not_stored(frames: list[Any], reason: str) -> None:
    assert verdict(document(HELLO), *frames) == reason


@pytest.mark.parametrize(
    ("streamed", "final"),
    [
        (CALL, {**CALL, "arguments": '{"x":2}'}),
        (CALL, {**CALL, "name": "g"}),
        (CUSTOM, {**CUSTOM, "input": "other text"}),
        (CUSTOM, {**CUSTOM, "name": "g"}),
        (REFUSAL, {**HELLO, "content": [{"type": "refusal", "refusal": "never"}]}),
    ],
)
def test_a_call_or_refusal_that_ends_up_as_another_is_not_stored(streamed: Any, final: Any) -> None:
    reason = "the final output is not what was streamed"
    assert verdict(document(final), done(streamed), COMPLETED) == reason


@pytest.mark.parametrize("item", [HELLO, {**HELLO, "id": "msg_2"}, {**HELLO, "status": None}])
def test_a_streamed_item_may_carry_other_ids_than_the_final_one(item: Any) -> None:
    assert verdict(document(HELLO), done(item), COMPLETED) is None
    assert verdict(document(HELLO), COMPLETED) is None


def test_no_reason_repeats_the_answer() -> None:
    for whole in (document(say("secret"), status="secret"), document({**CALL, "arguments": "secret"})):
        assert "secret" not in str(verdict(whole))
