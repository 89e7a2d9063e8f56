"""Answers that no server should send raise nothing but what is documented."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynccache._models import Cost, Response
from tests.dialects._mutations import RECORDED, Recorded, documents, streams

TOKEN: Final = "0" * 32

each_dialect = pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: each.dialect.name)
streaming = pytest.mark.parametrize(
    "recorded", [each for each in RECORDED if each.streams], ids=lambda each: each.dialect.name
)
thorough = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def judge(recorded: Recorded, response: Response) -> str | None:
    """All that never raises, whatever the answer."""
    dialect = recorded.dialect
    reason = dialect.verdict(recorded.body, response)
    assert reason is None or isinstance(reason, str)
    assert isinstance(dialect.cost(response), Cost)
    assert isinstance(dialect.acts(response), bool)
    return reason


def read(recorded: Recorded, payload: bytes) -> None:
    """All that never raises, whatever the JSON."""
    document = orjson.loads(payload)
    assert isinstance(recorded.dialect.text(document), str)
    assert isinstance(recorded.dialect.delta(document), str)
    assert recorded.dialect.event(payload)


def replay(recorded: Recorded, response: Response) -> list[bytes] | None:
    with suppress(ValueError):
        return list(recorded.dialect.replay(recorded.body, response))
    return None


@each_dialect
@thorough
@given(data=st.data())
def test_a_whole_answer_is_judged_read_and_replayed(recorded: Recorded, data: st.DataObject) -> None:
    payload = data.draw(documents(recorded))
    response = Response(payload)
    judge(recorded, response)
    read(recorded, payload)
    replay(recorded, response)


@streaming
@thorough
@given(data=st.data())
def test_a_streamed_answer_is_assembled_judged_and_read(recorded: Recorded, data: st.DataObject) -> None:
    frames = data.draw(streams(recorded))
    progress = recorded.dialect.progress()
    for frame in frames:
        read(recorded, frame)
        document = orjson.loads(frame)
        if isinstance(document, dict):
            with suppress(ValueError):
                progress.note(document)
    progress.missing()
    with suppress(ValueError):
        response = Response(recorded.dialect.assemble(frames), frames)
        judge(recorded, response)
        read(recorded, response.body)
        replay(recorded, response)


@streaming
@thorough
@given(data=st.data())
def test_an_answer_that_may_be_stored_is_replayed_with_the_same_text(
    recorded: Recorded, data: st.DataObject
) -> None:
    good = [each for each in recorded.documents if _stored(recorded, orjson.dumps(each))]
    payload = data.draw(documents(recorded._replace(documents=good)))
    if not _stored(recorded, payload):
        return
    if payload.count(b"[") > 250:  # orjson reads more levels than it writes
        return
    dialect = recorded.dialect
    frames = list(dialect.replay(recorded.body, Response(payload)))
    for frame in frames:
        dialect.renewed(frame, token=TOKEN, now=1)
        dialect.addressed(recorded.body, frame)
    again = dialect.assemble(frames)
    assert dialect.text(orjson.loads(again)) == dialect.text(orjson.loads(payload))
    assert dialect.acts(Response(again)) == dialect.acts(Response(payload))


def _stored(recorded: Recorded, payload: bytes) -> bool:
    return recorded.dialect.verdict(recorded.body, Response(payload)) is None


@each_dialect
@given(
    payload=st.binary(max_size=40)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ).map(orjson.dumps)
)
def test_what_is_no_answer_at_all_is_refused_and_read_as_empty(recorded: Recorded, payload: bytes) -> None:
    for response in (Response(payload), Response(payload, (payload,))):
        assert judge(recorded, response) is not None
        assert recorded.dialect.cost(response) == Cost()
        replay(recorded, Response(payload))
    with suppress(ValueError):
        assert recorded.dialect.text(orjson.loads(payload)) == ""
        assert recorded.dialect.delta(orjson.loads(payload)) == ""
    with suppress(ValueError):
        recorded.dialect.assemble((payload,))


@pytest.mark.parametrize("name", ["chat.completions", "messages", "responses"])
@pytest.mark.parametrize("payload", [b"{", b"[]", b'{"choices": [1], "content": [1], "output": [1]}'])
def test_an_answer_that_cannot_be_read_may_call_a_tool(name: str, payload: bytes) -> None:
    [dialect] = [each.dialect for each in RECORDED if each.dialect.name == name]
    assert dialect.acts(Response(payload[:-1] + b' "tool_calls" "tool_use"'))
    assert name != "responses" or dialect.acts(Response(payload))


@pytest.mark.parametrize("logprobs", [[], 7, "x", {}])
def test_log_probabilities_of_an_unknown_form_are_replayed(logprobs: Any) -> None:
    for recorded, text in ((RECORDED[0], {"message": {"content": "hi"}}), (RECORDED[1], {"text": "hi"})):
        choice = {"index": 0, **text, "logprobs": logprobs, "finish_reason": "stop"}
        frames = list(recorded.dialect.replay(recorded.body, Response(orjson.dumps({"choices": [choice]}))))
        again = orjson.loads(recorded.dialect.assemble(frames))
        assert again["choices"] == [choice]


@pytest.mark.parametrize(
    ("block", "delta"),
    [
        ({"text": 5}, {"type": "text_delta", "text": "x"}),
        ({"citations": 5}, {"type": "citations_delta", "citation": {}}),
        ({}, {"type": ["text_delta"], "text": "x"}),
    ],
)
def test_a_delta_that_does_not_fit_its_block_makes_no_message(block: Any, delta: Any) -> None:
    events: list[Any] = [
        {"type": "message_start", "message": {"type": "message"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", **block}},
        {"type": "content_block_delta", "index": 0, "delta": delta},
    ]
    with pytest.raises(ValueError, match="a delta"):
        RECORDED[3].dialect.assemble(list(map(orjson.dumps, events)))


def test_there_are_answers_to_change() -> None:
    good: dict[str, Any] = {}
    for recorded in RECORDED:
        good[recorded.dialect.name] = sum(
            _stored(recorded, orjson.dumps(each)) for each in recorded.documents
        )
    assert min(good.values()) > 0, good
