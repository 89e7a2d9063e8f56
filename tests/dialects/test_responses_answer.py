"""Reading a response, and making one around plain text."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest
from openai.types.responses import Response as OpenAIResponse

from asynccache._models import Cost, Response
from asynccache._protocols import Dialect
from asynccache._registry import find_dialect
from asynccache.dialects.responses import Responses

RESPONSES: Dialect = Responses()
SAID: Final = {"type": "message", "content": [{"type": "output_text", "text": "hel"}, {"type": "refusal"}]}
MORE: Final = {
    "type": "message",
    "content": ["x", {"type": "output_text", "text": "lo"}, {"type": "output_text"}],
}


def test_the_dialect_is_known_by_its_name() -> None:
    assert isinstance(find_dialect("responses"), Responses)
    assert (RESPONSES.name, RESPONSES.path, RESPONSES.closing) == ("responses", "/responses", b"")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"output": [{"type": "reasoning", "content": []}, SAID, MORE]}, "hello"),
        ({"output": [{"type": "function_call"}, None]}, ""),
        ({"output": [{"type": "message", "content": None}]}, ""),
        ({"output": None}, ""),
        ({}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_the_text_is_that_of_all_messages(document: Any, text: str) -> None:
    assert RESPONSES.text(document) == text


@pytest.mark.parametrize(
    ("event", "delta"),
    [
        ({"type": "response.output_text.delta", "delta": "hel"}, "hel"),
        ({"type": "response.output_text.delta", "delta": None}, ""),
        ({"type": "response.output_text.done", "text": "hello"}, ""),
        ({"type": "response.refusal.delta", "delta": "no"}, ""),
        ({"type": "response.reasoning_text.delta", "delta": "hm"}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_only_an_event_of_the_text_brings_new_text(event: Any, delta: str) -> None:
    assert RESPONSES.delta(event) == delta


@pytest.mark.parametrize(
    ("kind", "acts"),
    [
        ("message", False),
        ("reasoning", False),
        ("web_search_call", False),
        ("function_call", True),
        ("custom_tool_call", True),
        ("computer_call", True),
        ("mcp_approval_request", True),
        ("a_new_kind", True),
    ],
)
def test_a_response_acts_when_it_asks_for_something_to_be_done(kind: str, acts: bool) -> None:
    output = [SAID, {"type": kind}]
    assert RESPONSES.acts(Response(orjson.dumps({"output": output}))) is acts


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        (b'{"usage":{"input_tokens":3,"output_tokens":4}}', Cost(3, 4)),
        (b'{"usage":{"prompt_tokens":3}}', Cost()),
        (b'{"usage":null}', Cost()),
        (b"{", Cost()),
    ],
)
def test_the_cost_is_what_the_upstream_reported(body: bytes, cost: Cost) -> None:
    assert RESPONSES.cost(Response(body)) == cost


def test_an_answer_around_text_is_a_response_to_openais_client_and_may_be_stored() -> None:
    document = RESPONSES.answer({"input": "hi", "model": "m"}, "hello")
    parsed = OpenAIResponse.model_validate(document)
    assert parsed.output_text == RESPONSES.text(document) == "hello"
    assert parsed.model == "m"
    assert RESPONSES.answer({"input": "hi"}, "hello")["model"] == "callable"
    assert RESPONSES.verdict({"input": "hi"}, Response(orjson.dumps(document))) is None


def test_two_answers_around_text_have_ids_of_their_own() -> None:
    first, second = (RESPONSES.answer({"input": "hi"}, "hello") for _ in range(2))
    assert first["id"] != second["id"]
    assert first["output"][0]["id"] != second["output"][0]["id"]


def test_a_failure_is_an_error_object_in_openais_shape() -> None:
    assert orjson.loads(RESPONSES.failure(400, "m", field="input")) == {
        "error": {"message": "m", "type": "invalid_request_error", "param": "input", "code": 400}
    }
