"""Two text-completion requests share a key exactly if they are the same request, over made-up bodies."""

from __future__ import annotations

import copy
from typing import Any, Final

import orjson
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from asynccache._registry import find_dialect

COMPLETIONS: Final = find_dialect("completions")
NEUTRAL: Final = (
    "stream", "stream_options", "stream_interval", "user", "metadata", "request_id", "session_id", "priority",
    "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
)  # fmt: skip
NULLABLE: Final = ("model", "n", "best_of", "echo", "suffix", "logprobs", "stop", "temperature", "prompt")


def spelled(body: dict[str, Any]) -> bytes:
    """The identity as it goes into the key; from a parsed copy, as the caller hands it over."""
    plain = orjson.loads(orjson.dumps(body))
    COMPLETIONS.check(plain)
    return orjson.dumps(COMPLETIONS.identity(plain), option=orjson.OPT_SORT_KEYS)


texts = st.sampled_from(["", " ", "a", " a", "a ", "a\n", "a\r\n", "\u00e9", "e\u0301"])
tokens = st.lists(st.integers(0, 3), min_size=1, max_size=3)
prompts = st.one_of(
    texts,
    st.lists(texts, min_size=1, max_size=3),
    tokens,
    st.lists(tokens, min_size=1, max_size=2),
)
json = st.none() | st.booleans() | st.sampled_from([0, 1, 2, 0.5]) | texts | st.lists(texts, max_size=2)
bodies = st.fixed_dictionaries(
    {"prompt": prompts},
    optional={
        "model": texts,
        "n": st.integers(1, 3),
        "best_of": st.integers(1, 3),
        "echo": st.booleans(),
        "suffix": texts,
        "logprobs": st.integers(0, 5),
        "max_tokens": st.none() | st.integers(0, 9),
        "stop": texts | st.lists(texts, max_size=2),
        "temperature": st.sampled_from([0, 0.5, 1]),
        "cache_salt": texts,
        "unknown": json,
    },
)


def as_list(value: Any) -> list[Any]:
    """Every spelling of a prompt as the lists of what it holds; texts and tokens are never equal."""
    if isinstance(value, str):
        return [value]
    return value if isinstance(value[0], (str, list)) else [value]


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """An oracle that compares field by field and never makes a canonical form."""
    for name in (left.keys() | right.keys()) - set(NEUTRAL):
        one, other = left.get(name), right.get(name)
        if name in left and name in right:
            if name == "prompt":
                one, other = as_list(one), as_list(other)
            elif name == "stop":
                one, other = ([each] if isinstance(each, str) else each for each in (one, other))
            if orjson.dumps(one) != orjson.dumps(other):
                return False
        elif name not in NULLABLE or one is not other:
            return False
    return True


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A body and a copy with one field changed, left out or added."""
    body = draw(bodies)
    changed = copy.deepcopy(body)
    other = draw(bodies)
    name = draw(st.sampled_from(sorted({*body, *other} - {"prompt"}) or ["prompt"]))
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
    other: dict[str, Any] = copy.deepcopy(body)
    for name in draw(st.sets(st.sampled_from(NEUTRAL[2:]))):
        other[name] = draw(json)
    for name in draw(st.sets(st.sampled_from(NULLABLE))):
        other.setdefault(name, None)
    other["prompt"] = as_list(body["prompt"])
    if len(other["prompt"]) == 1 and draw(st.booleans()):
        [other["prompt"]] = other["prompt"]
    for name in ("n", "temperature", "logprobs", "max_tokens"):
        if other.get(name) is not None:
            other[name] = float(other[name])
    if isinstance(other.get("stop"), str):
        other["stop"] = [other["stop"]]
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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"prompt": "a"}, {"prompt": "a "}),
        ({"prompt": "a\n"}, {"prompt": "a\r\n"}),
        ({"prompt": "\u00e9"}, {"prompt": "e\u0301"}),
        ({"prompt": ["a", "b"]}, {"prompt": ["b", "a"]}),
        ({"prompt": ["a", "b"]}, {"prompt": "ab"}),
        ({"prompt": [1]}, {"prompt": "1"}),
        ({"prompt": [1, 2]}, {"prompt": [[1], [2]]}),
        ({"prompt": "a", "max_tokens": None}, {"prompt": "a"}),  # 16 to most servers, no limit to vLLM
        ({"prompt": "a", "n": 1}, {"prompt": "a"}),
        ({"prompt": ""}, {}),
        ({"prompt": "a", "cache_salt": "x"}, {"prompt": "a", "cache_salt": "y"}),
    ],
)
def test_requests_that_may_be_answered_otherwise_are_told_apart(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert spelled(one) != spelled(other)


@given(bodies)
def test_a_prompt_is_never_compared_by_meaning(body: dict[str, Any]) -> None:
    identity = COMPLETIONS.identity(orjson.loads(orjson.dumps(body)))
    for history in ("equal", "ignore", 3):
        assert COMPLETIONS.split(identity, history) == (identity, None)
