"""Law: nothing is stored unless the answer completed, free of errors, and is what was asked for."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache._models import Response
from asynccache.dialects import ChatCompletions

CHAT: Final = ChatCompletions()
BODY: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "hi"}]}
CALL: Final[dict[str, Any]] = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SECRET: Final = "SECRET"


def choice(index: int = 0, finish_reason: Any = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "hello", **message}
    return {"index": index, "message": said, "finish_reason": finish_reason}


def judged(*choices: Any, document: dict[str, Any] | None = None, **fields: Any) -> str | None:
    answer = {"object": "chat.completion", "choices": list(choices), **(document or {})}
    return CHAT.verdict({**BODY, **fields}, Response(orjson.dumps(answer)))


@pytest.mark.parametrize(
    "reason", ["stop", "tool_calls", "function_call", "end_turn", "stop_sequence", "eos_token"]
)
def test_an_answer_that_came_to_its_own_end_may_be_stored(reason: str) -> None:
    assert judged(choice(finish_reason=reason, tool_calls=[CALL])) is None


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("length", "'length'"),
        ("content_filter", "'content_filter'"),
        ("abort", "'abort'"),
        ("error", "'error'"),
        ("made_up", "'made_up'"),
        ("STOP", "'STOP'"),
        (None, "null"),
        (1, "not a known word"),
        (["stop"], "not a known word"),
        ("a SECRET text", "not a known word"),
        (SECRET * 50, "not a known word"),
    ],
)
def test_an_answer_that_ended_otherwise_is_refused(reason: Any, words: str) -> None:
    assert judged(choice(finish_reason=reason)) == f"finish_reason is {words}"


def test_an_answer_without_a_finish_reason_is_refused() -> None:
    unfinished = choice()
    del unfinished["finish_reason"]
    assert judged(unfinished) == "finish_reason is null"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the answer is not JSON"),
        (b'{"choices"', "the answer is not JSON"),
        (b'{"x": NaN}', "the answer is not JSON"),
        (b"[]", "the answer is not an object"),
        (b'{"success":false}', "there are no choices"),
        (b'{"error":"Unauthorized"}', "the answer carries an error"),
    ],
)
def test_what_is_no_answer_is_refused(body: bytes, reason: str) -> None:
    assert CHAT.verdict(BODY, Response(body)) == reason


def test_an_error_beside_good_choices_is_refused() -> None:
    assert judged(choice(), document={"error": {"message": SECRET}}) == "the answer carries an error"
    assert judged(choice(), document={"error": None}) is None


@pytest.mark.parametrize(
    ("n", "indexes", "stored"),
    [
        (None, [0], True),
        (1, [0], True),
        (2, [0, 1], True),
        (2.0, [1, 0], True),
        (1, [], False),
        (1, [0, 1], False),
        (2, [0], False),
        (2, [0, 0], False),
        (2, [1, 2], False),
        (1, [False], False),
        (1, ["0"], False),
        (2, [0, None], False),
    ],
)
def test_every_choice_asked_for_must_be_there_once(n: Any, indexes: list[Any], stored: bool) -> None:
    assert (judged(*map(choice, indexes), n=n) is None) is stored


def test_one_bad_choice_spoils_the_answer() -> None:
    assert judged(choice(0), choice(1, finish_reason="length"), n=2) == "finish_reason is 'length'"


@pytest.mark.parametrize(
    "broken", [None, "x", {"index": 0, "finish_reason": "stop"}, choice() | {"message": None}]
)
def test_a_choice_without_a_message_is_refused(broken: Any) -> None:
    assert judged(broken) in ("a choice is not an object", "a choice has no message")


@pytest.mark.parametrize("content", [None, "", " \n\t", [], 5])
def test_an_answer_that_says_nothing_is_refused(content: Any) -> None:
    assert judged(choice(content=content)) == "the content is empty"
    assert judged(choice(content=content, reasoning="I think")) == "the content is empty"
    assert judged(choice(content=content, refusal="I cannot")) == "the content is empty"
    assert judged(choice(content=content, tool_calls=[])) == "the content is empty"


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "text", "text": "hello"}]},
        {"content": None, "audio": {"id": "1", "data": "AAAA"}},
        {"content": None, "tool_calls": [CALL]},
        {"content": "", "tool_calls": [CALL, CALL]},
        {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
        {"content": None, "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "not JSON"}}]},
        {"content": None, "function_call": {"name": "f", "arguments": "[1]"}},
    ],
)
def test_what_is_said_without_text_may_be_stored(message: dict[str, Any]) -> None:
    assert judged(choice(**message)) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"tool_calls": {}}, "tool_calls is not a list"),
        ({"tool_calls": ["SECRET"]}, "a tool call is not an object"),
        ({"tool_calls": [{}]}, "a tool call has no function name"),
        ({"tool_calls": [{"function": {"name": "", "arguments": "{}"}}]}, "a tool call has no function name"),
        ({"tool_calls": [{"function": {"name": "f"}}]}, "a tool call's arguments are not JSON"),
        (
            {"tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            "a tool call's arguments are not JSON",
        ),
        (
            {"tool_calls": [CALL, {"function": {"name": "f", "arguments": '{"SECRET'}}]},
            "a tool call's arguments are not JSON",
        ),
        ({"tool_calls": [{"type": "custom", "custom": {"name": "f"}}]}, "a tool call has no name or input"),
        ({"tool_calls": [{"type": "custom", "function": {}}]}, "a tool call has no name or input"),
        ({"function_call": {"name": "f", "arguments": "{"}}, "a tool call's arguments are not JSON"),
        ({"function_call": "f"}, "a tool call has no function name"),
    ],
)
def test_a_broken_tool_call_is_refused(message: dict[str, Any], reason: str) -> None:
    assert judged(choice(**message)) == reason


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": "required"},
        {"tool_choice": "any"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "custom", "custom": {"name": "f"}}},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required"}}},
        {"function_call": {"name": "f"}},
    ],
)
def test_a_forced_tool_call_answered_in_words_is_refused(fields: dict[str, Any]) -> None:
    assert judged(choice(), **fields) == "no tool was called"
    assert judged(choice(content=None, tool_calls=[CALL]), **fields) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": None},
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"tool_choice": {"type": "auto"}},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}},
        {"function_call": "auto"},
    ],
)
def test_where_a_tool_call_is_free_words_will_do(fields: dict[str, Any]) -> None:
    assert judged(choice(), **fields) is None


def test_a_tool_call_announced_and_not_made_is_refused() -> None:
    assert judged(choice(finish_reason="tool_calls")) == "no tool was called"


@pytest.mark.parametrize(
    ("fields", "content", "stored"),
    [
        ({"response_format": {"type": "json_object"}}, '{"a":1}', True),
        ({"response_format": {"type": "json_object"}}, " {} ", True),
        ({"response_format": {"type": "json_object"}}, "[1]", False),
        ({"response_format": {"type": "json_object"}}, '{"a":', False),
        ({"response_format": {"type": "json_object"}}, "", False),
        ({"response_format": {"type": "json_object"}}, None, False),
        ({"response_format": {"type": "json_object"}}, [{"type": "text", "text": "{}"}], False),
        ({"response_format": {"type": "json_schema"}}, "[1]", True),
        ({"response_format": {"type": "json_schema"}}, "SECRET", False),
        ({"response_format": {"type": "text"}}, "words", True),
        ({"structured_outputs": {"json": {}}}, "7", True),
        ({"structured_outputs": {"json": {}}}, "seven", False),
        ({"structured_outputs": {"json_object": True}}, "7", False),
        ({"structured_outputs": {"json_object": True}}, "{}", True),
        ({"structured_outputs": {"regex": "a"}}, "a", True),
        ({"response_format": "json_object"}, "{}", False),
    ],
)
def test_json_that_was_asked_for_must_be_json(fields: dict[str, Any], content: Any, stored: bool) -> None:
    assert (judged(choice(content=content), **fields) is None) is stored


def test_a_tool_call_stands_in_for_the_json_asked_for() -> None:
    assert judged(choice(content=None, tool_calls=[CALL]), response_format={"type": "json_object"}) is None


@pytest.mark.parametrize("name", ["guided_json", "guided_choice", "guided_regex", "guided_grammar"])
def test_an_answer_whose_constraint_may_have_been_ignored_is_refused(name: str) -> None:
    constraint: dict[str, Any] = {name: ["a"]}
    assert judged(choice(), **constraint) == "a guided_* field may have been ignored"
    assert judged(choice(), **{name: None}) is None


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b'{"error": {"message": "SECRET"}}', "a frame carries an error"),
        (b"[DONE]", "a frame is not JSON"),
        (b"[]", "a frame is not an object"),
    ],
)
def test_a_bad_frame_spoils_a_stream_whatever_its_document_says(frame: bytes, reason: str) -> None:
    good = orjson.dumps({"choices": [choice()]})
    assert CHAT.verdict(BODY, Response(good, (b"{}", frame, b"{}"))) == reason
    assert CHAT.verdict(BODY, Response(good, (b"{}", b'{"error":null}'))) is None


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([SECRET, "stop", "tool_calls", "function"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "finish_reason", "index", "tool_calls", "function", "content"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(json, json)
def test_any_answer_gets_a_verdict_that_does_not_quote_it(document: Any, said: Any) -> None:
    for answer in (document, {"choices": [{"index": 0, "finish_reason": "stop", "message": said}]}):
        reason = CHAT.verdict(BODY, Response(orjson.dumps(answer)))
        assert reason is None or ("SECRET" not in reason.replace("'SECRET'", "") and len(reason) < 80)
