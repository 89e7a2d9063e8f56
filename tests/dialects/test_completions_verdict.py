"""Law: no text completion is stored unless it came to its own end and is what was asked for."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache._models import Response
from asynccache._registry import find_dialect

COMPLETIONS: Final = find_dialect("completions")
SECRET: Final = "SECRET"
SCHEMA: Final = {"type": "json_schema", "json_schema": {"name": "a"}}


def choice(index: Any = 0, text: Any = " upon a time", finish_reason: Any = "stop") -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}


def judged(*choices: Any, document: dict[str, Any] | None = None, **fields: Any) -> str | None:
    answer = {"object": "text_completion", "choices": list(choices), **(document or {})}
    return COMPLETIONS.verdict({"prompt": "Once", **fields}, Response(orjson.dumps(answer)))


@pytest.mark.parametrize("reason", ["stop", "end_turn", "stop_sequence", "eos_token"])
def test_a_text_that_came_to_its_own_end_may_be_stored(reason: str) -> None:
    assert judged(choice(finish_reason=reason)) is None


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("length", "'length'"),
        ("content_filter", "'content_filter'"),
        ("tool_calls", "'tool_calls'"),
        (None, "null"),
        (["stop"], "not a known word"),
        (SECRET * 50, "not a known word"),
    ],
)
def test_a_text_that_ended_otherwise_is_refused(reason: Any, words: str) -> None:
    assert judged(choice(finish_reason=reason)) == f"finish_reason is {words}"


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_text_is_refused(text: str) -> None:
    assert judged(choice(text=text)) == "the text is empty"


@pytest.mark.parametrize("text", [None, 1, ["a"]])
def test_a_choice_without_a_text_is_refused(text: Any) -> None:
    assert judged(choice(text=text)) == "a choice has no text"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 1),
        ({"prompt": None}, 1),
        ({"n": 3}, 3),
        ({"n": 2.0}, 2),
        ({"best_of": 4}, 1),
        ({"prompt": ["a", "b"]}, 2),
        ({"prompt": ["a", "b"], "n": 2}, 4),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1], [2], [3]]}, 3),
        ({"prompt": None, "prompt_embeds": ["A", "B"]}, 2),
        ({"prompt": "a", "prompt_embeds": "A"}, 2),
    ],
)
def test_every_prompt_must_have_its_choices(fields: dict[str, Any], expected: int) -> None:
    choices = [choice(index) for index in range(expected)]
    assert judged(*choices, **fields) is None
    more = [*choices, choice(expected)]
    assert judged(*more, **fields) == f"{expected + 1} choices came where {expected} were asked for"


@pytest.mark.parametrize("choices", [[], None, {}])
def test_an_answer_without_choices_is_refused(choices: Any) -> None:
    assert judged(document={"choices": choices}) == "there are no choices"


def test_a_choice_that_is_no_object_is_refused() -> None:
    assert judged("text") == "a choice is not an object"


@pytest.mark.parametrize("index", [1, -1, None, "0", True])
def test_choices_that_are_not_numbered_are_refused(index: Any) -> None:
    assert judged(choice(index)) == "the choices are not numbered from 0"


def test_one_bad_choice_of_several_is_enough() -> None:
    assert judged(choice(0), choice(1, finish_reason="length"), n=2) == "finish_reason is 'length'"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the answer is not JSON"),
        (b"[]", "the answer is not an object"),
        (b'{"error":"SECRET"}', "the answer carries an error"),
    ],
)
def test_what_is_no_answer_is_refused(body: bytes, reason: str) -> None:
    assert COMPLETIONS.verdict({"prompt": "Once"}, Response(body)) == reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"{", "a frame is not JSON"),
        (b"1", "a frame is not an object"),
        (b'{"error":{"message":"SECRET"}}', "a frame carries an error"),
    ],
)
def test_a_bad_frame_is_refused_whatever_the_document_says(frame: bytes, reason: str) -> None:
    whole = orjson.dumps({"choices": [choice()]})
    assert COMPLETIONS.verdict({"prompt": "Once"}, Response(whole, (whole, frame))) == reason


def test_an_answer_that_may_have_ignored_a_demand_is_refused() -> None:
    assert judged(choice(), guided_json={}) == "a guided_* field may have been ignored"
    assert judged(choice(), guided_json=None) is None


@pytest.mark.parametrize(
    ("fields", "text", "stored"),
    [
        ({"response_format": SCHEMA}, "[1]", True),
        ({"response_format": SCHEMA}, "[1", False),
        ({"response_format": {"type": "json_object"}}, "{}", True),
        ({"response_format": {"type": "json_object"}}, "[1]", False),
        ({"structured_outputs": {"json": {}}}, "[1]", True),
        ({"structured_outputs": {"json": {}}}, "x", False),
        ({"structured_outputs": {"json_object": True}}, "[]", False),
        ({"structured_outputs": {"regex": "x"}}, "x", True),
    ],
)
def test_json_that_was_asked_for_must_parse(fields: dict[str, Any], text: str, stored: bool) -> None:
    assert judged(choice(text=text), **fields) == (None if stored else "the text is not the JSON asked for")


@pytest.mark.parametrize("name", ["response_format", "structured_outputs"])
def test_a_demand_in_no_known_form_is_refused(name: str) -> None:
    fields: dict[str, Any] = {name: "json"}
    assert judged(choice(), **fields) == f"{name} is not a mapping"
