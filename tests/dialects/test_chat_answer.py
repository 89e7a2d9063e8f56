"""Reading an answer, and making one around plain text."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion

from asynccache._models import Cost, Response
from asynccache._protocols import Dialect
from asynccache.dialects import ChatCompletions

CHAT: Dialect = ChatCompletions()


def saying(content: Any, part: str = "message") -> dict[str, Any]:
    return {"choices": [{"index": 1, part: {"content": "no"}}, {"index": 0, part: {"content": content}}]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hello", "hello"),
        ("", ""),
        (None, ""),
        (5, ""),
        ([{"type": "text", "text": "hel"}, {"type": "image"}, "x", {"type": "text", "text": "lo"}], "hello"),
    ],
)
def test_the_text_is_that_of_the_first_choice(content: Any, text: str) -> None:
    assert CHAT.text(saying(content)) == text
    assert CHAT.delta(saying(content, "delta")) == text


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"choices": None}, {"choices": [None]}, {"choices": [{}]}, {"choices": []}, saying("a")],
)
def test_a_document_without_that_text_has_none(document: Any) -> None:
    assert CHAT.delta(document) == ""
    assert CHAT.text(document) == ("a" if document == saying("a") else "")


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}', Cost(3, 4)),
        (b'{"usage":{"prompt_tokens":3}}', Cost(3, 0)),
        (b'{"usage":{"prompt_tokens":true,"completion_tokens":-1}}', Cost()),
        (b'{"usage":{"prompt_tokens":"3","completion_tokens":1.5}}', Cost()),
        (b'{"usage":null}', Cost()),
        (b"{}", Cost()),
        (b"[]", Cost()),
        (b"{", Cost()),
    ],
)
def test_the_cost_is_what_the_upstream_reported(body: bytes, cost: Cost) -> None:
    assert CHAT.cost(Response(body)) == cost


def test_a_made_answer_is_a_whole_one_with_an_id_of_its_own() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    made, other = CHAT.answer(body, "hello"), CHAT.answer(body, "hello")
    assert CHAT.text(made) == "hello"
    assert made["model"] == "m"
    assert made["id"].startswith("chatcmpl-")
    assert made["id"] != other["id"]
    assert "usage" not in made
    assert CHAT.verdict(body, Response(orjson.dumps(made))) is None
    ChatCompletion.model_validate(made, strict=True)


def test_a_made_answer_without_a_model_names_the_callable() -> None:
    assert CHAT.answer({"messages": []}, "hello")["model"] == "callable"
