"""The old guided fields said anew; no loop, no network."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache._errors import InvalidRequest
from asynccache.upstreams._vllm_guided import translated

BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"guided_json": SCHEMA}, {"json": SCHEMA}),
        ({"guided_json": '{"type":"object"}'}, {"json": '{"type":"object"}'}),
        ({"guided_regex": "a+"}, {"regex": "a+"}),
        ({"guided_choice": ["a", "b"]}, {"choice": ["a", "b"]}),
        ({"guided_grammar": "root ::= 'a'"}, {"grammar": "root ::= 'a'"}),
        (
            {"guided_json": SCHEMA, "guided_whitespace_pattern": "[ ]?"},
            {"json": SCHEMA, "whitespace_pattern": "[ ]?"},
        ),
        ({"guided_json": SCHEMA, "guided_decoding_backend": "xgrammar"}, {"json": SCHEMA}),
        ({"guided_json": SCHEMA, "guided_regex": None, "structured_outputs": None}, {"json": SCHEMA}),
        ({"guided_json": SCHEMA, "response_format": {"type": "text"}}, {"json": SCHEMA}),
    ],
)
def test_one_constraint_is_translated(given: dict[str, Any], expected: dict[str, Any]) -> None:
    body = {**BODY, **given}
    before = dict(body)
    made = translated(body)
    assert made["structured_outputs"] == expected
    assert not any(name.startswith("guided_") for name in made)
    assert body == before


@pytest.mark.parametrize("given", [{"guided_json": None}, {"guided_decoding_backend": "outlines"}])
def test_what_constrains_nothing_is_left_out(given: dict[str, Any]) -> None:
    outputs = {"structured_outputs": {"regex": "a"}}
    assert translated({**BODY, **given, **outputs}) == {**BODY, **outputs}


def test_body_without_guided_fields_is_the_very_body() -> None:
    assert translated(BODY) is BODY


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"guided_json": SCHEMA, "guided_choice": ["a"]}, "guided_choice"),
        ({"guided_choice": ["a"], "guided_json": SCHEMA}, "guided_json"),
        ({"guided_json": SCHEMA, "structured_outputs": {"regex": "a"}}, "guided_json"),
        ({"guided_json": SCHEMA, "response_format": {"type": "json_object"}}, "guided_json"),
        ({"guided_whitespace_pattern": "a"}, "guided_whitespace_pattern"),
        ({"guided_json": SCHEMA, "guided_future": 1}, "guided_future"),
        (
            {"guided_json": SCHEMA, "guided_decoding_backend": "outlines:no-fallback"},
            "guided_decoding_backend",
        ),
        ({"guided_decoding_backend": 7}, "guided_decoding_backend"),
    ],
)
def test_what_cannot_be_said_anew_is_refused_by_name(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated({**BODY, **given})
    assert caught.value.field == field
