"""Two Messages requests share a key exactly if they are the same request, over made-up bodies."""

from __future__ import annotations

import copy
import re
from typing import Any, Final
from unicodedata import normalize

import orjson
from hypothesis import assume, event, given
from hypothesis import strategies as st

from asynccache._errors import InvalidRequest
from tests.dialects._messages_wire import MESSAGES

ABSENT: Final = object()


def spelled(body: dict[str, Any]) -> bytes:
    """The identity as it goes into the key; from a parsed copy, as the caller hands it over."""
    plain = orjson.loads(orjson.dumps(body))
    MESSAGES.check(plain)
    return orjson.dumps(MESSAGES.identity(plain), option=orjson.OPT_SORT_KEYS)


def split(body: dict[str, Any]) -> tuple[bytes, str | None]:
    context, question = MESSAGES.split(MESSAGES.identity(orjson.loads(orjson.dumps(body))))
    return orjson.dumps(context, option=orjson.OPT_SORT_KEYS), question


# An oracle of sameness: compares two bodies field by field, and never makes a canonical form.

NEUTRAL: Final = {"stream", "metadata", "service_tier", "speed", "cache_control"}
NULLABLE: Final = {"temperature", "tools", "stop_sequences", "system", "thinking", "container"}


def same_json(left: Any, right: Any) -> bool:
    if left is ABSENT or right is ABSENT:
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        if isinstance(left, bool) or isinstance(right, bool):
            return left is right
        return left == right and (type(left) is type(right) or abs(left) < 2**53)
    return type(left) is type(right) and bool(left == right)


def same_fields(left: dict[str, Any], right: dict[str, Any], nullable: set[str], skipped: set[str]) -> bool:
    for name in (left.keys() | right.keys()) - skipped:
        pair = [item.get(name, ABSENT) for item in (left, right)]
        if name in nullable:
            pair = [ABSENT if value is None else value for value in pair]
        if not same_json(*pair):
            return False
    return True


def same_text(left: str, right: str, *, start: bool, end: bool) -> bool:
    def canonical(text: str) -> str:
        text = re.sub("\r\n|\r", "\n", normalize("NFC", text))
        text = re.sub(r"\A\s+", "", text) if start else text
        return re.sub(r"\s+\Z", "", text) if end else text

    return canonical(left) == canonical(right)


def listed(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def same_nested(left: Any, right: Any) -> bool:
    """What a tool said: the blocks in it may be marked."""
    if not (isinstance(left, list) and isinstance(right, list)):
        return same_json(left, right)
    return len(left) == len(right) and all(
        same_block(one, other) if isinstance(one, dict) and isinstance(other, dict) else same_json(one, other)
        for one, other in zip(left, right, strict=True)
    )


def same_block(left: dict[str, Any], right: dict[str, Any]) -> bool:
    if left.get("type") == right.get("type") == "tool_result":
        pair = left.get("content", ABSENT), right.get("content", ABSENT)
        return same_fields(left, right, set(), {"cache_control", "content"}) and same_nested(*pair)
    return same_fields(left, right, set(), {"cache_control"})


def same_content(left: Any, right: Any, *, start: bool, end: bool) -> bool:
    left, right = listed(left), listed(right)
    if not (isinstance(left, list) and isinstance(right, list) and len(left) == len(right)):
        return left is right
    last = len(left) - 1
    for place, (one, other) in enumerate(zip(left, right, strict=True)):
        if one["type"] == other["type"] == "text":
            if not same_fields(one, other, set(), {"text", "cache_control"}):
                return False
            if not same_text(
                one["text"], other["text"], start=start and place == 0, end=end and place == last
            ):
                return False
        elif not same_block(one, other):
            return False
    return True


def same_tools(left: Any, right: Any) -> bool:
    if not (isinstance(left, list) and isinstance(right, list)):
        return left is right
    return len(left) == len(right) and all(
        same_fields(one, other, set(), {"cache_control"}) for one, other in zip(left, right, strict=True)
    )


def same_request(left: dict[str, Any], right: dict[str, Any]) -> bool:
    if not same_fields(left, right, NULLABLE, NEUTRAL | {"messages", "system", "tools"}):
        return False
    if not same_content(left.get("system"), right.get("system"), start=True, end=True):
        return False
    if not same_tools(left.get("tools"), right.get("tools")):
        return False
    if len(left["messages"]) != len(right["messages"]):
        return False
    roles = [message["role"] for message in left["messages"]]
    last = len(roles) - 1
    for place, (one, other) in enumerate(zip(left["messages"], right["messages"], strict=True)):
        if not same_fields(one, other, set(), {"content"}):
            return False
        start = place == 0 or roles[place - 1] != roles[place]
        end = roles[place] != "assistant" if place == last else roles[place + 1] != roles[place]
        if not same_content(one["content"], other["content"], start=start, end=end):
            return False
    return True


# Bodies made of few values, so that near misses are common.

texts = st.sampled_from(
    ["", " ", "a", " a", "a ", "a\n", "a\r\n", "a\rb", "a\nb", "A", "\u00e9", "e\u0301", "\u2003a"]
)
numbers = st.sampled_from([0, -0.0, 1, 1.0, -1, 2, 2.0, 0.5, 2**53, float(2**53), 2**53 - 1.0, 1e300])
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
json = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "b", "text", "cache_control"]), inner, max_size=2)
    ),
    max_leaves=4,
)
marks = st.none() | st.just({"type": "ephemeral"})
text_blocks = st.fixed_dictionaries(
    {"type": st.just("text"), "text": texts}, optional={"a": json, "cache_control": marks}
)
others = st.fixed_dictionaries(
    {"type": st.sampled_from(["image", "tool_use", "tool_result"])},
    optional={"a": json, "cache_control": marks, "input": json, "content": json | st.lists(text_blocks)},
)
contents = texts | st.lists(text_blocks | others, max_size=3)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"]), "content": contents},
    optional={"unknown": json},
)
tools = st.dictionaries(st.sampled_from(["a", "name", "cache_control", "input_schema"]), json)
bodies = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=3), "max_tokens": st.sampled_from([1, 2, 2.0])},
    optional={
        "model": texts,
        "system": st.none() | texts | st.lists(text_blocks, max_size=2),
        "temperature": st.none() | numbers,
        "stop_sequences": st.none() | st.lists(texts, max_size=2),
        "tools": st.none() | st.lists(tools, max_size=2),
        "tool_choice": st.none() | st.just({"type": "any"}),
        "thinking": st.none() | st.just({"type": "adaptive"}),
        "container": st.none() | texts,
        "unknown": json,
        "stream": st.none() | st.booleans(),
        "metadata": st.none() | st.just({"user_id": "a"}),
        "cache_control": marks,
        "speed": json,
    },
)
names = st.sampled_from(["a", "text", "content", "unknown", "cache_control", "tool_choice", "input", "speed"])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for name, item in value.items():
            found += places(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A body and a copy with one change at one place."""
    body = draw(bodies)
    changed = copy.deepcopy(body)
    *way, key = draw(st.sampled_from(places(changed)[1:]))
    holder: Any = changed
    for step in way:
        holder = holder[step]
    match draw(st.sampled_from(["replace", "remove", "add", "wrap"])):
        case "replace":
            holder[key] = draw(json)
        case "wrap":
            holder[key] = [holder[key]]
        case "remove":
            del holder[key]
        case _ if isinstance(holder, list):
            holder.insert(key, draw(json))
        case _:
            holder[draw(names)] = draw(json)
    try:
        MESSAGES.check(changed)
    except InvalidRequest:
        assume(False)
    return body, changed


@given(neighbours())
def test_two_bodies_share_a_key_exactly_if_they_are_the_same_request(
    pair: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    left, right = pair
    same = same_request(left, right)
    event("same" if same else "different")
    assert (spelled(left) == spelled(right)) is same


def with_other_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: with_other_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [with_other_numbers(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) >= 2**53:
        return value
    if value == 0:
        return -0.0
    return float(value) if isinstance(value, int) else int(value) if value == int(value) else value


def marked(content: Any, draw: st.DrawFn) -> Any:
    """The same content as a list, with other marks on its blocks."""
    blocks = listed(content)
    if isinstance(blocks, list):
        for block in blocks:
            block["cache_control"] = draw(marks)
    return blocks


@st.composite
def respellings(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A body and the same request in other words of JSON."""
    body = draw(bodies)
    other = with_other_numbers(body)
    if draw(st.booleans()):
        other["stream"] = draw(st.booleans())
    other["cache_control"], other["service_tier"] = draw(marks), draw(json)
    for name in draw(st.sets(st.sampled_from(sorted(NULLABLE)))):
        other.setdefault(name, None)
    for tool in other.get("tools") or ():
        tool["cache_control"] = draw(marks)
    roles = [message["role"] for message in other["messages"]]
    for place, message in enumerate(other["messages"]):
        if isinstance(message["content"], str):
            inner = re.sub("\r\n|\r|\n", "\r\n", normalize("NFD", message["content"]))
            alone = roles[place] not in roles[:place][-1:] + roles[place + 1 :][:1]
            open_ended = place == len(roles) - 1 and roles[place] == "assistant"
            start = draw(st.sampled_from(["", "\n "])) if alone else ""
            end = draw(st.sampled_from(["", " ", "\r\n\t"])) if alone and not open_ended else ""
            message["content"] = start + inner + end
        message["content"] = marked(message["content"], draw)
    if other.get("system") is not None:
        other["system"] = marked(other["system"], draw)
    return body, other


@given(respellings())
def test_the_same_request_spelled_anew_has_the_same_key(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert spelled(pair[0]) == spelled(pair[1])


@given(bodies, bodies)
def test_unrelated_bodies_share_a_key_only_if_they_are_the_same_request(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    assert (spelled(left) == spelled(right)) is same_request(left, right)


@given(bodies)
def test_the_identity_of_an_identity_is_itself(body: dict[str, Any]) -> None:
    once = spelled(body)
    assert spelled(orjson.loads(once)) == once


@given(bodies)
def test_the_body_stays_as_it_is(body: dict[str, Any]) -> None:
    before = orjson.dumps(body)
    MESSAGES.identity(body)
    assert orjson.dumps(body) == before


@given(st.tuples(bodies, bodies) | neighbours())
def test_equal_context_and_question_mean_equal_requests(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    left, right = pair
    assert (split(left) == split(right)) is same_request(left, right)
