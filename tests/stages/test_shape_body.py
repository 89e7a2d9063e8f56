"""What shaping does to a body: tools in one order, volatile lines last, and nothing else."""

from __future__ import annotations

import copy
import re
from types import MappingProxyType
from typing import Any, Final

import orjson
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import BaseModel

from asynccache.stages._shape_body import HEADING, shaped_body
from asynccache.stages._shape_volatile import VOLATILE, parted

NOW: Final = "Current time: 2026-11-26T10:57:46Z"
STATIC: Final = "You sell books."
USER: Final = {"role": "user", "content": "hello"}

lines = st.one_of(
    st.sampled_from(
        [
            *(NOW, "Request id: abc-1", "Today is Monday.", "Current user: bob", "```", "", " ", "\t"),
            *("User: hello", "For example:", "Current user: bob. Be kind.", "Never at 10:30."),
            *(
                "You sell books. Be brief.",
                "It is now 10:30. Be kind. Nobody knows.",
                "Be kind. It is now 10:30.",
            ),
            "Since 2020-01-01 we have sold books to people in the whole world and elsewhere at any hour.",
        ]
    ),
    st.text("ab1:- .\r\n", max_size=12),
)
texts = st.lists(lines, max_size=5).map("\n".join)
contents = st.one_of(
    st.none(),
    texts,
    st.lists(st.builds(lambda text: {"type": "text", "text": text}, texts), max_size=3),
    st.just([{"type": "image_url", "image_url": {"url": "x"}}]),
)
messages = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
        contents,
    ),
    max_size=6,
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
functions = st.builds(
    lambda name, extra: {"type": "function", "function": {"name": name, **extra}},
    st.text("ab", max_size=1),
    st.dictionaries(st.sampled_from("wxyz"), values, max_size=3),
)
tools = st.lists(functions | values, max_size=4)
bodies = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": messages},
    optional={
        "tools": tools,
        "functions": tools,
        "documents": st.lists(values, max_size=4),
        "continue_final_message": st.booleans(),
    },
)


def shaped(body: dict[str, Any]) -> Any:
    return shaped_body(body, documents=True, volatile=VOLATILE).body


def spoken(*contents_: Any, **fields: Any) -> dict[str, Any]:
    """The first is the system's, the others take turns."""
    roles = ("system", *("user", "assistant") * len(contents_))
    talk = [{"role": role, "content": each} for role, each in zip(roles, contents_, strict=False)]
    return {"model": "m", "messages": talk, **fields}


def moved(system: Any, user: Any = "hello", **fields: Any) -> tuple[Any, Any]:
    """What becomes of the contents of a system and a user message."""
    left = shaped(spoken(system, user, **fields))["messages"]
    return left[0]["content"], left[-1]["content"]


def under(*moved_: str) -> str:
    return "\n".join((f"hello\n\n{HEADING}", *moved_))


@given(bodies)
def test_shaping_again_changes_nothing_and_the_callers_body_is_never_changed(body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    once = shaped(body)
    event(f"changed: {once is not body}")
    assert orjson.dumps(body) == orjson.dumps(before)
    assert shaped(once) is once


@given(bodies)
def test_only_the_first_instructions_and_the_last_question_are_ever_touched(body: dict[str, Any]) -> None:
    left, talk = shaped(body)["messages"], body["messages"]
    assert len(left) == len(talk)
    touched = [place for place, message in enumerate(talk) if left[place] is not message]
    first = next((n for n, each in enumerate(talk) if each["role"] in ("system", "developer")), None)
    assert touched in ([], [first, len(talk) - 1])


@given(bodies)
def test_no_line_is_lost_or_made_up(body: dict[str, Any]) -> None:
    def words(talk: list[Any]) -> list[str]:
        said = [message["content"] or "" for message in talk]
        parts = [
            each if isinstance(each, str) else " ".join(p.get("text", "") for p in each) for each in said
        ]
        return sorted(" ".join(parts).split())

    left = shaped(body)["messages"]
    heading = HEADING.split() if left is not body["messages"] else []
    assert words(left) == sorted([*words(body["messages"]), *heading])


@given(st.lists(functions, max_size=5), st.randoms())
def test_tools_in_any_order_with_their_keys_in_any_order_are_sent_alike(
    given_: list[Any], chance: Any
) -> None:
    def mixed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: mixed(value[name]) for name in chance.sample(list(value), len(value))}
        return [mixed(item) for item in value] if isinstance(value, list) else value

    other = [mixed(tool) for tool in chance.sample(given_, len(given_))]
    one, two = (shaped_body({"tools": each}).body["tools"] for each in (given_, other))
    assert orjson.dumps(one) == orjson.dumps(two)
    assert sorted(orjson.dumps(tool, option=orjson.OPT_SORT_KEYS) for tool in given_) == sorted(
        map(orjson.dumps, one)
    )


def test_tools_are_sorted_by_name_and_lists_in_their_schemas_stay() -> None:
    schema = {"type": "object", "required": ["z", "a"], "properties": {"z": {"enum": [2, 1]}, "a": {}}}
    body = {
        "tools": [
            {"type": "function", "function": {"name": "b", "parameters": schema}},
            {"type": "function", "function": {"name": "a"}},
        ],
        "functions": [{"name": "b"}, {"name": "a", "description": "x"}, {"name": "a"}],
    }
    assert orjson.dumps(shaped_body(body).body) == orjson.dumps(
        {
            "tools": [
                {"function": {"name": "a"}, "type": "function"},
                {
                    "function": {
                        "name": "b",
                        "parameters": {
                            "properties": {"a": {}, "z": {"enum": [2, 1]}},
                            "required": ["z", "a"],
                            "type": "object",
                        },
                    },
                    "type": "function",
                },
            ],
            "functions": [{"description": "x", "name": "a"}, {"name": "a"}, {"name": "b"}],
        }
    )


def test_tools_of_an_sdk_are_sorted_too() -> None:
    class Function(BaseModel):
        name: str
        strict: bool | None = None

    body = {"tools": (MappingProxyType({"name": "b"}), Function(name="a"))}
    assert shaped_body(body).body["tools"] == [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tools": None, "functions": {}, "documents": 3, "messages": None},
        {"tools": [{"name": "b", "x": float("nan")}, {"name": "a"}]},
        {"tools": [{"name": "b", "x": {1, 2}}, {"name": "a"}]},
        {"tools": [{"name": "b", 3: 4}, {"name": "a"}]},
        {"messages": [3, USER]},
        {"messages": [{"role": "system", "content": 3}, USER]},
        {"messages": [{"role": "system", "content": f"{NOW}\n{STATIC}"}, {"role": "user", "content": 3}]},
        {"messages": [{"role": "system", "content": [{"type": "text"}]}, USER]},
        {"messages": [{"role": "system"}, {"role": "user"}]},
    ],
)
def test_what_is_not_understood_passes_as_it_is(body: dict[str, Any]) -> None:
    assert shaped(body) is body


def test_documents_are_sorted_only_when_asked_for() -> None:
    documents = [{"title": str(number), "text": "x"} for number in range(6)]
    one, two = ({"documents": each} for each in (documents, documents[::-1]))
    assert shaped_body(one).body is one
    assert shaped(one) == shaped(two) != one
    assert sorted(map(str, shaped(one)["documents"])) == sorted(map(str, documents))


def test_volatile_lines_move_behind_the_question_under_a_heading() -> None:
    system = f"{NOW}\nRequest id: abc-1\n\n{STATIC}\nCurrent user: bob\nBe brief."
    assert moved(system) == (f"\n{STATIC}\nBe brief.", under(NOW, "Request id: abc-1", "Current user: bob"))


def test_of_one_line_the_volatile_sentences_at_its_head_move() -> None:
    system = "It is now 10:57. Today is Monday. You sell books. We open at 09:00."
    assert moved(system) == (
        "You sell books. We open at 09:00.",
        under("It is now 10:57.", "Today is Monday."),
    )


def test_text_parts_are_taken_apart_like_texts() -> None:
    def part(text: str, **more: Any) -> dict[str, Any]:
        return {"type": "text", "text": text, **more}

    picture = {"type": "image_url", "image_url": {"url": "x"}}
    system = [part(NOW), part(f"User id: 7\n{STATIC}", cache_control={"type": "ephemeral"}), part("")]
    left, asked = moved(system, [picture, part("hello")])
    assert left == [part(STATIC, cache_control={"type": "ephemeral"}), part("")]
    assert asked == [picture, part(under(NOW, "User id: 7"))]
    assert moved(system, [picture])[1] == [picture, part(under(NOW, "User id: 7").removeprefix("hello\n\n"))]


@pytest.mark.parametrize(
    "body",
    [
        spoken(f"{NOW}\n{STATIC}", "hello", "hi"),
        spoken(f"{NOW}\n{STATIC}", "hello", continue_final_message=True),
        spoken(f"{NOW}\n{STATIC}"),
        spoken(NOW, "hello"),
        spoken(f"{NOW}\n\nRequest id: 1", "hello"),
        spoken("x" * 33_000 + f"\n{NOW}", "hello"),
        {"messages": [USER, USER]},
    ],
)
def test_nothing_moves_where_it_must_not(body: dict[str, Any]) -> None:
    assert shaped(body) is body


def test_only_the_first_instructions_are_looked_through() -> None:
    body = spoken(STATIC, "hello")
    body["messages"].insert(1, {"role": "system", "content": f"{NOW}\n{STATIC}"})
    assert shaped(body) is body


@given(bodies)
def test_what_was_moved_is_told_as_it_stands_under_the_heading(body: dict[str, Any]) -> None:
    left = shaped_body(body, tools=False, volatile=VOLATILE)
    event(f"moved: {len(left.moved)}")
    assert bool(left.moved) == (left.body is not body)
    if left.moved:
        content = left.body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        assert text.endswith("\n".join((HEADING, *left.moved)))


@pytest.mark.parametrize(
    "line",
    [
        *("Now: 2026-11-26 10:57", "* it is now 9:30", "ts=1764154666", "Timestamp: 1764154666123"),
        *("session 7F3A21B0-0000-4000-8000-0123456789AB", "X-Request-ID: 7", "trace_id = af3"),
        *("- Request id is 8", "Today's date is Thursday", "The current time in Rome is 10:57"),
        *("Today is Monday", "Today is Thursday, November 26, 2026.", "Today: 26 Nov. 2026"),
        *("**Current date:** 2026-11-26", "<current_time>10:57 UTC</current_time>", "Today is 26/11/2026"),
        *(
            "Current date and time (UTC): 2026-11-26T10:57:46.123456+00:00",
            "It's now 10:57 a.m. CET on Monday",
        ),
        *("user_id: 7", "Current user = bob", "Current user: Ana Maria Lopez", "user email: a@b.example"),
        *("<user_name>bob</user_name>", "Logged-in user's name is Bob.", "time: 10:57:46\r"),
        *("Request time: 10:57", "Generated at 2026-11-26 10:57", "It is now 10:57. Today is Monday."),
        *("Local time: 10:57 (Europe/Berlin)", "Date: Thu, 26 Nov 2026 10:57:46 GMT"),
        *("Today\u2019s date is 2026-11-26.", "Current time: Thu Nov 26 10:57:46 -05:00 2026"),
        *("Current user: alice@b.example", "It is 2026-11-26.", "The current user is Zo\u00eb M\u00fcller"),
    ],
)
def test_a_volatile_line_is_recognised(line: str) -> None:
    assert parted(f"{line}\n{STATIC}") == (STATIC, (line.strip(),))


@pytest.mark.parametrize(
    "line",
    [
        *(STATIC, "Answer in 16:9.", "Call 0800 123456.", "Version 2026-13-45", "Be on time.", "Use 3:1."),
        *("Tell the current date if asked", "The user is always right", "Users: be kind", "2026-11-26"),
        *("Date formats vary", "(10:57:46 UTC)", "1764154666123", "Never accept bookings before 9:00."),
        *("Date: 2026-05-12", "Time: 9:00 to 17:00", "Today's special: pancakes until 11:00", "User: bob"),
        *("Today is Monday. You sell books.", "Today is a good day to buy.", "Current user: ask for it."),
        *("Current date format: YYYY-MM-DD", "Current time zone: Europe/Berlin", "Current time slot: 9:00"),
        *("It is 9:30 when we open", "Today is Monday and you sell books", "Today is Sun. Nov. 26, 2026."),
        *("user_id: int64", "user_name: string", "Request id: string", '"user_id": "u_123",', "user id: bob"),
        *("Username: your e-mail address", "Session id: ask the customer for it", "Last updated: 2026-01-01"),
        *("Knowledge cutoff: 2024-06", "Current user: J. Smith. You sell books.", "User email: required"),
        *("Local time: 9:00 - 17:00", "Today: 9:00\u201317:00", "Today is Monday BE KIND", "It is 19:00."),
        *(
            "Username is case-sensitive",
            "Current user: sell nothing",
            "User number: 5",
            "Sent on Monday",
            "Server time: 9:00-17:00",
        ),
        *("It is now 10:57, so be quick", "You are on call since 2026-11-26 10:57:46", "at 10:30"),
        "If a customer asks about orders placed before 2020-01-01, say that these are not on file any more.",
        "x" * 300 + " 2026-11-26",
        "Current user: " + "x" * 300,
    ],
)
def test_a_line_of_instructions_is_not_volatile(line: str) -> None:
    assert parted(f"{line}\n{STATIC}") == (f"{line}\n{STATIC}", ())


@pytest.mark.parametrize(
    "marker",
    [
        *("Examples:", "For instance:", "User: hello", "Q: who am I?", "Input: x", "Answer in this format:"),
        *("<example>", "As in the samples below", "Human 1: hi", "**Assistant:** hi", "It looks like:"),
    ],
)
def test_nothing_moves_from_the_first_line_on_that_is_of_an_example(marker: str) -> None:
    text = f"{STATIC}\n{marker}\n{NOW}\nuser_id: 7"
    assert parted(text) == (text, ())
    assert parted(f"{NOW}\n{text}") == (text, (NOW,))


@pytest.mark.parametrize(
    "text",
    [
        *("Today is Sun. Nov. 26, 2026. You sell books.", "It is now 10:57 a.m. sharp. You sell books."),
        *("Current user: J. Smith. You sell books.", "Today is 26 Nov. 2026. Be kind. Be brief."),
        *("Current user: Bob. be kind.", "You sell books. It is now 10:57."),
    ],
)
def test_no_sentence_is_torn(text: str) -> None:
    rest, moved_ = parted(text)
    assert (rest, moved_) in ((text, ()), ("Be kind. Be brief.", ("Today is 26 Nov. 2026.",)))


def test_examples_in_fenced_code_stay() -> None:
    text = f"{STATIC}\n```json\nNow: 10:28\n```\nNow: 10:29\n~~~\nNow: 10:30"
    assert parted(text) == (text.replace("Now: 10:29\n", ""), ("Now: 10:29",))


def test_own_patterns_stand_in_place_of_ours() -> None:
    body = spoken(f"{NOW}\nPrices of week 7\n{STATIC}", "hello")
    left = shaped_body(body, volatile=[re.compile("week [0-9]+")]).body["messages"]
    assert left[0]["content"] == f"{NOW}\n{STATIC}"
    assert left[1]["content"] == under("Prices of week 7")
