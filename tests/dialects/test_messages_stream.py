"""Events into a message, and a stored message into events."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccache._models import Response
from tests.dialects._messages_wire import ASKED, MESSAGES

START: Final = {"type": "message_start", "message": {"type": "message", "content": [], "stop_reason": None}}
TEXT: Final = {"type": "text", "text": ""}


def begins(block: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def grows(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def ends(**fields: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **fields}


def assembled(*events: dict[str, Any]) -> Any:
    return orjson.loads(MESSAGES.assemble([orjson.dumps(event) for event in events]))


def replayed(document: bytes) -> list[bytes]:
    return list(MESSAGES.replay(ASKED, Response(document)))


texts = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
unknown = st.dictionaries(texts.map("x_".__add__), json, max_size=2)


def with_unknown(known: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda some, more: {**more, **some}, known, unknown)


blocks = st.one_of(
    with_unknown(
        st.fixed_dictionaries(
            {"type": st.just("text"), "text": texts},
            optional={"citations": st.none() | st.lists(json, max_size=2)},
        )
    ),
    with_unknown(
        st.fixed_dictionaries(
            {"type": st.just("thinking"), "thinking": texts}, optional={"signature": st.none() | texts}
        )
    ),
    with_unknown(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["tool_use", "server_tool_use", "mcp_tool_use"]), "name": texts},
            optional={"id": texts, "input": st.dictionaries(texts, json, max_size=3) | json},
        )
    ),
    with_unknown(
        st.fixed_dictionaries({"type": texts | st.just("redacted_thinking")}, optional={"data": texts})
    ),
).filter(lambda block: block["type"] != "fallback")
messages = with_unknown(
    st.fixed_dictionaries(
        {"type": st.just("message"), "content": st.lists(blocks, max_size=3)},
        optional={
            "id": texts,
            "model": texts,
            "stop_reason": st.none() | texts,
            "stop_sequence": st.none() | texts,
            "stop_details": json,
            "usage": st.none() | with_unknown(st.fixed_dictionaries({}, optional={"output_tokens": json})),
        },
    )
)


@given(messages)
def test_a_document_comes_back_from_its_frames(message: dict[str, Any]) -> None:
    document = orjson.dumps(message)
    assert orjson.loads(MESSAGES.assemble(replayed(document))) == orjson.loads(document)


@given(messages)
def test_the_text_of_a_document_is_the_sum_of_its_deltas(message: dict[str, Any]) -> None:
    frames = replayed(orjson.dumps(message))
    assert "".join(MESSAGES.delta(orjson.loads(frame)) for frame in frames) == MESSAGES.text(message)


@given(messages, st.data())
def test_pieces_of_any_size_make_the_same_block(message: dict[str, Any], data: st.DataObject) -> None:
    document = orjson.dumps(message)
    pieces = []
    for frame in map(orjson.loads, replayed(document)):
        delta = frame.get("delta", {})
        field = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}.get(
            delta.get("type", "")
        )
        if frame["type"] == "content_block_delta" and field:
            cut = data.draw(st.integers(0, len(delta[field])))
            for piece in (delta[field][:cut], delta[field][cut:]):
                pieces += [{**frame, "delta": {**delta, field: piece}}, {"type": "ping"}]
        else:
            pieces.append(frame)
    assert assembled(*pieces) == orjson.loads(document)


def test_numbers_of_a_tools_input_keep_every_digit() -> None:
    number = b"123456789012345678901234567890"
    document = MESSAGES.assemble(
        [
            orjson.dumps(event)
            for event in (
                START,
                begins({"type": "tool_use", "name": "f", "input": {}}),
                grows(type="input_json_delta", partial_json='{"id": ' + number.decode()),
                grows(type="input_json_delta", partial_json="}"),
                ends(),
            )
        ]
    )
    assert number in document
    assert number in b"".join(replayed(document))
    assert number in MESSAGES.renewed(document, token="0" * 32, now=1)


def test_blocks_stand_in_the_order_of_their_index() -> None:
    events = [begins({**TEXT, "text": str(index)}, index) for index in (2, 0, 1)]
    assert [block["text"] for block in assembled(START, *events)["content"]] == ["0", "1", "2"]


def test_a_signature_replaces_and_is_not_touched() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    made = assembled(START, begins(thinking), grows(type="signature_delta", signature="EqQ+/=="))
    assert made["content"] == [{**thinking, "signature": "EqQ+/=="}]


def test_a_block_may_begin_with_text() -> None:
    begun = begins({**TEXT, "text": "Hello"})
    assert assembled(START, begun, grows(type="text_delta", text=" you"))["content"][0]["text"] == "Hello you"


@pytest.mark.parametrize(
    ("block", "start", "deltas"),
    [
        (
            {"type": "text", "text": "a", "citations": [1, 2]},
            {"type": "text", "text": "", "citations": []},
            [
                {"type": "text_delta", "text": "a"},
                {"type": "citations_delta", "citation": 1},
                {"type": "citations_delta", "citation": 2},
            ],
        ),
        (
            {"type": "thinking", "thinking": "a", "signature": "b"},
            {"type": "thinking", "thinking": "", "signature": ""},
            [{"type": "thinking_delta", "thinking": "a"}, {"type": "signature_delta", "signature": "b"}],
        ),
        (
            {"type": "tool_use", "id": "1", "name": "f", "input": {"a": "\u00fc"}},
            {"type": "tool_use", "id": "1", "name": "f", "input": {}},
            [{"type": "input_json_delta", "partial_json": '{"a":"\u00fc"}'}],
        ),
        (
            {"type": "server_tool_use", "name": "f", "input": {"a": 1}},
            {"type": "server_tool_use", "name": "f", "input": {}},
            [{"type": "input_json_delta", "partial_json": '{"a":1}'}],
        ),
        (
            {"type": "tool_use", "name": "f", "input": {}},
            {"type": "tool_use", "name": "f", "input": {}},
            [{"type": "input_json_delta", "partial_json": ""}],
        ),
        ({"type": "redacted_thinking", "data": "a"}, {"type": "redacted_thinking", "data": "a"}, []),
    ],
)
def test_a_block_is_told_in_the_deltas_of_its_kind(
    block: dict[str, Any], start: dict[str, Any], deltas: list[Any]
) -> None:
    document = {
        "type": "message",
        "content": [block],
        "stop_reason": "end_turn",
        "usage": {"output_tokens": 3},
    }
    assert [orjson.loads(frame) for frame in replayed(orjson.dumps(document))] == [
        {"type": "message_start", "message": {**document, "content": [], "stop_reason": None}},
        begins(start),
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]


def test_citations_are_gathered() -> None:
    cited = [grows(type="citations_delta", citation={"n": n}) for n in (1, 2)]
    assert assembled(START, begins(TEXT), *cited)["content"] == [{**TEXT, "citations": [{"n": 1}, {"n": 2}]}]


def test_a_compaction_is_whole_in_its_delta() -> None:
    block = {"type": "compaction", "content": None}
    delta = {"type": "compaction_delta", "content": "all of it", "encrypted_content": "abc"}
    whole = {"type": "compaction", "content": "all of it", "encrypted_content": "abc"}
    assert assembled(START, begins(block), {**grows(), "delta": delta})["content"] == [whole]


def test_the_model_that_answered_in_anothers_place_is_named() -> None:
    fallback = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
    assert assembled(START, begins(fallback))["model"] == "b"


def test_totals_replace_what_the_start_had_counted() -> None:
    start = {**START, "message": {**START["message"], "usage": {"input_tokens": 9, "output_tokens": 1}}}  # type: ignore[dict-item]  # its values are of two kinds
    usage = {"input_tokens": None, "output_tokens": 7, "server_tool_use": {"web_search_requests": 1}}
    made = assembled(start, ends(usage=usage, context_management={"applied_edits": []}))
    assert made["usage"] == {**usage, "input_tokens": 9}
    assert made["context_management"] == {"applied_edits": []}


def test_a_tools_input_that_is_no_json_stays_a_text() -> None:
    call = {"type": "tool_use", "name": "f", "input": {}}
    made = assembled(START, begins(call), grows(type="input_json_delta", partial_json='{"a'))
    assert made["content"][0]["input"] == '{"a'


def test_events_the_protocol_may_add_are_passed_over() -> None:
    assert assembled(START, {"type": "later", "index": "x"}, {"type": "ping"}, begins(TEXT))["content"] == [
        TEXT
    ]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "no frame begins a message"),
        ([{"type": "ping"}], "no frame begins a message"),
        ([{"choices": []}], "no frame begins a message"),
        ([{"type": "message_start", "message": {}}], "no frame begins a message"),
        ([{"type": "message_start"}], "an event has no message"),
        ([START, START], "a message has begun already"),
        ([{**START, "message": {"type": "message", "content": [TEXT]}}], "a message begins with content"),
        ([START, begins(TEXT), begins(TEXT)], "a content block begins twice"),
        ([START, {"type": "content_block_start", "index": 0}], "an event has no content_block"),
        ([START, begins(TEXT, index=True)], "a content block has no index"),
        ([START, grows(type="text_delta", text="a")], "a delta of a block that has not begun"),
        ([START, begins(TEXT), grows(type="text_delta")], "a delta brings no text"),
        ([START, begins(TEXT), grows(type="later", later="a")], "a delta of an unknown type"),
        ([START, {"type": "message_delta"}], "an event has no delta"),
        ([START, {"type": "error", "error": {}}], "a frame carries an error"),
    ],
)
def test_what_makes_no_message_is_refused(events: list[Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        assembled(*events)


@pytest.mark.parametrize("frame", [b"", b"[]", b"1", b"{"])
def test_a_frame_that_is_no_object_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (JSON's own words)
        MESSAGES.assemble([orjson.dumps(START), frame])


@pytest.mark.parametrize("document", [b"[]", b"{}", b'{"content": "a"}', b'{"content": ["a"]}', b"{"])
def test_what_is_no_message_cannot_be_replayed(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (its own words or JSON's)
        replayed(document)


def test_every_stream_can_be_given_from_every_answer() -> None:
    assert MESSAGES.replayable({**ASKED, "stream": True}, Response(b"{}")) is None


def test_a_stream_is_complete_once_stop_reason_and_message_stop_have_come() -> None:
    progress = MESSAGES.progress()
    told = [progress.missing()]
    for event in (START, {"type": "ping"}, ends(), {"type": "message_stop"}):
        progress.note(event)
        told.append(progress.missing())
    early = "before a stop_reason had come"
    assert told == ["without an answer", early, early, "before message_stop had come", None]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"choices": []}, "an event without a type"),
        ({"type": "message_delta"}, "a message_delta without a delta"),
        (START, "a second message_start"),
    ],
)
def test_an_event_no_answer_has_breaks_the_stream(event: dict[str, Any], words: str) -> None:
    progress = MESSAGES.progress()
    progress.note(START)
    with pytest.raises(ValueError, match=words):
        progress.note(event)


def test_a_null_stop_reason_does_not_finish_a_stream() -> None:
    progress = MESSAGES.progress()
    for event in (START, {"type": "message_delta", "delta": {"stop_reason": None}}, {"type": "message_stop"}):
        progress.note(event)
    assert progress.missing() == "before a stop_reason had come"
