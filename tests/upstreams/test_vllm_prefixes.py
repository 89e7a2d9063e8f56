"""Which prefixes are remembered, and what is sent for them; no loop, no network."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache.upstreams._vllm_placing import placed_by
from asynccache.upstreams._vllm_prefixes import Prefix, PrefixCounts, static_part


def body(system: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "hello"}]
    return {"model": "tiny", "messages": messages, **fields}


def test_warming_request_carries_what_decides_about_the_prefix_and_nothing_else() -> None:
    same: dict[str, Any] = {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "cache_salt": "salt",
        "chat_template_kwargs": {"enable_thinking": False},
    }
    prefix = Prefix.of(b"key", body("be brief", **same, stream=True, n=3, max_tokens=500, temperature=1))
    assert prefix is not None
    assert prefix.warming() == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "be brief"}],
        **same,
        "max_tokens": 1,
        "add_generation_prompt": False,
    }


def test_all_leading_instructions_belong_to_the_prefix() -> None:
    messages = [
        {"role": "system", "content": "a"},
        {"role": "developer", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "system", "content": "d"},
    ]
    static = static_part({"messages": messages})
    assert static == {"messages": messages[:2]}


@pytest.mark.parametrize("messages", [None, "text", [], [{"role": "user", "content": "a"}], ["a"], [None]])
def test_request_without_instructions_has_no_static_part(messages: Any) -> None:
    assert static_part({"messages": messages, "tools": [{}]}) is None


def test_prefix_stays_what_it_was_when_its_caller_changes_the_body() -> None:
    given = body("before")
    counts = PrefixCounts()
    counts.note(b"1", given)
    given["messages"][0]["content"] = "after"
    assert counts.most_used()[0].warming()["messages"][0]["content"] == "before"


def test_repr_says_nothing_of_the_prompt() -> None:
    assert "secret" not in repr(Prefix(b"\x01\x02", b"secret"))


def test_most_used_come_first() -> None:
    counts = PrefixCounts()
    for key in (b"a", b"b", b"b", b"c", b"b", b"c"):
        counts.note(key, body(key.decode()))
    assert [prefix.key for prefix in counts.most_used()] == [b"b", b"c", b"a"]


def test_frequent_prefix_outlives_a_crowd_of_others() -> None:
    counts = PrefixCounts(most_prefixes=10)
    for number in range(1000):
        counts.note(b"other %d" % number, body(str(number)))
        if number % 5 == 0:
            counts.note(b"frequent", body("frequent"))
    assert b"frequent" in [prefix.key for prefix in counts.most_used()]
    assert len(counts) == 10


def test_newcomer_takes_the_count_of_the_one_whose_place_it_takes() -> None:
    counts = PrefixCounts(most_prefixes=2)
    for key in (b"a",) * 5 + (b"b",) * 3 + (b"c",) * 3:
        counts.note(key, body(key.decode()))
    assert [prefix.key for prefix in counts.most_used()] == [b"c", b"a"]  # 3 + 3 against 5


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 300)), max_size=200),
    st.integers(1, 8),
    st.integers(1, 2000),
)
def test_room_is_never_exceeded(uses: list[tuple[int, int]], most: int, most_bytes: int) -> None:
    counts = PrefixCounts(most_prefixes=most, most_bytes=most_bytes)
    for number, size in uses:
        counts.note(b"%d" % number, body("x" * size))
        held = counts.most_used()
        assert len(held) == len(counts) <= most
        assert counts.size == sum(len(prefix.static) for prefix in held) <= most_bytes


CHAT = body("be brief")


@pytest.mark.parametrize(
    ("dialect", "one", "like_it", "unlike"),
    [
        ("chat.completions", CHAT, {**CHAT, "max_tokens": 5}, body("be long")),
        ("chat.completions", CHAT, CHAT, {**CHAT, "cache_salt": "s"}),
        (
            "messages",
            {"system": "a", "messages": [{"role": "user", "content": "x"}]},
            {"system": "a", "messages": [{"role": "user", "content": "y"}]},
            {"system": "b", "messages": [{"role": "user", "content": "x"}]},
        ),
        (
            "responses",
            {"instructions": "a", "input": "x"},
            {"instructions": "a", "input": "y"},
            {"instructions": "b", "input": "x"},
        ),
        ("completions", {"prompt": "a" * 512 + "x"}, {"prompt": "a" * 512 + "y"}, {"prompt": "b" * 512}),
        ("completions", {"prompt": [1, 2]}, {"prompt": [1, 2]}, {"prompt": [1, 3]}),
        ("embeddings", {"input": "a"}, {"input": "a"}, {"input": "b"}),
    ],
)
def test_requests_that_begin_alike_are_placed_alike(
    dialect: str, one: dict[str, Any], like_it: dict[str, Any], unlike: dict[str, Any]
) -> None:
    assert placed_by(dialect, one) == placed_by(dialect, like_it)
    assert placed_by(dialect, one) != placed_by(dialect, unlike)
    assert orjson.dumps(one)
