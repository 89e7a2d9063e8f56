"""The door of the embeddings dialect, and what it refuses to be."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache._errors import InvalidRequest, UpstreamInvalidAnswer
from asynccache._models import Response
from asynccache._protocols import Divisible
from asynccache._registry import find_dialect

EMBEDDINGS: Final = find_dialect("embeddings")
ONE: Final[dict[str, Any]] = {"input": "a text"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({**ONE, "x": [float("inf")]}, "x[0]"),
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": 1}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [[1], "a"]}, "input[1]"),
        ({"input": [[1], [True]]}, "input[1][0]"),
        ({"input": [1, "a"]}, "input[1]"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({**ONE, "model": 1}, "model"),
        ({**ONE, "encoding_format": 1}, "encoding_format"),
        ({**ONE, "dimensions": 0}, "dimensions"),
        ({**ONE, "dimensions": 1.5}, "dimensions"),
        ({**ONE, "stream": 1}, "stream"),
        ({**ONE, "stream": True}, "stream"),
    ],
)
def test_what_no_server_could_take_is_refused_by_name(body: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        EMBEDDINGS.check(body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        {"input": ""},
        {"input": ["a", "b"]},
        {"input": [1, 2.0]},
        {"input": [[1, 2], [3]]},
        {"messages": [{"role": "user", "content": "hi"}]},
        {**ONE, "stream": False, "dimensions": 2.0, "encoding_format": "base64", "user": "u"},
        {**ONE, "truncate_prompt_tokens": -1, "unknown": [1]},
    ],
)
def test_what_some_server_could_take_passes(body: dict[str, Any]) -> None:
    EMBEDDINGS.check(body)
    assert EMBEDDINGS.bypass(body) is None


def test_a_stored_answer_is_not_streamed() -> None:
    with pytest.raises(InvalidRequest, match=r"^stream: "):
        EMBEDDINGS.replay(ONE, Response(b"{}"))
    assert EMBEDDINGS.replayable(ONE, Response(b"{}")) is None
    assert EMBEDDINGS.closing == b""


def test_events_make_no_embeddings() -> None:
    with pytest.raises(ValueError, match="not streamed"):
        EMBEDDINGS.assemble([b"{}"])
    progress = EMBEDDINGS.progress()
    with pytest.raises(ValueError, match="not streamed"):
        progress.note({})
    assert progress.missing() == "without an answer: embeddings are not streamed"


def test_a_text_is_no_embedding() -> None:
    with pytest.raises(UpstreamInvalidAnswer, match="expected a mapping with 'data'"):
        EMBEDDINGS.answer(ONE, "text")


def test_an_answer_of_numbers_has_no_text_and_acts_on_nothing() -> None:
    document = {"data": [{"index": 0, "embedding": [1.0]}]}
    assert EMBEDDINGS.text(document) == EMBEDDINGS.delta(document) == ""
    assert not EMBEDDINGS.acts(Response(orjson.dumps(document)))


def test_only_fields_that_are_there_are_renewed() -> None:
    plain, whole = b'{"object":"list","data":[]}', b'{"id":"embd-1","created":1,"data":[0.5]}'
    assert orjson.loads(EMBEDDINGS.renewed(plain, token="f" * 32, now=2)) == orjson.loads(plain)
    assert orjson.loads(EMBEDDINGS.renewed(whole, token="f" * 32, now=2)) == {
        "id": "embd-" + "f" * 32,
        "created": 2,
        "data": [0.5],
    }


def test_an_error_is_told_as_openai_tells_it() -> None:
    assert orjson.loads(EMBEDDINGS.failure(401, "no"))["error"]["type"] == "authentication_error"
    assert EMBEDDINGS.event(b"{}") == b"data: {}\n\n"


def test_its_requests_can_be_divided_and_those_of_others_cannot() -> None:
    assert isinstance(EMBEDDINGS, Divisible)
    assert not isinstance(find_dialect("completions"), Divisible)
    assert not isinstance(find_dialect("chat.completions"), Divisible)
