"""Events into a response, and a stored response into events."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache._models import Response
from asynccache.dialects.responses import Responses

RESPONSES: Final = Responses()
BODY: Final[dict[str, Any]] = {"input": "hi", "stream": True}


def assembled(*frames: Any) -> Any:
    return orjson.loads(RESPONSES.assemble([orjson.dumps(frame) for frame in frames]))


def replayed(document: Any) -> list[dict[str, Any]]:
    return [orjson.loads(frame) for frame in RESPONSES.replay(BODY, Response(orjson.dumps(document)))]


# --- A response comes back from its events.

texts = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
unknown = st.dictionaries(texts.map("x_".__add__), json, max_size=2)
statuses = st.none() | st.sampled_from(["completed", "incomplete"])


def with_unknown(known: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda some, more: {**more, **some}, known, unknown)


words = with_unknown(
    st.fixed_dictionaries(
        {"type": st.just("output_text"), "text": texts},
        optional={
            "annotations": st.none() | st.lists(json, max_size=2),
            "logprobs": st.none() | st.lists(json, max_size=2),
        },
    )
)
refusals = with_unknown(st.fixed_dictionaries({"type": st.just("refusal"), "refusal": texts}))
thoughts = with_unknown(st.fixed_dictionaries({"type": st.just("reasoning_text"), "text": texts}))
summaries = with_unknown(st.fixed_dictionaries({"type": st.just("summary_text"), "text": texts}))
others = with_unknown(st.fixed_dictionaries({"type": texts}))
messages = with_unknown(
    st.fixed_dictionaries(
        {"type": st.just("message"), "role": st.just("assistant")},
        optional={"content": st.none() | st.lists(words | refusals | others, max_size=3)},
    )
)
reasonings = with_unknown(
    st.fixed_dictionaries(
        {"type": st.just("reasoning")},
        optional={
            "summary": st.none() | st.lists(summaries, max_size=2),
            "content": st.none() | st.lists(thoughts, max_size=2),
            "encrypted_content": st.none() | texts,
        },
    )
)
calls = with_unknown(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["function_call", "custom_tool_call", "web_search_call", "x"])},
        optional={"arguments": st.none() | texts, "input": st.none() | texts, "call_id": texts},
    )
)
items = st.builds(
    lambda item, more: {**item, **more},
    messages | reasonings | calls,
    st.fixed_dictionaries({}, optional={"id": st.none() | texts, "status": statuses}),
)
documents = with_unknown(
    st.fixed_dictionaries(
        {"object": st.just("response"), "output": st.lists(items, max_size=3)},
        optional={
            "id": texts,
            "created_at": st.integers(0, 2**40),
            "completed_at": st.none() | st.integers(0, 2**40),
            "status": st.sampled_from(["completed", "incomplete", "failed"]),
            "usage": st.none() | with_unknown(st.fixed_dictionaries({"input_tokens": st.integers(0, 9)})),
            "error": json,
        },
    )
)


@given(documents)
def test_a_response_comes_back_from_its_events(document: dict[str, Any]) -> None:
    assert assembled(*replayed(document)) == document


@given(documents)
def test_a_response_comes_back_from_its_items_when_the_final_event_has_none(document: dict[str, Any]) -> None:
    *events, end = replayed(document)
    del end["response"]["output"]
    assert assembled(*events, end) == document


@given(documents)
def test_the_deltas_of_the_made_events_are_the_text(document: dict[str, Any]) -> None:
    assert "".join(map(RESPONSES.delta, replayed(document))) == RESPONSES.text(document)


@given(documents)
def test_the_made_events_are_numbered_and_complete(document: dict[str, Any]) -> None:
    events = replayed(document)
    assert [made["sequence_number"] for made in events] == list(range(len(events)))
    progress = RESPONSES.progress()
    missing = []
    for made in events:
        missing.append(progress.missing())
        progress.note(made)
    assert missing == ["without an answer"] + ["before the response was complete"] * (len(events) - 1)
    assert progress.missing() is None


WHOLE: Final[dict[str, Any]] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 7,
    "completed_at": 9,
    "status": "completed",
    "error": None,
    "output": [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "content": [{"type": "reasoning_text", "text": "a greeting"}],
        },
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "hello",
                    "annotations": [{"n": 1}],
                    "logprobs": [{"token": "h"}],
                },
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"id": "fc_1", "type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"id": "ct_1", "type": "custom_tool_call", "call_id": "b", "name": "g", "input": "x"},
        {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {}},
    ],
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


def test_made_events_have_the_order_and_shape_of_real_ones() -> None:
    events = replayed(WHOLE)
    assert [made["type"].removeprefix("response.") for made in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "output_item.added",
        "output_item.done",
        "completed",
    ]
    begun: dict[str, Any] = {"status": "in_progress", "completed_at": None, "output": [], "usage": None}
    assert events[0]["response"] == events[1]["response"] == {**WHOLE, **begun}
    assert events[2]["item"] == {"id": "rs_1", "type": "reasoning", "summary": [], "content": []}
    assert events[12]["item"] == {**WHOLE["output"][1], "status": "in_progress", "content": []}
    assert events[13] == {
        "type": "response.content_part.added",
        "sequence_number": 13,
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "part": {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    }
    assert events[14] == {
        "type": "response.output_text.delta",
        "sequence_number": 14,
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "logprobs": [{"token": "h"}],
        "delta": "hello",
    }
    assert events[23]["item"]["arguments"] == ""
    assert events[-1]["response"] == WHOLE


def test_recorded_frames_are_replayed_as_they_are() -> None:
    frames = (b'{"type": "response.completed",  "response": {}}',)
    assert tuple(RESPONSES.replay(BODY, Response(b"{}", frames))) == frames
    assert RESPONSES.replayable(BODY, Response(b"{}", frames)) is None


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"output": None}, {"output": [], "status": "queued"}, {"output": [], "status": None}],
)
def test_what_is_no_finished_response_cannot_be_replayed(document: Any) -> None:
    with pytest.raises(ValueError, match="the stored"):
        replayed(document)


@pytest.mark.parametrize("frames", [(), ({"type": "response.created", "response": {}},), ([1],)])
def test_frames_without_a_final_response_cannot_be_assembled(frames: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="frame"):
        assembled(*frames)


def test_items_are_put_in_the_order_of_their_places() -> None:
    done = [{"type": "response.output_item.done", "output_index": n, "item": {"id": n}} for n in (2, 0, 1)]
    end = {"type": "response.completed", "response": {"output": []}}
    assert assembled(*done, end) == {"output": [{"id": 0}, {"id": 1}, {"id": 2}]}


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_each_final_event_ends_the_answer(kind: str) -> None:
    progress = RESPONSES.progress()
    progress.note({"type": f"response.{kind}", "response": {}})
    assert progress.missing() is None


@pytest.mark.parametrize("document", [{}, {"type": 5}, {"choices": []}, {"type": "response.completed"}])
def test_an_event_that_no_response_has_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="event"):
        RESPONSES.progress().note(document)


def test_an_event_is_named_by_its_type() -> None:
    frame = b'{"type":"response.created","response":{}}'
    assert RESPONSES.event(frame) == b"event: response.created\ndata: " + frame + b"\n\n"
    assert RESPONSES.event(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert RESPONSES.event(b'{"type":\n"x"}') == b'event: x\ndata: {"type":\ndata: "x"}\n\n'


@pytest.mark.parametrize("field", [None, "input"])
def test_a_failure_in_a_stream_is_an_error_event(field: str | None) -> None:
    told = RESPONSES.failure(503, "the cache is closing", field=field)
    head, data, *rest = RESPONSES.event(told).split(b"\n")
    assert head == b"event: error"
    assert rest == [b"", b""]
    event = orjson.loads(data.removeprefix(b"data: "))
    assert event == {
        "type": "error",
        "sequence_number": 0,
        "code": "503",
        "message": "the cache is closing",
        "param": field,
        "error": orjson.loads(told)["error"],
    }


def test_an_upstreams_error_event_goes_out_as_it_came() -> None:
    flat = b'{"type":"error","code":"server_error","message":"m","param":null,"sequence_number":3}'
    assert RESPONSES.event(flat) == b"event: error\ndata: " + flat + b"\n\n"
    assert b'"message":"gone"' in RESPONSES.event(b'{"error":"gone"}')


TOKEN: Final = "0123456789abcdef" * 2


def renewed(payload: Any) -> Any:
    return orjson.loads(RESPONSES.renewed(orjson.dumps(payload), token=TOKEN, now=99))


def test_a_renewed_response_has_a_new_id_and_times_in_the_document_and_in_every_event() -> None:
    fresh = {**WHOLE, "id": f"resp_{TOKEN}", "created_at": 99, "completed_at": 99}
    assert renewed(WHOLE) == fresh
    events = [renewed(made) for made in replayed(WHOLE)]
    assert assembled(*events) == fresh
    assert {made["response"]["id"] for made in events if "response" in made} == {f"resp_{TOKEN}"}
    assert [made for made in events if "response" not in made] == [
        made for made in replayed(WHOLE) if "response" not in made
    ]
    assert events[0]["response"]["completed_at"] is None


def test_a_response_that_the_server_keeps_stays_known_by_its_id() -> None:
    assert renewed({**WHOLE, "store": True})["id"] == "resp_1"
    assert renewed({**WHOLE, "store": False})["id"] == f"resp_{TOKEN}"


def test_an_addressed_response_tells_of_its_own_request_alone() -> None:
    of_another = {
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "metadata": {"ticket": "7"},
    }
    stored = orjson.dumps({**WHOLE, **of_another})
    dialect = Responses()
    for payload in (stored, orjson.dumps({"type": "response.completed", "response": orjson.loads(stored)})):
        for asked, told in (
            ({}, {"user": None, "safety_identifier": None, "prompt_cache_key": None, "metadata": {}}),
            ({"user": "me", "metadata": {"a": "1"}}, {"user": "me", "metadata": {"a": "1"}}),
        ):
            made = orjson.loads(dialect.addressed(asked, payload))
            response = made.get("response", made)
            assert {name: response[name] for name in told} == told
            assert response["safety_identifier"] is None
        assert dialect.addressed(of_another, payload) == payload
    for frame in (b'{"type":"response.output_text.delta","delta":"u"}', orjson.dumps(WHOLE), b"[1]"):
        assert dialect.addressed({}, frame) == frame
