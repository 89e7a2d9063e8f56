"""What of a Responses request is in the key, field by field."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache.dialects.responses import Responses

RESPONSES: Final = Responses()
BODY: Final[dict[str, Any]] = {"model": "m", "input": "hi"}


def spelled(body: dict[str, Any]) -> bytes:
    plain = orjson.loads(orjson.dumps(body))
    RESPONSES.check(plain)
    return orjson.dumps(RESPONSES.identity(plain), option=orjson.OPT_SORT_KEYS)


def message(content: Any, role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": [{"role": role, "content": content, **fields}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"user": "u"},
        {"metadata": {"a": "b"}},
        {"safety_identifier": "s"},
        {"service_tier": "flex"},
        {"priority": 3},
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
        {"prompt_cache_options": {"mode": "explicit", "ttl": "30m"}},
        {"request_id": "r", "session_id": "s"},
        {"store": True},
        {"store": None},
        {"temperature": None, "instructions": None, "previous_response_id": None, "seed": None},
    ],
)
def test_what_does_not_change_the_answer_is_not_in_the_key(fields: dict[str, Any]) -> None:
    assert spelled({**BODY, **fields}) == spelled(BODY)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "other"},
        {"input": "Hi"},
        {"instructions": "be brief"},
        {"max_output_tokens": 16},
        {"text": {"format": {"type": "json_object"}}},
        {"reasoning": {"effort": "low"}},
        {"include": ["reasoning.encrypted_content"]},
        {"tools": []},
        {"tool_choice": "required"},
        {"tool_choice": None},
        {"parallel_tool_calls": None},
        {"truncation": None},
        {"truncation": "auto"},
        {"top_logprobs": None},
        {"top_logprobs": 0},
        {"store": False},
        {"store": 1},
        {"prompt_cache_options": {"comparison_response_id": "resp_1"}},
        {"cache_salt": "s"},
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"unknown": None},
        {"stop": None},
    ],
)
def test_everything_else_is_in_the_key(fields: dict[str, Any]) -> None:
    assert spelled({**BODY, **fields}) != spelled(BODY)


@pytest.mark.parametrize(
    "body",
    [
        message("hi"),
        message("hi", type="message"),
        message("hi", type=None),
        message("hi", phase=None),
        message([{"type": "input_text", "text": "hi"}]),
        message([{"type": "input_text", "text": " hi\r\n", "prompt_cache_breakpoint": {"mode": "explicit"}}]),
        {"model": "m", "input": "\n hi "},
    ],
)
def test_the_spellings_of_one_text_input_are_one(body: dict[str, Any]) -> None:
    assert spelled(body) == spelled(BODY)


@pytest.mark.parametrize(
    "body",
    [
        message("hi", role="developer"),
        message([{"type": "output_text", "text": "hi"}]),
        message([{"type": "input_text", "text": "hi"}, {"type": "input_text", "text": ""}]),
        message([{"type": "input_text", "text": "hi", "unknown": 1}]),
        message("hi", phase="commentary"),
        message("hi", unknown=None),
        {"model": "m", "input": [{"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}]},
    ],
)
def test_what_only_looks_like_that_text_input_is_another(body: dict[str, Any]) -> None:
    assert spelled(body) != spelled(BODY)


def test_the_white_space_that_ends_a_final_assistant_message_counts() -> None:
    assert spelled(message("One, ", role="assistant")) != spelled(message("One,", role="assistant"))


def test_the_text_between_two_parts_keeps_its_white_space() -> None:
    first, second = {"type": "input_text", "text": "a "}, {"type": "input_text", "text": "b"}
    assert spelled(message([first, second])) != spelled(message([{**first, "text": "a"}, second]))
    assert spelled(message([first, second])) != spelled(message([first, {**second, "text": " b"}]))


def test_the_instructions_are_one_text_however_they_are_spelled() -> None:
    assert spelled({**BODY, "instructions": "be\r\nbrief "}) == spelled({**BODY, "instructions": "be\nbrief"})


def test_one_stop_is_a_list_of_it() -> None:
    assert spelled({**BODY, "stop": "a"}) == spelled({**BODY, "stop": ["a"]})


def test_an_item_that_is_no_message_is_taken_as_it_is() -> None:
    item = {"type": "function_call_output", "call_id": "c", "output": " 1 \r\n"}
    body = {"input": [item]}
    assert RESPONSES.identity(body)["input"] == [item]
