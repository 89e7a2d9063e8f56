"""The door of the chat-completions dialect."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache._errors import InvalidRequest
from asynccache.dialects import ChatCompletions

HI: dict[str, Any] = {"role": "user", "content": "hi"}
ONE: dict[str, Any] = {"messages": [HI]}


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        (dict[Any, Any](ONE) | {1: 2}, "body"),
        ({**ONE, "x": {"y": [{1: 2}]}}, "x.y[0]"),
        ({}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [HI, "hi"]}, "messages[1]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": 1, "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {"text": "hi"}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({**ONE, "model": 4}, "model"),
        ({**ONE, "stream": 1}, "stream"),
        ({**ONE, "stream": "true"}, "stream"),
        ({**ONE, "n": 0}, "n"),
        ({**ONE, "n": 1.5}, "n"),
        ({**ONE, "n": True}, "n"),
        ({**ONE, "max_tokens": 0}, "max_tokens"),
        ({**ONE, "max_tokens": "5"}, "max_tokens"),
        ({**ONE, "max_completion_tokens": -1}, "max_completion_tokens"),
        ({**ONE, "temperature": True}, "temperature"),
        ({**ONE, "temperature": "0"}, "temperature"),
        ({**ONE, "top_p": [1]}, "top_p"),
        ({**ONE, "seed": False}, "seed"),
        ({**ONE, "stop": 1}, "stop"),
        ({**ONE, "stop": ["a", 1]}, "stop[1]"),
        ({**ONE, "tools": {}}, "tools"),
        ({**ONE, "tools": [{}, "f"]}, "tools[1]"),
        ({**ONE, "stream_options": True}, "stream_options"),
        ({**ONE, "temperature": float("nan")}, "temperature"),
        ({**ONE, "x": [0.0, {"y": float("inf")}]}, "x[1].y"),
        ({**ONE, "x": deep(300)}, "x" + "[0]" * 200),
    ],
)
def test_an_impossible_body_is_refused_by_the_name_of_its_field(body: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ChatCompletions().check(body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"model": "m", "stream": True, "stream_options": {"include_usage": True}},
        {"model": None, "stream": None, "n": None, "max_tokens": None, "stop": None, "tools": None},
        {"n": 2, "max_tokens": 5.0, "temperature": 0, "top_p": 0.5, "seed": -1, "stop": ["a"], "tools": [{}]},
        {"stop": "a", "unknown": {"deep": [None, True, 1.5]}},
        {"messages": [{"role": "made-up", "content": None}, {"role": "assistant"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}, {"type": "image_url"}]}]},
    ],
)
def test_a_body_some_upstream_may_take_passes(extra: dict[str, Any]) -> None:
    ChatCompletions().check({**ONE, **extra})


def test_the_refusal_does_not_quote_the_prompt() -> None:
    with pytest.raises(InvalidRequest) as caught:
        ChatCompletions().check({"messages": ["a secret prompt"]})
    assert "secret" not in str(caught.value)
