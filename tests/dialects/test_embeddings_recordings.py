"""The dialect on transcripts of the wire, read by the official client before and after."""

from __future__ import annotations

from typing import Any, Final

import openai
import orjson
import pytest

from asynccache._models import Response
from asynccache.dialects.embeddings import Embeddings
from tests.dialects._openai_wire import asking, names, transcript

EMBEDDINGS: Final = Embeddings()
FOLDER: Final = "openai-embeddings"
TEXTS: Final = ["one", "two", "three"]
GOOD: Final[dict[str, Any]] = {
    "openai_single": "one",
    "openai_single_base64": "one",
    "openai_batch": TEXTS,
    "openai_batch_base64": TEXTS,
    "openai_tokens_batch": [[1, 2, 3], [4, 5]],
    "vllm_batch": TEXTS[:2],
    "out_of_order": TEXTS,
}
"""Complete answers, and the input of each."""
BAD: Final = {
    "one_missing": "2 embeddings came where 3 were asked for",
    "empty_vector": "an embedding is empty",
    "no_data": "there are no embeddings",
    "nan_base64": "an embedding holds a number that is not finite",
    "flat_error_200": "the answer carries an error",
    "openai_400_input": "the answer carries an error",
    "openai_401": "the answer carries an error",
}


def body(name: str) -> dict[str, Any]:
    given = {**GOOD, "one_missing": TEXTS, "empty_vector": TEXTS[:2]}.get(name, "one")
    encoding = {"encoding_format": "base64"} if name.endswith("base64") else {}
    return {"model": "m", "input": given, **encoding}


def response(name: str) -> Response:
    return Response(transcript(FOLDER, name).body)


def test_every_transcript_is_covered() -> None:
    assert {*GOOD, *BAD} == set(names(FOLDER))


@pytest.mark.parametrize("name", GOOD)
def test_a_complete_answer_may_be_stored(name: str) -> None:
    assert EMBEDDINGS.verdict(body(name), response(name)) is None


@pytest.mark.parametrize(("name", "reason"), BAD.items())
def test_any_other_answer_is_refused(name: str, reason: str) -> None:
    assert EMBEDDINGS.verdict(body(name), response(name)) == reason


def remade(name: str) -> Response:
    """The answer taken apart and put together again, where it can be."""
    parts = EMBEDDINGS.divide(body(name)) or [body(name)]
    return EMBEDDINGS.merge(EMBEDDINGS.distribute(parts, response(name)))


@pytest.mark.parametrize("name", GOOD)
def test_a_remade_answer_is_the_original_in_order(name: str) -> None:
    document, original = orjson.loads(remade(name).body), orjson.loads(response(name).body)
    original["data"].sort(key=lambda item: item["index"])
    original["usage"].pop("prompt_tokens_details", None)
    assert document == original


def sent(document: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(document) + document


@pytest.mark.anyio
@pytest.mark.parametrize("name", [name for name in GOOD if name not in ("out_of_order", "vllm_batch")])
async def test_the_official_client_reads_a_remade_answer_as_the_original(name: str) -> None:
    asked = body(name)
    if not name.endswith("base64"):
        asked["encoding_format"] = "float"
    async with asking(transcript(FOLDER, name).wire, sent(remade(name).body)) as client:
        original = await client.embeddings.create(**asked)
        again = await client.embeddings.create(**asked)
    assert again == original
    assert len(original.data) == len(EMBEDDINGS.divide(asked) or [asked])


@pytest.mark.anyio
async def test_the_official_client_reads_both_forms_as_the_same_numbers() -> None:
    answers = [transcript(FOLDER, name).wire for name in ("openai_batch", "openai_batch_base64")]
    async with asking(*answers) as client:
        numbers = await client.embeddings.create(model="m", input=TEXTS, encoding_format="float")
        decoded = await client.embeddings.create(model="m", input=TEXTS)
    for one, other in zip(numbers.data, decoded.data, strict=True):
        assert other.embedding == pytest.approx(one.embedding)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["openai_400_input", "openai_401"])
async def test_the_official_client_refuses_what_the_dialect_refuses(name: str) -> None:
    async with asking(transcript(FOLDER, name).wire) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.embeddings.create(model="m", input="one")
    assert caught.value.status_code == transcript(FOLDER, name).status
