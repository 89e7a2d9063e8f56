"""Where prompts of one caller stop being alike is found, and told without telling what stands there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache import ConfigurationError, Scope
from asynccache.stages.prefix_watch import PrefixBreak, PrefixWatch, common_length

ACME = Scope(tenant="acme")


def asking(system: Any, *tools: Any, question: str = "hello", model: str = "m") -> dict[str, Any]:
    talk = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return {"model": model, "messages": talk, "tools": [{"name": tool} for tool in tools]}


def seen(*bodies: dict[str, Any], watch: PrefixWatch | None = None) -> list[PrefixBreak | None]:
    watching = watch or PrefixWatch()
    return [watching.see(body, ACME) for body in bodies]


def broken(one: dict[str, Any], other: dict[str, Any]) -> PrefixBreak:
    first, second = seen(one, other)
    assert first is None
    assert second is not None
    return second


def test_a_break_tells_how_much_was_alike_and_how_much_is_lost() -> None:
    rest = "x" * 399
    told = broken(asking(f"It is 10:30. {rest}"), asking(f"It is 11:30. {rest}"))
    # as far as "It is 1", and from there to the end of the line
    assert (told.at, told.lost) == (7, (len(f"0:30. {rest}") + 1) // 4)
    assert (told.cause, told.field) == ("time", "messages[0].content")
    assert len(bytes.fromhex(told.partition)) == 4


@pytest.mark.parametrize(
    ("one", "other", "cause"),
    [
        ("at 2026-11-26 x", "at 2026-11-27 x", "time"),
        ("at 2026-11-26T10:57:46Z x", "at 2026-11-26T10:57:47Z x", "time"),
        ("at 9:30 x", "at 19:30 x", "time"),
        ("at 1764154666 x", "at 1764154667 x", "time"),
        ("7f3a21b0-0000-4000-8000-0123456789ab x", "7f3a21b0-0000-4000-8000-1123456789ab x", "uuid"),
        ("order 17 x", "order 18 x", "number"),
        ("order 17 x", "order 174 x", "number"),
        ("order x", "older x", "text"),
        ("order x at 10:30", "older x at 10:30", "text"),
        ("be brief", "be kind to 3 people", "text"),
    ],
)
def test_a_break_tells_what_stands_there(one: str, other: str, cause: str) -> None:
    assert broken(asking(one), asking(other)).cause == cause


def test_tools_in_another_order_are_told_by_their_place() -> None:
    told = broken(asking("x", "a", "b", "c"), asking("x", "a", "c", "b"))
    assert (told.cause, told.field) == ("tools", "tools[1]")
    assert broken(asking("x", "a1", "b"), asking("x", "a2", "b")).cause == "tools"


def test_a_time_in_a_tool_is_a_time() -> None:
    assert broken(asking("x", "at 10:30"), asking("x", "at 10:31")).cause == "time"


@pytest.mark.parametrize(
    "bodies",
    [
        [asking("x", "a", question=question) for question in ("one", "two", "three")],
        [asking([{"type": "text", "text": "x"}]), asking("x")],
        [asking("x"), asking("x\nbe brief"), asking("x")],
        [asking("x", "a"), asking("x", "a", model="n"), asking("y", model="k")],
        [{"messages": [{"role": "user", "content": text}]} for text in ("one", "two")],
        [{}, {"messages": 3}, {"messages": [3]}, {"tools": [{1, 2}]}, {"tools": ["\ud800"]}],
    ],
)
def test_nothing_breaks_where_nothing_was_to_be_shared(bodies: list[dict[str, Any]]) -> None:
    assert seen(*bodies) == [None] * len(bodies)


def test_callers_are_told_apart() -> None:
    watch = PrefixWatch()
    scopes = [Scope(), Scope(tenant=""), Scope(tenant="a"), Scope(namespace="a"), Scope(tenant="b")]
    assert [watch.see(asking(f"{n} x"), scope) for n, scope in enumerate(scopes)] == [None] * 5
    told = [watch.see(asking("y"), scope) for scope in scopes]
    assert len({each.partition for each in told if each is not None}) == 5


def test_a_few_kinds_of_prompts_of_one_caller_are_no_breaks() -> None:
    kinds = [asking(f"{kind} instructions") for kind in ("short", "long", "odd")]
    told = seen(*kinds * 5)
    assert [each is None for each in told] == [True, False, False, *[True] * 12]


def test_the_prompt_most_alike_is_compared() -> None:
    assert broken(asking("ab" * 9 + "c"), asking("ab" * 9 + "d")).at == 18
    [*_, told] = seen(asking("ab" * 9 + "c"), asking("z"), asking("ab" * 9 + "d"))
    assert told is not None
    assert told.at == 18


def test_only_so_many_prompts_bytes_and_callers_are_remembered() -> None:
    one, two = asking("one"), asking("two")
    assert seen(one, two, one, watch=PrefixWatch(recent=1))[2] is not None
    assert seen(one, two, one, watch=PrefixWatch(recent=2))[2] is None
    assert seen(one, two, two, two, one, watch=PrefixWatch(recent=2))[4] is None
    assert seen(one, two, watch=PrefixWatch(max_bytes=100)) == [None, None]
    watch = PrefixWatch(max_callers=1)
    assert [watch.see(one, ACME), watch.see(one, Scope()), watch.see(two, ACME)] == [None] * 3


def test_what_is_remembered_stays_within_its_budget() -> None:
    watch = PrefixWatch(max_bytes=10_000)
    for number in range(200):
        watch.see(asking(f"{number} ü" + "x" * 300), Scope(tenant=str(number % 9)))
        assert watch._seen.weight <= 10_000
    assert len(watch._seen) > 0


@pytest.mark.parametrize(("letter", "size"), [("a", 1), ("ü", 2), ("😀", 4)])
def test_what_is_remembered_counts_as_many_bytes_as_it_takes(letter: str, size: int) -> None:
    watch = PrefixWatch()
    watch.see(asking(letter * 10_000), ACME)
    assert 10_000 * size <= watch._seen.weight <= 41_000


def test_a_long_prompt_is_compared_as_far_as_it_is_kept() -> None:
    long = "x" * 70_000
    assert seen(asking(long + "a"), asking(long + "b")) == [None, None]


def test_no_event_holds_any_text() -> None:
    told = broken(asking("secret 10:30"), asking("secret 10:31"))
    assert "secret" not in repr(told)
    assert "acme" not in repr(told)


@pytest.mark.parametrize("options", [{"recent": 0}, {"recent": 65}, {"max_bytes": 0}, {"max_callers": 0}])
def test_what_cannot_work_is_refused_by_name(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        PrefixWatch(**options)


@given(st.text("ab", max_size=30), st.text("ab", max_size=30), st.text("ab", max_size=30))
def test_the_common_length_is_that_of_the_common_beginning(start: str, one: str, other: str) -> None:
    one, other = start + one, start + other
    length = common_length(one, other)
    assert one[:length] == other[:length]
    assert length in (len(one), len(other)) or one[length] != other[length]
