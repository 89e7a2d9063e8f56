"""Two embeddings requests share a key exactly if they are the same request, over made-up bodies."""

from __future__ import annotations

import copy
from typing import Any, Final

import orjson
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from asynccache._registry import find_dialect

EMBEDDINGS: Final = find_dialect("embeddings")
NEUTRAL: Final = ("user", "metadata", "request_id", "priority", "service_tier")
NULLABLE: Final = ("model", "dimensions", "encoding_format", "truncate_prompt_tokens")


def spelled(body: dict[str, Any]) -> bytes:
    """The identity as it goes into the key; from a parsed copy, as the caller hands it over."""
    plain = orjson.loads(orjson.dumps(body))
    EMBEDDINGS.check(plain)
    return orjson.dumps(EMBEDDINGS.identity(plain), option=orjson.OPT_SORT_KEYS)


texts = st.sampled_from(["", " ", "a", " a", "a ", "a\n", "a\r\n", "\u00e9", "e\u0301"])
tokens = st.lists(st.integers(0, 3), min_size=1, max_size=3)
inputs = st.one_of(
    texts,
    st.lists(texts, min_size=1, max_size=3),
    tokens,
    st.lists(tokens, min_size=1, max_size=2),
)
json = st.none() | st.booleans() | st.sampled_from([0, 1, 0.5]) | texts | st.lists(texts, max_size=2)
bodies: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"input": inputs},
    optional={
        "model": texts,
        "dimensions": st.integers(1, 3),
        "encoding_format": st.sampled_from(["float", "base64"]),
        "truncate_prompt_tokens": st.integers(-1, 9),
        "add_special_tokens": st.booleans(),
        "unknown": json,
    },
)


def as_list(value: Any) -> list[Any]:
    """Every spelling of an input as the lists of what it holds; texts and tokens are never equal."""
    if isinstance(value, str):
        return [value]
    return value if isinstance(value[0], (str, list)) else [value]


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """An oracle that compares field by field and never makes a canonical form."""
    for name in (left.keys() | right.keys()) - set(NEUTRAL):
        one, other = left.get(name), right.get(name)
        if name in left and name in right:
            if name == "input":
                one, other = as_list(one), as_list(other)
            if orjson.dumps(one) != orjson.dumps(other):
                return False
        elif name not in NULLABLE or one is not other:
            return False
    return True


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A body and a copy with one field changed, left out or added."""
    body, other = draw(bodies), draw(bodies)
    changed = copy.deepcopy(body)
    name = draw(st.sampled_from(sorted({*body, *other})))
    if name in other:
        changed[name] = other[name]
    else:
        changed.pop(name)
    return body, changed


@given(st.tuples(bodies, bodies) | neighbours())
def test_two_bodies_share_a_key_exactly_if_they_are_the_same_request(
    pair: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    left, right = pair
    event("same" if same(left, right) else "different")
    assert (spelled(left) == spelled(right)) is same(left, right)


@st.composite
def respellings(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A body and the same request in other words of JSON."""
    body = draw(bodies)
    other = copy.deepcopy(body)
    for name in draw(st.sets(st.sampled_from(NEUTRAL))):
        other[name] = draw(json)
    for name in draw(st.sets(st.sampled_from(NULLABLE))):
        other.setdefault(name, None)
    other["input"] = as_list(body["input"])
    if len(other["input"]) == 1 and draw(st.booleans()):
        [other["input"]] = other["input"]
    if other.get("dimensions") is not None:
        other["dimensions"] = float(other["dimensions"])
    return body, dict(reversed(other.items()))


@given(respellings())
def test_the_same_request_spelled_anew_has_the_same_key(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert spelled(pair[0]) == spelled(pair[1])


@given(bodies)
def test_the_identity_of_an_identity_is_itself_and_the_body_stays_as_it_is(body: dict[str, Any]) -> None:
    before = orjson.dumps(body)
    once = spelled(body)
    assert spelled(orjson.loads(once)) == once
    assert orjson.dumps(body) == before


@given(bodies)
def test_an_input_is_never_compared_by_meaning(body: dict[str, Any]) -> None:
    identity = EMBEDDINGS.identity(orjson.loads(orjson.dumps(body)))
    assert EMBEDDINGS.split(identity) == (identity, None)


@given(bodies)
def test_a_part_has_the_key_of_a_request_for_it_alone(body: dict[str, Any]) -> None:
    parts = EMBEDDINGS.divide(body)  # type: ignore[attr-defined]  # this dialect is Divisible
    alone = as_list(body["input"])
    if len(alone) == 1:
        assert parts is None
    else:
        assert [spelled(part) for part in parts] == [spelled({**body, "input": [each]}) for each in alone]
        assert spelled(EMBEDDINGS.join(body, parts)) == spelled(body)  # type: ignore[attr-defined]  # likewise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"input": "a"}, {"input": "a "}),
        ({"input": "\u00e9"}, {"input": "e\u0301"}),
        ({"input": ["a", "b"]}, {"input": ["b", "a"]}),
        ({"input": [1, 2]}, {"input": [[1], [2]]}),
        ({"input": "a", "encoding_format": "base64"}, {"input": "a", "encoding_format": "float"}),
        ({"input": "a", "encoding_format": "base64"}, {"input": "a"}),
        ({"input": "a", "dimensions": 256}, {"input": "a"}),
        ({"messages": [{"role": "user", "content": "a"}]}, {"input": "a"}),
    ],
)
def test_requests_that_may_be_answered_otherwise_are_told_apart(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert spelled(one) != spelled(other)
