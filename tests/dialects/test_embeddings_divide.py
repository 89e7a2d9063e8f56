"""A batch of inputs as single ones, and their answers as one."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache._models import Response
from asynccache.dialects.embeddings import Embeddings

EMBEDDINGS: Final = Embeddings()

texts = st.text(st.characters(codec="utf-8"), max_size=9)
tokens = st.lists(st.integers(0, 9), min_size=1, max_size=9)
inputs = st.lists(texts, min_size=2, max_size=5) | st.lists(tokens, min_size=2, max_size=5)
counts = st.integers(0, 10**6)


def answer(number: int, **fields: Any) -> Response:
    data = [{"object": "embedding", "index": index, "embedding": [index, 0.5]} for index in range(number)]
    return Response(orjson.dumps({"object": "list", "data": data, "model": "m", **fields}))


def usages(parts: list[Response]) -> list[dict[str, Any]]:
    return [orjson.loads(part.body)["usage"] for part in parts]


@given(inputs, counts, counts)
def test_the_answers_of_the_parts_make_the_answer_to_the_whole(
    given: list[Any], prompt: int, total: int
) -> None:
    parts = EMBEDDINGS.divide({"input": given}) or []
    whole = answer(len(given), usage={"prompt_tokens": prompt, "total_tokens": total})
    merged = EMBEDDINGS.merge(EMBEDDINGS.distribute(parts, whole))
    assert orjson.loads(merged.body) == orjson.loads(whole.body)


@given(inputs, counts)
def test_each_part_is_the_good_answer_to_a_request_for_it_alone(given: list[Any], prompt: int) -> None:
    parts = EMBEDDINGS.divide({"input": given, "model": "m"}) or []
    answers = EMBEDDINGS.distribute(parts, answer(len(given), usage={"prompt_tokens": prompt}))
    for index, (part, alone) in enumerate(zip(parts, answers, strict=True)):
        assert EMBEDDINGS.verdict(part, alone) is None
        document = orjson.loads(alone.body)
        assert document["data"] == [{"object": "embedding", "index": 0, "embedding": [index, 0.5]}]
        assert 0 <= document["usage"]["prompt_tokens"] <= prompt
        assert EMBEDDINGS.cost(alone).prompt_tokens == document["usage"]["prompt_tokens"]


@given(st.lists(tokens, min_size=2, max_size=5))
def test_tokens_are_counted_exactly_where_they_were_given(given: list[list[int]]) -> None:
    parts = EMBEDDINGS.divide({"input": given}) or []
    total = sum(map(len, given))
    made = EMBEDDINGS.distribute(parts, answer(len(given), usage={"total_tokens": total}))
    assert [usage["total_tokens"] for usage in usages(made)] == [len(each) for each in given]


def test_what_cannot_be_shared_out_is_left_out() -> None:
    parts = EMBEDDINGS.divide({"input": ["a", "b"]}) or []
    usage = {"prompt_tokens": 4, "prompt_tokens_details": {"cached_tokens": 1}, "cost": 0.1}
    made = EMBEDDINGS.distribute(parts, answer(2, usage=usage))
    assert usages(made) == [{"prompt_tokens": 2}, {"prompt_tokens": 2}]


def test_a_single_part_keeps_the_usage_as_it_came() -> None:
    usage = {"prompt_tokens": 4, "prompt_tokens_details": None}
    made = EMBEDDINGS.distribute([{"input": "a"}], answer(1, usage=usage))
    assert usages(made) == [usage]


def test_empty_texts_share_equally() -> None:
    parts = EMBEDDINGS.divide({"input": ["", ""]}) or []
    assert usages(EMBEDDINGS.distribute(parts, answer(2, usage={"a": 4}))) == [{"a": 2}, {"a": 2}]


@pytest.mark.parametrize("fields", [{}, {"usage": None}, {"usage": "free"}])
def test_an_answer_without_usage_can_be_told_apart_and_put_together(fields: dict[str, Any]) -> None:
    parts = EMBEDDINGS.divide({"input": ["a", "b"]}) or []
    whole = answer(2, **fields)
    merged = orjson.loads(EMBEDDINGS.merge(EMBEDDINGS.distribute(parts, whole)).body)
    assert merged.get("usage") is None
    assert merged["data"] == orjson.loads(whole.body)["data"]


def test_embeddings_that_came_out_of_order_go_to_their_inputs() -> None:
    document = orjson.loads(answer(3).body)
    document["data"].reverse()
    parts = EMBEDDINGS.divide({"input": ["a", "b", "c"]}) or []
    made = EMBEDDINGS.distribute(parts, Response(orjson.dumps(document)))
    assert [orjson.loads(each.body)["data"][0]["embedding"] for each in made] == [
        [0, 0.5],
        [1, 0.5],
        [2, 0.5],
    ]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"error":"no"}', b'{"data":[]}', answer(1).body, answer(3).body]
)
def test_what_is_no_answer_to_all_cannot_be_told_apart(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|embeddings"):
        EMBEDDINGS.distribute([{"input": "a"}, {"input": "b"}], Response(body))


def test_what_is_no_answer_to_one_cannot_be_put_together() -> None:
    with pytest.raises(ValueError, match="2 embeddings came where 1 were asked for"):
        EMBEDDINGS.merge([answer(1), answer(2)])


@pytest.mark.parametrize(
    "body", [{"input": "a"}, {"input": ["a"]}, {"input": [1, 2]}, {"input": [[1]]}, {"messages": [{}]}]
)
def test_a_request_for_one_thing_is_not_divided(body: dict[str, Any]) -> None:
    assert EMBEDDINGS.divide(body) is None


def test_parts_keep_every_other_field() -> None:
    body = {"input": ["a", "b", "c"], "model": "m", "user": "u"}
    parts = EMBEDDINGS.divide(body) or []
    assert parts[1] == {"input": "b", "model": "m", "user": "u"}
    assert EMBEDDINGS.join(body, [parts[2], parts[0]]) == {**body, "input": ["c", "a"]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"model": "m"}, {"model": "n"}),
        ({"model": "m"}, {}),
        ({"embedding": [0.5]}, {"embedding": [0.5, 0.5]}),
        ({"embedding": [0.5] * 12}, {"embedding": "AAAAAAAAAAA="}),
    ],
)
def test_embeddings_of_different_models_or_lengths_are_not_merged(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    def part(embedding: Any = None, **fields: Any) -> Response:
        item = {"object": "embedding", "index": 0, "embedding": embedding or [0.5]}
        return Response(orjson.dumps({"object": "list", "data": [item], **fields}))

    with pytest.raises(ValueError, match=r"the embeddings (are of different models|differ in length)"):
        EMBEDDINGS.merge([part(**first), part(**second)])


def test_embeddings_of_two_lengths_in_one_answer_are_not_told_apart() -> None:
    data = [{"object": "embedding", "index": n, "embedding": [0.5] * (n + 1)} for n in range(2)]
    with pytest.raises(ValueError, match="differ in length"):
        EMBEDDINGS.distribute(
            [{"input": "a"}, {"input": "b"}], Response(orjson.dumps({"object": "list", "data": data}))
        )


def test_counts_that_are_none_add_nothing_to_the_usage() -> None:
    parts = [answer(1, usage={"total_tokens": 3}), answer(1, usage={"total_tokens": "x"})]
    assert orjson.loads(EMBEDDINGS.merge(parts).body)["usage"] == {"total_tokens": 3}


@pytest.mark.parametrize("body", [b"[]", b"1", b"{", b'{"data":[1]}'])
def test_what_is_no_answer_is_not_merged(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        EMBEDDINGS.merge([Response(body)])
