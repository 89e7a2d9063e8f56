"""Which requests of the Messages protocol are the same, case by case."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache.dialects._messages_identity import NEUTRAL
from tests.dialects._messages_wire import ASKED, MESSAGES

MARK: Final = {"type": "ephemeral", "ttl": "1h"}
SAID: Final = {"type": "text", "text": "Hello"}


def spelled(**fields: Any) -> bytes:
    plain = orjson.loads(orjson.dumps({**ASKED, **fields}))
    MESSAGES.check(plain)
    return orjson.dumps(MESSAGES.identity(plain), option=orjson.OPT_SORT_KEYS)


def turns(*contents: Any, roles: str = "uauau") -> dict[str, Any]:
    names = {"u": "user", "a": "assistant", "s": "system"}
    said = zip(roles, contents, strict=False)
    return {"messages": [{"role": names[role], "content": content} for role, content in said]}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (turns("Hello"), turns([SAID])),
        (turns("Hello"), turns([{**SAID, "cache_control": MARK}])),
        (turns(" Hello\r\n"), turns("Hello")),
        (turns("Gru\u0308\u00dfe"), turns("Gr\u00fc\u00dfe")),
        ({"system": "Be brief."}, {"system": [{"type": "text", "text": "Be brief. "}]}),
        ({"system": None}, {}),
        ({"tools": [{"name": "f", "cache_control": MARK}]}, {"tools": [{"name": "f"}]}),
        ({"temperature": 1.0}, {"temperature": 1}),
        ({"max_tokens": 1024.0}, {}),
        ({"cache_control": MARK, "service_tier": "auto", "speed": "fast", "stream": True}, {}),
        ({"metadata": {"user_id": "a"}}, {}),
        (
            turns([{"type": "tool_result", "tool_use_id": "1", "content": [SAID]}]),
            turns(
                [{"type": "tool_result", "tool_use_id": "1", "content": [{**SAID, "cache_control": MARK}]}]
            ),
        ),
        (
            turns([{"type": "search_result", "title": "a", "content": [SAID]}]),
            turns([{"type": "search_result", "title": "a", "content": [{**SAID, "cache_control": MARK}]}]),
        ),
        (
            turns([{"type": "document", "source": {"type": "content", "content": [SAID]}}]),
            turns(
                [
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [{**SAID, "cache_control": MARK}]},
                    }
                ]
            ),
        ),
    ],
)
def test_other_spellings_are_the_same_request(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert spelled(**left) == spelled(**right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (turns("Hello"), turns("hello")),
        (turns("Hello"), turns([SAID, SAID])),
        (turns([SAID, {"type": "text", "text": " you"}]), turns([SAID, {"type": "text", "text": "you"}])),
        (turns([{"type": "text", "text": "a "}, SAID]), turns([{"type": "text", "text": "a"}, SAID])),
        (turns("Hi", "I am "), turns("Hi", "I am")),
        (turns("one ", "two", roles="uu"), turns("one", "two", roles="uu")),
        (turns("one", " two", roles="uu"), turns("one", "two", roles="uu")),
        (turns("Hello", roles="u"), turns("Hello", roles="s")),
        ({"system": ""}, {}),
        ({"system": "Be brief."}, {"system": "Be long."}),
        ({"max_tokens": 1023}, {}),
        ({"model": "claude-example-2"}, {}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"output_config": {"effort": "low"}}, {}),
        ({"context_management": {"edits": []}}, {}),
        ({"tools": []}, {}),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]}, {}),
        ({"tool_choice": None}, {}),
        ({"inference_geo": "eu"}, {}),
        ({"fallbacks": "default"}, {}),
        ({"cache_salt": "a"}, {}),
        ({"unknown": None}, {}),
        (
            {"tools": [{"name": "f", "input_schema": {"properties": {"cache_control": {}}}}]},
            {"tools": [{"name": "f", "input_schema": {"properties": {}}}]},
        ),
        (
            turns("Hi", [{"type": "tool_use", "id": "1", "name": "f", "input": {"cache_control": 1}}]),
            turns("Hi", [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]),
        ),
        (
            turns("Hi", [{"type": "thinking", "thinking": "a", "signature": "b"}]),
            turns("Hi", [{"type": "thinking", "thinking": "a ", "signature": "b"}]),
        ),
    ],
)
def test_any_other_difference_is_another_request(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert spelled(**left) != spelled(**right)


def test_the_neutral_fields_are_few_and_known() -> None:
    assert {"stream", "metadata", "cache_control", "service_tier", "speed"} == NEUTRAL
