"""Frames into a text completion's document, and a stored document into frames."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache._models import Response
from asynccache._registry import find_dialect

COMPLETIONS: Final = find_dialect("completions")
BODY: Final[dict[str, Any]] = {"prompt": "Once", "stream": True}
COUNTED: Final = {**BODY, "stream_options": {"include_usage": True}}


def assembled(*frames: bytes) -> Any:
    return orjson.loads(COMPLETIONS.assemble(frames))


texts = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json = st.none() | st.booleans() | numbers | texts | st.dictionaries(texts, numbers, max_size=2)
unknown = st.dictionaries(texts.map("x_".__add__), json, max_size=2)


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(of, max_size=3)


def with_unknown(known: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda some, more: {**more, **some}, known, unknown)


log_probabilities = with_unknown(
    st.fixed_dictionaries(
        {},
        optional={
            "tokens": lists(texts),
            "token_logprobs": lists(st.none() | numbers),
            "top_logprobs": lists(st.none() | st.dictionaries(texts, numbers, max_size=2)),
            "text_offset": lists(st.integers(0, 99)),
        },
    )
)
chosen = with_unknown(
    st.fixed_dictionaries(
        {"text": texts, "finish_reason": st.none() | st.sampled_from(["stop", "length"])},
        optional={
            "logprobs": st.none() | log_probabilities,
            "stop_reason": st.none() | st.integers(0, 9) | texts,
            "token_ids": lists(st.integers(0, 9)),
            "prompt_token_ids": lists(st.integers(0, 9)),
            "prompt_logprobs": lists(st.none() | st.dictionaries(texts, json, max_size=1)),
        },
    )
)
documents = with_unknown(
    st.fixed_dictionaries(
        {
            "object": st.just("text_completion"),
            "choices": st.lists(chosen, min_size=1, max_size=4).map(
                lambda choices: [{"index": index, **choice} for index, choice in enumerate(choices)]
            ),
        },
        optional={
            "id": texts,
            "created": st.integers(0, 2**40),
            "model": st.none() | texts,
            "system_fingerprint": st.none() | texts,
            "usage": st.none() | with_unknown(st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9)})),
        },
    )
)


@given(documents)
def test_a_document_comes_back_from_its_frames(document: dict[str, Any]) -> None:
    frames = tuple(COMPLETIONS.replay(COUNTED, Response(orjson.dumps(document))))
    assert assembled(*frames) == document


@given(documents)
def test_made_frames_carry_usage_only_if_asked_for(document: dict[str, Any]) -> None:
    frames = tuple(COMPLETIONS.replay(BODY, Response(orjson.dumps(document))))
    document.pop("usage", None)
    assert assembled(*frames) == document


@given(documents)
def test_made_frames_are_a_complete_stream_exactly_if_every_choice_is_finished(
    document: dict[str, Any],
) -> None:
    progress = COMPLETIONS.progress()
    for frame in COMPLETIONS.replay(BODY, Response(orjson.dumps(document))):
        progress.note(orjson.loads(frame))
    finished = all(choice["finish_reason"] for choice in document["choices"])
    assert (progress.missing() is None) is finished


@given(documents)
def test_the_deltas_of_made_frames_add_up_to_the_text(document: dict[str, Any]) -> None:
    frames = COMPLETIONS.replay(BODY, Response(orjson.dumps(document)))
    deltas = "".join(COMPLETIONS.delta(orjson.loads(frame)) for frame in frames)
    assert deltas == COMPLETIONS.text(document) == document["choices"][0]["text"]


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 1}])
def test_a_stream_with_usage_is_made_only_of_an_answer_that_has_some(usage: Any) -> None:
    document = orjson.dumps({"choices": [{"index": 0, "text": "a"}], "usage": usage})
    reason = None if usage else "usage was not recorded"
    assert COMPLETIONS.replayable(COUNTED, Response(document)) == reason
    assert COMPLETIONS.replayable(BODY, Response(document)) is None


@pytest.mark.parametrize(
    "frames",
    [
        (),
        (b"{}",),
        (b"[]",),
        (b'{"choices":{}}',),
        (b'{"choices":[{"text":"a"}]}',),
        (b'{"choices":[{"index":0,"text":"a"}]}', b'{"choices":[{"index":0,"text":["b"]}]}'),
    ],
)
def test_what_is_no_stream_cannot_be_assembled(frames: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match=r"choice|object|list|type"):
        COMPLETIONS.assemble(frames)


def test_what_is_no_completion_cannot_be_replayed() -> None:
    with pytest.raises(ValueError, match="no choices"):
        COMPLETIONS.replay(BODY, Response(b"{}"))


def test_padding_on_the_wire_is_no_part_of_the_document() -> None:
    frames = [b'{"choices":[{"index":0,"text":"a"}],"obfuscation":"%b"}' % word for word in (b"x", b"yz")]
    assert "obfuscation" not in assembled(*frames)


def test_a_plain_text_becomes_a_document_that_may_be_stored() -> None:
    document = COMPLETIONS.answer({"prompt": "Once", "model": "m"}, " upon a time")
    assert document["model"] == "m"
    assert COMPLETIONS.text(document) == " upon a time"
    assert COMPLETIONS.verdict({"prompt": "Once"}, Response(orjson.dumps(document))) is None
    assert not COMPLETIONS.acts(Response(orjson.dumps(document)))


def test_a_plain_text_is_no_answer_to_several_prompts() -> None:
    document = orjson.dumps(COMPLETIONS.answer({}, "text"))
    assert COMPLETIONS.verdict({"prompt": ["a", "b"]}, Response(document)) is not None


@pytest.mark.parametrize("document", [None, [], {}, {"choices": {}}, {"choices": [1]}, {"choices": [{}]}])
def test_a_document_of_another_form_has_no_text(document: Any) -> None:
    assert COMPLETIONS.text(document) == ""


def test_an_answer_handed_out_anew_keeps_all_but_its_id_and_time() -> None:
    before = b'{"id":"cmpl-1","created":1,"choices":[{"index":0,"text":"a"}]}'
    after = orjson.loads(COMPLETIONS.renewed(before, token="f" * 32, now=2))
    assert after == {**orjson.loads(before), "id": "cmpl-" + "f" * 32, "created": 2}


def test_an_error_is_told_as_openai_tells_it() -> None:
    error = orjson.loads(COMPLETIONS.failure(400, "no", field="prompt"))["error"]
    assert (error["message"], error["param"], error["type"]) == ("no", "prompt", "invalid_request_error")
    assert COMPLETIONS.event(b"{}") == b"data: {}\n\n"
    assert COMPLETIONS.closing == b"data: [DONE]\n\n"
