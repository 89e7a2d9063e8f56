"""How the Messages dialect writes events, ids and errors, and what it reads out of answers."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from asynccache._models import Cost, Response
from asynccache._registry import find_dialect
from asynccache.dialects.messages import Messages
from tests.dialects._messages_wire import ASKED, MESSAGES

TOKEN: Final = "0123456789abcdef" * 2


def test_the_registry_knows_it() -> None:
    found = find_dialect("messages")
    assert isinstance(found, Messages)
    assert (found.name, found.path, found.closing) == ("messages", "/messages", b"")


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (b'{"type":"ping"}', b'event: ping\ndata: {"type":"ping"}\n\n'),
        (b'{ "type" : "ping" }', b'event: ping\ndata: { "type" : "ping" }\n\n'),
        (b'{"index":0,"type":"ping"}', b'event: ping\ndata: {"index":0,"type":"ping"}\n\n'),
        (b'{"delta":{"type":"a"},"type":"b"}', b'event: b\ndata: {"delta":{"type":"a"},"type":"b"}\n\n'),
        (b'{"type":"New.Kind-2"}', b'event: New.Kind-2\ndata: {"type":"New.Kind-2"}\n\n'),
        (b'{"type":"a\\nb"}', b'data: {"type":"a\\nb"}\n\n'),
        (b'{"type":1}', b'data: {"type":1}\n\n'),
        (b"[]", b"data: []\n\n"),
        (b"{", b"data: {\n\n"),
        (b'{\n"type":"ping"\r\n}', b'event: ping\ndata: {\ndata: "type":"ping"\ndata: }\n\n'),
    ],
)
def test_an_event_is_named_by_the_type_of_its_frame(frame: bytes, event: bytes) -> None:
    assert MESSAGES.event(frame) == event


@pytest.mark.parametrize(
    ("payload", "renewed"),
    [
        (b'{"id":"msg_1","type":"message"}', b'{"id":"msg_%b","type":"message"}'),
        (
            b'{"type":"message_start","message":{"id": "a"} }',
            b'{"type":"message_start","message":{"id": "msg_%b"} }',
        ),
        (b'{"content":[{"id":"toolu_1"}],"id":"a"}', b'{"content":[{"id":"toolu_1"}],"id":"msg_%b"}'),
        (b'{"content":[{"id":"a"}],"id":"a"}', b'{"content":[{"id":"a"}],"id":"msg_%b"}'),
        (b'{"id":"\\u0061"}', b'{"id":"msg_%b"}'),
    ],
)
def test_the_messages_own_id_is_renewed(payload: bytes, renewed: bytes) -> None:
    assert MESSAGES.renewed(payload, token=TOKEN, now=1) == renewed.replace(b"%b", TOKEN.encode())


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"content_block_start","content_block":{"id":"toolu_1"}}',
        b'{"type":"message_start","message":{}}',
        b'{"type":"message_start","message":1,"id":"a"}',
        b'{"type":"content_block_delta","delta":{"text":"\\"id\\":\\"a\\""}}',
        b'{"type":"later","message":{"id":"a"}}',
        b'{"id":1}',
        b'["id"]',
        b'"id"',
        b"",
    ],
)
def test_what_has_no_id_of_a_message_stays_as_it_was(payload: bytes) -> None:
    assert MESSAGES.renewed(payload, token=TOKEN, now=1) is payload


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_a_failure_has_the_type_of_its_status(status: int, kind: str) -> None:
    failure = MESSAGES.failure(status, "max_tokens: Field required", field="max_tokens")
    error = {"type": kind, "message": "max_tokens: Field required"}
    assert orjson.loads(failure) == {"type": "error", "error": error}
    assert MESSAGES.event(failure).startswith(b"event: error\n")


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Cost(1, 2)),
        (
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 100,
                "cache_creation": {"ephemeral_5m_input_tokens": 10},
                "output_tokens": 2,
            },
            Cost(111, 2),
        ),
        ({"input_tokens": None, "cache_read_input_tokens": True, "output_tokens": -1}, Cost()),
        (None, Cost()),
        ([], Cost()),
    ],
)
def test_the_cost_is_what_was_reported(usage: Any, cost: Cost) -> None:
    assert MESSAGES.cost(Response(orjson.dumps({"usage": usage}))) == cost


@pytest.mark.parametrize("body", [b"", b"[]", b"{}"])
def test_an_answer_without_usage_costs_nothing(body: bytes) -> None:
    assert MESSAGES.cost(Response(body)) == Cost()


@pytest.mark.parametrize(
    ("blocks", "acts"),
    [
        ([{"type": "tool_use"}], True),
        ([{"type": "text", "text": "a"}, {"type": "tool_use"}], True),
        ([{"type": "server_tool_use"}], False),
        ([{"type": "server_tool_use", "x": "tool_use"}], False),
        ([{"type": "text", "text": '"tool_use"'}], False),
        ([{"type": "text", "text": "a", "x": "tool_use"}], False),
        ([], False),
    ],
)
def test_an_answer_acts_if_it_calls_the_callers_tools(blocks: list[Any], *, acts: bool) -> None:
    assert MESSAGES.acts(Response(orjson.dumps({"content": blocks}))) is acts


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": [{"type": "thinking", "thinking": "a", "text": "a"}, {"type": "text"}, 1]}, ""),
        ({"content": "a"}, ""),
        ({}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_the_text_is_that_of_the_text_blocks(document: Any, text: str) -> None:
    assert MESSAGES.text(document) == text


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}, "a"),
        ({"type": "content_block_start", "content_block": {"type": "text", "text": "a"}}, "a"),
        ({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "a"}}, ""),
        ({"type": "content_block_delta", "delta": None}, ""),
        ({"type": "ping"}, ""),
        ([], ""),
    ],
)
def test_a_delta_is_the_new_text(document: Any, text: str) -> None:
    assert MESSAGES.delta(document) == text


def test_plain_text_becomes_a_message_that_may_be_stored() -> None:
    answer = MESSAGES.answer(ASKED, "Hello!")
    assert MESSAGES.verdict(ASKED, Response(orjson.dumps(answer))) is None
    assert (answer["model"], MESSAGES.text(answer)) == ("claude-example-1", "Hello!")
    assert MESSAGES.answer({}, "")["model"] == "callable"
    assert MESSAGES.answer({}, "")["id"] != answer["id"]
