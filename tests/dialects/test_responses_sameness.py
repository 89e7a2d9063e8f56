"""Two Responses requests share a key exactly if they are the same request, over made-up bodies."""

from __future__ import annotations

import copy
import re
from typing import Any, Final
from unicodedata import normalize

import orjson
from hypothesis import assume, event, given
from hypothesis import strategies as st

from asynccache._errors import InvalidRequest
from asynccache.dialects.responses import Responses

RESPONSES: Final = Responses()
ABSENT: Final = object()


def spelled(body: dict[str, Any]) -> bytes:
    """The identity as it goes into the key; from a parsed copy, as the caller hands it over."""
    plain = orjson.loads(orjson.dumps(body))
    RESPONSES.check(plain)
    return orjson.dumps(RESPONSES.identity(plain), option=orjson.OPT_SORT_KEYS)


def split(body: dict[str, Any]) -> tuple[bytes, str | None]:
    context, question = RESPONSES.split(RESPONSES.identity(orjson.loads(orjson.dumps(body))))
    return orjson.dumps(context, option=orjson.OPT_SORT_KEYS), question


# --- An oracle of sameness: compares two bodies field by field, and never makes a canonical form.

NEUTRAL: Final = {
    "stream", "stream_options", "user", "metadata", "request_id", "session_id", "priority", "service_tier",
    "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
}  # fmt: skip
NULLABLE: Final = {"temperature", "instructions", "max_output_tokens", "reasoning", "seed", "text"}
TEXTS: Final = {"input_text", "output_text", "text"}


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


def lone_text(content: Any) -> str | None:
    """The words of a content that is one plain text, however it is written."""
    if isinstance(content, str):
        return content
    if len(content) == 1 and content[0]["type"] == "input_text":
        extra = content[0].keys() - {"type", "text", "prompt_cache_breakpoint"}
        return None if extra else content[0]["text"]
    return None


def same_content(left: Any, right: Any, *, end: bool) -> bool:
    lone = [lone_text(content) for content in (left, right)]
    if lone[0] is not None and lone[1] is not None:
        return same_text(lone[0], lone[1], start=True, end=end)
    if lone[0] is not None or lone[1] is not None or len(left) != len(right):
        return False
    for place, (one, other) in enumerate(zip(left, right, strict=True)):
        if not same_fields(one, other, set(), {"text", "prompt_cache_breakpoint"}):
            return False
        if one["type"] not in TEXTS:
            if not same_json(one.get("text", ABSENT), other.get("text", ABSENT)):
                return False
        elif not same_text(one["text"], other["text"], start=place == 0, end=end and place == len(left) - 1):
            return False
    return True


def is_message(item: dict[str, Any]) -> bool:
    return item.get("type") == "message" or (item.get("type") is None and "content" in item)


def same_item(left: dict[str, Any], right: dict[str, Any], *, last: bool) -> bool:
    if not (is_message(left) and is_message(right)):
        return same_json(left, right)
    if not same_fields(left, right, {"phase"}, {"type", "content"}):
        return False
    return same_content(left["content"], right["content"], end=not (last and left["role"] == "assistant"))


def items(body: dict[str, Any]) -> list[dict[str, Any]]:
    given = body["input"]
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def hints(body: dict[str, Any]) -> Any:
    options = body.get("prompt_cache_options", {})
    return options and {name: value for name, value in options.items() if name not in ("mode", "ttl")}


def same_request(left: dict[str, Any], right: dict[str, Any]) -> bool:
    odd = {"input", "stop", "store", "instructions", "prompt_cache_options"}
    if not same_fields(left, right, NULLABLE, NEUTRAL | odd) or not same_json(hints(left), hints(right)):
        return False
    stops = [
        [stop] if isinstance(stop, str) else stop for stop in (b.get("stop", ABSENT) for b in (left, right))
    ]
    stores = [True if body.get("store") is None else body["store"] for body in (left, right)]
    if not same_json(*stops) or not same_json(*stores):
        return False
    orders = [body.get("instructions") for body in (left, right)]
    if isinstance(orders[0], str) and isinstance(orders[1], str):
        if not same_text(orders[0], orders[1], start=True, end=True):
            return False
    elif not same_json(*orders):
        return False
    pairs = [items(body) for body in (left, right)]
    if len(pairs[0]) != len(pairs[1]):
        return False
    last = len(pairs[0]) - 1
    return all(same_item(*pair, last=place == last) for place, pair in enumerate(zip(*pairs, strict=True)))


# --- Bodies made of few values, so that near misses are common.

texts = st.sampled_from(["", " ", "a", " a", "a ", "a\n", "a\r\n", "a\rb", "A", "\u00e9", "e\u0301"])
numbers = st.sampled_from([0, -0.0, 1, 1.0, -1, 2, 2.0, 0.5, 2**53, float(2**53), 2**53 - 1.0])
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
json = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "text"]), inner, max_size=2)
    ),
    max_leaves=4,
)
parts = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["input_text", "output_text"]), "text": texts},
        optional={"a": json, "prompt_cache_breakpoint": st.just({"mode": "explicit"})},
    ),
    st.fixed_dictionaries({"type": st.just("input_image")}, optional={"text": json, "a": json}),
)
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant"]),
        "content": texts | st.lists(parts, max_size=2),
    },
    optional={
        "type": st.sampled_from(["message", None]),
        "phase": st.none() | st.just("commentary"),
        "unknown": json,
    },
)
others = st.fixed_dictionaries(
    {"type": st.sampled_from(["function_call", "reasoning"])}, optional={"content": json, "arguments": texts}
)
bodies = st.fixed_dictionaries(
    {"input": texts | st.lists(messages | others, min_size=1, max_size=3)},
    optional={
        "model": texts,
        "instructions": st.none() | texts,
        "temperature": st.none() | numbers,
        "stop": st.none() | texts | st.lists(texts, max_size=2),
        "max_output_tokens": st.none() | st.sampled_from([1, 2, 2.0]),
        "tools": st.none() | st.lists(st.dictionaries(st.sampled_from(["a", "b"]), json), max_size=2),
        "tool_choice": json,
        "truncation": json,
        "store": st.none() | st.booleans(),
        "prompt_cache_options": st.dictionaries(st.sampled_from(["mode", "ttl", "a"]), texts, max_size=2),
        "unknown": json,
        "user": json,
        "metadata": json,
    },
)
names = st.sampled_from(
    ["a", "b", "text", "content", "stop", "unknown", "user", "tool_choice", "store", "type"]
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
    match draw(st.sampled_from(["replace", "remove", "add", "wrap", "spell"])):
        case "replace":
            holder[key] = draw(json)
        case "wrap":
            holder[key] = [holder[key]]
        case "remove":
            del holder[key]
        case "spell" if isinstance(holder[key], str):
            holder[key] = draw(
                st.sampled_from(
                    [
                        [{"role": "user", "content": holder[key]}],
                        [{"type": "input_text", "text": holder[key]}],
                        f" {holder[key]}",
                    ]
                )
            )
        case _ if isinstance(holder, list):
            holder.insert(key, draw(json))
        case _:
            holder[draw(names)] = draw(json)
    try:
        RESPONSES.check(changed)
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
    other.setdefault("store", draw(st.sampled_from([True, None])))
    if isinstance(other.get("stop"), str):
        other["stop"] = [other["stop"]]
    other["input"] = items(other)
    for message in filter(is_message, other["input"]):
        message["type"] = draw(st.sampled_from(["message", None]))
        message.setdefault("phase", None)
        if isinstance(message["content"], str):
            inner = re.sub("\r\n|\r|\n", "\r\n", normalize("NFD", message["content"]))
            end = "" if message["role"] == "assistant" else draw(st.sampled_from(["", " ", "\r\n\t"]))
            words = draw(st.sampled_from(["", "\n "])) + inner + end
            part = {"type": "input_text", "text": words}
            message["content"] = draw(st.sampled_from([words, [part]]))
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
    RESPONSES.identity(body)
    assert orjson.dumps(body) == before


@given(st.tuples(bodies, bodies) | neighbours())
def test_equal_context_and_question_mean_equal_requests(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    left, right = pair
    assert (split(left) == split(right)) is same_request(left, right)
