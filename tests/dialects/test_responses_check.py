"""The door of the Responses protocol."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache._errors import InvalidRequest
from asynccache.dialects.responses import Responses

RESPONSES = Responses()


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def nested(levels: int) -> dict[str, Any]:
    deepest: dict[str, Any] = {}
    for _ in range(levels):
        deepest = {"a": deepest}
    return deepest


@pytest.mark.parametrize(
    "body",
    [
        {"input": "hi"},
        {"input": ""},
        {"input": user("hi"), "model": None, "tools": None, "stop": ["a"], "stream": True},
        {"input": user([{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "u"}])},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "1"}]},
        {"input": [{"id": "msg_1"}]},
        {"prompt": {"id": "p"}},
        {"previous_response_id": "resp_1", "input": None},
        {"input": "hi", "unknown": {"a": [1, None]}, "temperature": 0, "max_output_tokens": 16.0},
        {"input": "hi", "text": {"format": {"type": "text"}}, "tools": [{"type": "function"}]},
    ],
)
def test_what_an_upstream_could_take_passes(body: dict[str, Any]) -> None:
    RESPONSES.check(body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("hi", "body"),
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"type": 5}]}, "input[0].type"),
        ({"input": [{"content": "hi"}]}, "input[0].role"),
        ({"input": [{"type": "message", "content": "hi"}]}, "input[0].role"),
        ({"input": [{"type": "message", "role": "user"}]}, "input[0].content"),
        ({"input": user(None)}, "input[0].content"),
        ({"input": user(["hi"])}, "input[0].content[0]"),
        ({"input": user([{"text": "hi"}])}, "input[0].content[0].type"),
        ({"input": user([{"type": "input_text"}])}, "input[0].content[0].text"),
        ({"input": user([{"type": "output_text", "text": 5}])}, "input[0].content[0].text"),
        ({"input": "hi", "model": 5}, "model"),
        ({"input": "hi", "stream": "yes"}, "stream"),
        ({"input": "hi", "temperature": "hot"}, "temperature"),
        ({"input": "hi", "top_logprobs": True}, "top_logprobs"),
        ({"input": "hi", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "hi", "max_tool_calls": 1.5}, "max_tool_calls"),
        ({"input": "hi", "stop": 5}, "stop"),
        ({"input": "hi", "text": "json"}, "text"),
        ({"input": "hi", "reasoning": "high"}, "reasoning"),
        ({"input": "hi", "structured_outputs": []}, "structured_outputs"),
        ({"input": "hi", "prompt_cache_options": 1}, "prompt_cache_options"),
        ({"input": "hi", "stream_options": True}, "stream_options"),
        ({"input": "hi", "tools": {}}, "tools"),
        ({"input": "hi", "tools": ["f"]}, "tools[0]"),
        ({"input": "hi", "top_p": float("nan")}, "top_p"),
        ({"input": "hi", "metadata": {1: "a"}}, "metadata"),
        ({"input": "hi", "a": nested(300)}, "a" + ".a" * 200),
    ],
)
def test_a_body_no_upstream_could_take_is_refused_and_the_field_named(body: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        RESPONSES.check(body)
    assert caught.value.field == field


def test_a_refusal_does_not_repeat_the_words_of_the_request() -> None:
    with pytest.raises(InvalidRequest) as caught:
        RESPONSES.check({"input": "hi", "text": "a secret"})
    assert "secret" not in str(caught.value)
