"""Two chat requests share a key exactly if they are the same request, over made-up bodies."""

from __future__ import annotations

import copy
import re
from typing import Any, Final
from unicodedata import normalize

import orjson
from hypothesis import assume, event, given
from hypothesis import strategies as st

from asynccache._errors import InvalidRequest
from asynccache.dialects import ChatCompletions

CHAT: Final = ChatCompletions()
ABSENT: Final = object()


def spelled(body: dict[str, Any]) -> bytes:
    """The identity as it goes into the key; from a parsed copy, as the caller hands it over."""
    plain = orjson.loads(orjson.dumps(body))
    CHAT.check(plain)
    return orjson.dumps(CHAT.identity(plain), option=orjson.OPT_SORT_KEYS)


def split(body: dict[str, Any]) -> tuple[bytes, str | None]:
    context, question = CHAT.split(CHAT.identity(orjson.loads(orjson.dumps(body))))
    return orjson.dumps(context, option=orjson.OPT_SORT_KEYS), question


# --- An oracle of sameness: compares two bodies field by field, and never makes a canonical form.

NEUTRAL: Final = {
    "stream", "stream_options", "stream_interval", "user", "metadata", "request_id", "session_id", "priority",
    "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
}  # fmt: skip
NULLABLE: Final = {
    "temperature",
    "tools",
    "response_format",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "n",
}
MESSAGE_NULLABLE: Final = {"content", "name", "tool_calls", "refusal", "reasoning"}


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


def same_content(left: Any, right: Any, *, end: bool) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return same_text(left, right, start=True, end=end)
    if not (isinstance(left, list) and isinstance(right, list) and len(left) == len(right)):
        return left is right
    for place, (one, other) in enumerate(zip(left, right, strict=True)):
        if not same_fields(one, other, set(), {"text"}):
            return False
        if one["type"] != "text":
            if not same_json(one.get("text", ABSENT), other.get("text", ABSENT)):
                return False
        elif not same_text(one["text"], other["text"], start=place == 0, end=end and place == len(left) - 1):
            return False
    return True


def same_request(left: dict[str, Any], right: dict[str, Any]) -> bool:
    odd = {"messages", "stop", "max_tokens", "max_completion_tokens"}
    if not same_fields(left, right, NULLABLE, NEUTRAL | odd):
        return False
    stops = [
        [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") for body in (left, right)
    ]
    if not same_json(*stops):
        return False
    limits = [
        [body[name] for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
        for body in (left, right)
    ]
    if not same_json(*limits):
        return False
    if len(left["messages"]) != len(right["messages"]):
        return False
    last = len(left["messages"]) - 1
    for place, (one, other) in enumerate(zip(left["messages"], right["messages"], strict=True)):
        if not same_fields(one, other, MESSAGE_NULLABLE, {"content"}):
            return False
        open_ended = place == last and (left.get("continue_final_message") or one["role"] == "assistant")
        if not same_content(one.get("content"), other.get("content"), end=not open_ended):
            return False
    return True


# --- Bodies made of few values, so that near misses are common.

texts = st.sampled_from(
    ["", " ", "a", " a", "a ", "a\n", "a\r\n", "a\rb", "a\nb", "A", "\u00e9", "e\u0301", "\u2003a"]
)
numbers = st.sampled_from([0, -0.0, 1, 1.0, -1, 2, 2.0, 0.5, 2**53, float(2**53), 2**53 - 1.0, 1e300])
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
json = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "text"]), inner, max_size=2)
    ),
    max_leaves=4,
)
parts = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}, optional={"a": json}),
    st.fixed_dictionaries({"type": st.sampled_from(["image_url", "b"])}, optional={"text": json, "a": json}),
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
    optional={
        "content": st.none() | texts | st.lists(parts, max_size=3),
        "name": st.none() | texts,
        "tool_calls": st.none() | st.lists(json, max_size=2),
        "refusal": st.none() | texts,
        "reasoning": st.none() | texts,
        "unknown": json,
    },
)
counts = st.none() | st.sampled_from([1, 2, 2.0])
bodies = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=3)},
    optional={
        "model": texts,
        "temperature": st.none() | numbers,
        "n": counts,
        "stop": st.none() | texts | st.lists(texts, max_size=2),
        "max_tokens": counts,
        "max_completion_tokens": counts,
        "tools": st.none() | st.lists(st.dictionaries(st.sampled_from(["a", "b"]), json), max_size=2),
        "tool_choice": json,
        "parallel_tool_calls": st.none() | st.booleans(),
        "top_logprobs": st.none() | numbers,
        "response_format": json,
        "continue_final_message": st.booleans(),
        "unknown": json,
        "cache_salt": texts,
        "user": json,
        "stream": st.none() | st.booleans(),
        "metadata": json,
    },
)
names = st.sampled_from(
    ["a", "b", "text", "content", "stop", "n", "max_tokens", "unknown", "user", "tool_choice"]
)


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
        CHAT.check(changed)
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


@st.composite
def respellings(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A body and the same request in other words of JSON."""
    body = draw(bodies)
    other = with_other_numbers(body)
    for name in draw(st.sets(st.sampled_from(sorted(NEUTRAL - {"stream", "stream_options"})))):
        other[name] = draw(json)
    for name in draw(st.sets(st.sampled_from(sorted(NULLABLE)))):
        other.setdefault(name, None)
    if isinstance(other.get("stop"), str):
        other["stop"] = [other["stop"]]
    if other.get("max_tokens") is not None and other.get("max_completion_tokens") is None:
        other["max_completion_tokens"] = other.pop("max_tokens")
    closed = other["messages"] if not other.get("continue_final_message") else other["messages"][:-1]
    for message in closed:
        for name in draw(st.sets(st.sampled_from(sorted(MESSAGE_NULLABLE)))):
            message.setdefault(name, None)
        if isinstance(message.get("content"), str):
            inner = re.sub("\r\n|\r|\n", "\r\n", normalize("NFD", message["content"]))
            end = "" if message["role"] == "assistant" else draw(st.sampled_from(["", " ", "\r\n\t"]))
            message["content"] = draw(st.sampled_from(["", "\n "])) + inner + end
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
    CHAT.identity(body)
    assert orjson.dumps(body) == before


@given(st.tuples(bodies, bodies) | neighbours())
def test_equal_context_and_question_mean_equal_requests(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    left, right = pair
    assert (split(left) == split(right)) is same_request(left, right)
