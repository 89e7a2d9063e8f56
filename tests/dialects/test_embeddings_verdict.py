"""Law: no embedding is stored unless every input has one, whole and of finite numbers."""

from __future__ import annotations

import struct
from base64 import b64encode
from typing import Any, Final

import orjson
import pytest

from asynccache._models import Response
from asynccache._registry import find_dialect

EMBEDDINGS: Final = find_dialect("embeddings")


def encoded(*numbers: float, form: str = "<{}f") -> str:
    return b64encode(struct.pack(form.format(len(numbers)), *numbers)).decode()


def judged(*vectors: Any, data: Any = None, **fields: Any) -> str | None:
    items = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(vectors)]
    body = {"input": ["text"] * max(1, len(vectors)), **fields}
    return EMBEDDINGS.verdict(body, Response(orjson.dumps({"data": items if data is None else data})))


@pytest.mark.parametrize(
    "vectors",
    [
        ([0.5],),
        ([0.5, -1, 1e-9],),
        ([0.5, 1], [0, 0]),
        (encoded(0.5, 1.0),),
        (encoded(0.5), encoded(3.4e38)),
        (encoded(3.4e38, 3.4e38, -3.4e38),),
        ([0.5, 1], encoded(0.5, 1.0)),
    ],
)
def test_whole_embeddings_may_be_stored(vectors: tuple[Any, ...]) -> None:
    assert judged(*vectors) is None


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ([], "an embedding is empty"),
        ("", "an embedding is empty"),
        (None, "an embedding is neither a list nor base64"),
        ({"0": 1}, "an embedding is neither a list nor base64"),
        ([0.5, None], "an embedding holds what is no number"),
        ([0.5, True], "an embedding holds what is no number"),
        (["0.5"], "an embedding holds what is no number"),
        ([[0.5]], "an embedding holds what is no number"),
        ("a text", "an embedding is not base64"),
        ("AAA=A", "an embedding is not base64"),
        ("\u00e9", "an embedding is not base64"),
        (b64encode(b"12345").decode(), "an embedding is not of whole float32 numbers"),
        (encoded(0.5, float("nan")), "an embedding holds a number that is not finite"),
        (encoded(float("inf"), float("-inf")), "an embedding holds a number that is not finite"),
    ],
)
def test_what_is_no_embedding_is_refused(vector: Any, reason: str) -> None:
    assert judged(vector) == reason
    assert judged([0.5], vector) == reason


def test_embeddings_of_several_lengths_are_refused() -> None:
    assert judged([0.5], [0.5, 1]) == "the embeddings differ in length"
    assert judged([0.5], encoded(0.5, 1.0)) == "the embeddings differ in length"


def test_embeddings_of_other_dimensions_than_asked_for_are_refused() -> None:
    assert judged([0.5, 1], dimensions=3) == "the embeddings have other dimensions than asked for"
    assert judged([0.5, 1], dimensions=2.0) is None
    assert judged(encoded(0.5, 1.0), dimensions=2) is None


@pytest.mark.parametrize("fields", [{"embed_dtype": "float16"}, {"endianness": "big"}])
def test_of_numbers_in_another_form_only_the_length_is_looked_at(fields: dict[str, Any]) -> None:
    two, three = encoded(0.5, float("nan"), form="<{}e"), encoded(0.5, 1.0, 2.0, form="<{}e")
    assert judged(two, two, **fields) is None
    assert judged(two, three, **fields) == "the embeddings differ in length"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "there are no embeddings"),
        ({}, "there are no embeddings"),
        ([1], "an embedding is not an object"),
        ([{"index": 0, "embedding": [1]}] * 2, "2 embeddings came where 1 were asked for"),
        ([{"index": 1, "embedding": [1]}], "the embeddings are not numbered from 0"),
        ([{"index": True, "embedding": [1]}], "the embeddings are not numbered from 0"),
        ([{"index": [], "embedding": [1]}], "the embeddings are not numbered from 0"),
        ([{"embedding": [1]}], "the embeddings are not numbered from 0"),
    ],
)
def test_every_input_must_have_its_embedding(data: Any, reason: str) -> None:
    assert judged(data=data) == reason


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"input": "a"}, 1),
        ({"input": [1, 2, 3]}, 1),
        ({"input": [[1], [2]]}, 2),
        ({"input": ["a", "b", "c"]}, 3),
        ({"input": None, "messages": [{"role": "user", "content": "a"}]}, 1),
    ],
)
def test_inputs_are_counted_as_they_are_spelled(fields: dict[str, Any], expected: int) -> None:
    assert judged(*[[0.5]] * expected, **fields) is None
    assert judged(*[[0.5]] * (expected + 1), **fields) is not None


def test_two_embeddings_of_one_number_are_refused() -> None:
    items = [{"index": 0, "embedding": [0.5]}] * 2
    assert judged(data=items, input=["a", "b"]) == "the embeddings are not numbered from 0"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the answer is not JSON"),
        (b"[]", "the answer is not an object"),
        (b'{"error":{"message":"no"}}', "the answer carries an error"),
        (b'{"object":"error","message":"no"}', "the answer carries an error"),
    ],
)
def test_what_is_no_answer_is_refused(body: bytes, reason: str) -> None:
    assert EMBEDDINGS.verdict({"input": "a"}, Response(body)) == reason
