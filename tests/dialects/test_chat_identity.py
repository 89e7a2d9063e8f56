"""How chat requests are told apart."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache.dialects import ChatCompletions

CHAT: Final = ChatCompletions()


def spelled(body: dict[str, Any]) -> bytes:
    """The identity as it goes into the key; from a parsed copy, as the caller hands it over."""
    plain = orjson.loads(orjson.dumps(body))
    CHAT.check(plain)
    return orjson.dumps(CHAT.identity(plain), option=orjson.OPT_SORT_KEYS)


def asking(text: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


NEUTRAL: Final = [
    "stream_interval", "user", "metadata", "request_id", "session_id", "priority", "store", "service_tier",
    "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
]  # fmt: skip
NULLS: Final = [
    "temperature", "top_p", "seed", "n", "stop", "max_tokens", "max_completion_tokens", "tools", "logprobs",
    "response_format", "logit_bias", "structured_outputs", "chat_template_kwargs", "reasoning_effort",
    "top_k",
]  # fmt: skip


@pytest.mark.parametrize(
    ("left", "right"),
    [
        *[(asking("a"), asking("a", **{name: "x"})) for name in NEUTRAL],
        *[(asking("a"), asking("a", **{name: None})) for name in NULLS],
        (asking("a"), asking("a", stream=True, stream_options={"include_usage": True})),
        (asking("a", temperature=1), asking("a", temperature=1.0)),
        (asking("a", temperature=0), asking("a", temperature=-0.0)),
        (asking("a", x=[{"y": 2}]), asking("a", x=[{"y": 2.0}])),
        (asking("a", stop="x"), asking("a", stop=["x"])),
        (asking("a", max_tokens=5), asking("a", max_completion_tokens=5)),
        (asking("a", max_tokens=5), asking("a", max_completion_tokens=5, max_tokens=None)),
        (asking("a"), asking("  a\n")),
        (asking("a\nb"), asking("a\r\nb")),
        (asking("a\nb"), asking("a\rb")),
        (asking("caf\u00e9"), asking("cafe\u0301")),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "So: "}]},
            {"messages": [{"role": "user", "content": "a "}, {"role": "assistant", "content": "So: "}]},
        ),
        (asking([{"type": "text", "text": "a"}]), asking([{"type": "text", "text": " a\n"}])),
        (
            {"messages": [{"role": "assistant"}, {"role": "user", "content": "a"}]},
            {"messages": [{"role": "assistant", "content": None, "refusal": None, "audio": None},
                          {"role": "user", "content": "a", "name": None}]},
        ),
    ],
)  # fmt: skip
def test_equivalent_spellings_share_a_key(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert spelled(left) == spelled(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (asking("a"), asking("A")),
        (asking("a b"), asking("a  b")),
        (asking("a"), asking([{"type": "text", "text": "a"}])),
        (asking("fi"), asking("\ufb01")),
        ({"messages": [{"role": "user"}]}, {"messages": [{"role": "user", "unknown": None}]}),
        (asking("a"), asking("a", x=None)),
        (asking("a"), asking("a", stop=[])),
        (asking("a", x=1), asking("a", x=True)),
        (asking("a", x=1), asking("a", x="1")),
        (asking("a", x=" a"), asking("a", x="a")),
        (asking("a", max_tokens=5), asking("a", max_tokens=5, max_completion_tokens=5)),
        (asking("a", max_tokens=5), asking("a", max_tokens=6)),
        (asking("a", n=1), asking("a")),
        (asking("a", tools=[{"a": None}]), asking("a", tools=[{}])),
        (asking("a", tools=[{"a": "x "}]), asking("a", tools=[{"a": "x"}])),
        (asking("a", tools=[{"a": 1}, {"b": 1}]), asking("a", tools=[{"b": 1}, {"a": 1}])),
        (asking("a", response_format={"a": None}), asking("a", response_format={})),
        (asking("a", cache_salt="1"), asking("a", cache_salt="2")),
        # vLLM takes a null for something else than absence here
        (asking("a", tools=[{}]), asking("a", tools=[{}], tool_choice=None)),
        (asking("a", tools=[{}]), asking("a", tools=[{}], parallel_tool_calls=None)),
        (asking("a", logprobs=True), asking("a", logprobs=True, top_logprobs=None)),
        # white space between parts may be all that keeps two words apart
        (
            asking([{"type": "text", "text": "the "}, {"type": "text", "text": "rapist"}]),
            asking([{"type": "text", "text": "the"}, {"type": "text", "text": "rapist"}]),
        ),
        (
            asking([{"type": "text", "text": "the"}, {"type": "text", "text": "rapist"}]),
            asking([{"type": "text", "text": "the"}, {"type": "text", "text": " rapist"}]),
        ),
        (asking("a", continue_final_message=True), asking("a ", continue_final_message=True)),
        (
            {"messages": [{"role": "assistant", "content": "So:"}]},
            {"messages": [{"role": "assistant", "content": "So: "}]},
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{} "}}]}]},
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]},
        ),
    ],
)
def test_what_may_change_the_answer_changes_the_key(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert spelled(left) != spelled(right)


@pytest.mark.parametrize("name", ["kv_transfer_params", "ec_transfer_params"])
def test_a_request_that_hands_over_server_state_bypasses_the_cache(name: str) -> None:
    assert CHAT.bypass(asking("a", **{name: {}})) == f"{name} is set"
    assert CHAT.bypass(asking("a", **{name: None})) is None
    assert CHAT.bypass(asking("a")) is None
