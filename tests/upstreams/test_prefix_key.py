"""Requests that begin alike share a prefix key; others do not."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from asynccache import InvalidRequest
from asynccache.upstreams.prefix_router import prefix_key

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "hello"}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [*messages], **fields}


def tool(name: str, **extra: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **extra}}


def test_a_prefix_key_is_32_bytes_and_the_same_in_every_process() -> None:
    assert (
        prefix_key(body(SYSTEM, USER)).hex()
        == "96f24f611545d1eac308441404c7c79acf84549899686d7f903c86da8ca9fefb"
    )


def test_requests_that_share_their_beginning_share_a_key() -> None:
    other = {"role": "user", "content": "what now?"}
    assert prefix_key(body(SYSTEM, USER)) == prefix_key(body(SYSTEM, USER, other, temperature=1, stream=True))


def test_the_order_of_tools_and_of_their_keys_does_not_matter() -> None:
    one = body(SYSTEM, USER, tools=[tool("a", x=1, y=2), tool("b")])
    other = body(SYSTEM, USER, tools=(tool("b"), MappingProxyType(tool("a", y=2, x=1))))
    assert prefix_key(one) == prefix_key(other)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "n"},
        {"lora_path": "x"},
        {"chat_template": "x"},
        {"chat_template_kwargs": {"thinking": True}},
        {"cache_salt": "x"},
        {"tools": [tool("a")]},
        {"tools": [tool("a"), tool("a")]},
        {"messages": [{"role": "system", "content": "Be long."}, USER]},
        {"messages": [SYSTEM, {"role": "developer", "content": "x"}, USER]},
    ],
)
def test_whatever_changes_the_first_tokens_makes_another_key(fields: dict[str, Any]) -> None:
    assert prefix_key(body(SYSTEM, USER)) != prefix_key({**body(SYSTEM, USER), **fields})


def test_the_given_salt_and_the_bodys_own_are_told_apart() -> None:
    keys = {
        prefix_key(body(SYSTEM, **fields), salt=salt)
        for fields in ({}, {"cache_salt": "a"}, {"cache_salt": "b"})
        for salt in (None, "a", "b")
    }
    assert len(keys) == 9


def test_without_instructions_and_tools_a_conversation_is_placed_by_its_beginning() -> None:
    other = {"role": "user", "content": "what now?"}
    assert prefix_key(body(USER)) == prefix_key(body(USER, other)) != prefix_key(body(other))
    assert prefix_key(body(USER, tools=[tool("a")])) == prefix_key(body(other, tools=[tool("a")]))


def test_a_body_that_json_cannot_carry_is_refused_by_its_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        prefix_key(body({"role": "system", "content": {1, 2}}))
    assert caught.value.field == "messages[0].content"


@pytest.mark.parametrize("given", [{}, {"messages": None}, {"messages": []}, {"messages": ["x"], "tools": 3}])
def test_a_body_that_is_no_chat_request_has_a_key_too(given: dict[str, Any]) -> None:
    assert len(prefix_key(given)) == 32
