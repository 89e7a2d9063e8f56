"""Frames into a document, and a stored document into frames."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from asynccache._models import Response
from asynccache.dialects import ChatCompletions

CHAT: Final = ChatCompletions()
BODY: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
COUNTED: Final = {**BODY, "stream_options": {"include_usage": True}}


def frame(*deltas: dict[str, Any], **fields: Any) -> bytes:
    """A chunk whose choices, numbered from 0, get these deltas."""
    choices = [{"index": index, "delta": delta} for index, delta in enumerate(deltas)]
    return orjson.dumps({"id": "1", "choices": choices, **fields})


def assembled(*frames: bytes) -> Any:
    return orjson.loads(CHAT.assemble(frames))


def message(*deltas: dict[str, Any]) -> Any:
    return assembled(*map(frame, deltas))["choices"][0]["message"]


# --- A document comes back from its frames.

texts = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
unknown = st.dictionaries(texts.map("x_".__add__), json, max_size=2)
tokens = st.none() | st.lists(st.fixed_dictionaries({"token": texts, "logprob": numbers}), max_size=2)


def with_unknown(known: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda some, more: {**more, **some}, known, unknown)


functions = with_unknown(st.fixed_dictionaries({"name": texts}, optional={"arguments": st.none() | texts}))
calls = with_unknown(
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.none() | texts,
            "type": st.sampled_from(["function", "custom"]),
            "function": st.none() | functions,
            "custom": with_unknown(st.fixed_dictionaries({"name": texts, "input": texts})),
        },
    )
)
said = with_unknown(
    st.fixed_dictionaries(
        {"role": st.just("assistant")},
        optional={
            "content": st.none() | texts | st.lists(json, max_size=2),
            "refusal": st.none() | texts,
            "reasoning": st.none() | texts,
            "reasoning_content": st.none() | texts,
            "annotations": st.none() | st.lists(json, max_size=2),
            "tool_calls": st.none() | st.lists(calls, max_size=3),
            "function_call": st.none() | functions,
            "audio": st.none() | with_unknown(st.fixed_dictionaries({"id": texts, "data": texts})),
        },
    )
)
chosen = with_unknown(
    st.fixed_dictionaries(
        {"message": said, "finish_reason": st.none() | st.sampled_from(["stop", "length", "end_turn"])},
        optional={
            "logprobs": st.none()
            | with_unknown(st.fixed_dictionaries({"content": tokens, "refusal": tokens})),
            "stop_reason": st.none() | st.integers(0, 9) | texts,
            "token_ids": st.none() | st.lists(st.integers(0, 9), max_size=3),
        },
    )
)
documents = with_unknown(
    st.fixed_dictionaries(
        {
            "object": st.just("chat.completion"),
            "choices": st.lists(chosen, min_size=1, max_size=3).map(
                lambda choices: [{"index": index, **choice} for index, choice in enumerate(choices)]
            ),
        },
        optional={
            "id": texts,
            "created": st.integers(0, 2**40),
            "model": st.none() | texts,
            "system_fingerprint": st.none() | texts,
            "service_tier": st.none() | texts,
            "usage": st.none() | with_unknown(st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9)})),
        },
    )
)


@given(documents)
def test_a_document_comes_back_from_its_frames(document: dict[str, Any]) -> None:
    frames = tuple(CHAT.replay(COUNTED, Response(orjson.dumps(document))))
    assert assembled(*frames) == document


@given(documents)
def test_made_frames_carry_usage_only_if_asked_for(document: dict[str, Any]) -> None:
    frames = tuple(CHAT.replay(BODY, Response(orjson.dumps(document))))
    document.pop("usage", None)
    assert assembled(*frames) == document
    assert not any("usage" in orjson.loads(made) for made in frames)


WHOLE: Final[dict[str, Any]] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 7,
    "model": "m",
    "system_fingerprint": "f",
    "metrics": {"ms": 1},
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello", "refusal": None},
            "logprobs": {
                "content": [{"token": "hello", "logprob": -1.0, "bytes": None, "top_logprobs": []}],
                "refusal": None,
            },
            "finish_reason": "stop",
        },
        {
            "index": 1,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        },
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


def test_made_frames_have_the_shape_of_real_ones() -> None:
    chunks = [orjson.loads(made) for made in CHAT.replay(COUNTED, Response(orjson.dumps(WHOLE)))]
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        assert {name: chunk[name] for name in ("id", "created", "model")} == {
            "id": "chatcmpl-1",
            "created": 7,
            "model": "m",
        }
    deltas = [[choice["delta"] for choice in chunk["choices"]] for chunk in chunks]
    assert deltas == [
        [{"role": "assistant", "content": "", "refusal": None}],
        [{"content": "hello"}],
        [{}],
        [{"role": "assistant", "content": None}],
        [
            {
                "tool_calls": [
                    {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
                ]
            }
        ],
        [{"tool_calls": [{"index": 0, "function": {"arguments": '{"x":1}'}}]}],
        [
            {
                "tool_calls": [
                    {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}
                ]
            }
        ],
        [{"tool_calls": [{"index": 1, "function": {"arguments": ""}}]}],
        [{}],
        [],
    ]
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert finishes == [None, None, "stop", None, None, None, None, None, "tool_calls"]
    assert chunks[-1]["usage"] == WHOLE["usage"]
    assert [chunk.get("metrics") for chunk in chunks] == [{"ms": 1}] + [None] * 9


def test_openais_client_reads_made_frames_as_the_document() -> None:
    state = ChatCompletionStreamState[None]()
    for made in CHAT.replay(COUNTED, Response(orjson.dumps(WHOLE))):
        state.handle_chunk(ChatCompletionChunk.model_validate_json(made))
    completion = state.get_final_completion()
    hello, call = completion.choices
    assert hello.message.content == "hello"
    assert hello.finish_reason == "stop"
    assert hello.logprobs is not None
    assert call.finish_reason == "tool_calls"
    assert call.message.tool_calls is not None
    functions = [made.function for made in call.message.tool_calls if made.type == "function"]
    assert [(function.name, function.arguments) for function in functions] == [("f", '{"x":1}'), ("g", "")]
    assert completion.usage is not None
    assert completion.usage.total_tokens == 3


# --- What servers send.


def test_fragments_are_joined_by_choice_and_by_call() -> None:
    document = assembled(
        frame(
            {"role": "assistant", "content": ""}, {"role": "assistant", "content": ""}, model="m", created=5
        ),
        frame({"content": "he"}, {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g"}}]}),
        frame({"content": "llo"}, {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}),
        frame({}, {"tool_calls": [{"index": 1, "function": {"arguments": "[1"}}]}),
        frame({}, {"tool_calls": [{"index": 1, "function": {"arguments": "]"}}]}, system_fingerprint="f"),
    )
    assert document == {
        "id": "1",
        "object": "chat.completion",
        "model": "m",
        "created": 5,
        "system_fingerprint": "f",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hello"}},
            {
                "index": 1,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "a", "function": {"name": "f"}},
                        {"id": "b", "function": {"name": "g", "arguments": "[1]"}},
                    ],
                },
            },
        ],
    }


def test_choices_stand_in_the_order_of_their_index() -> None:
    late = [orjson.dumps({"choices": [{"index": index, "delta": {}}]}) for index in (2, 0, 1)]
    assert [choice["index"] for choice in assembled(*late)["choices"]] == [0, 1, 2]


def test_usage_is_the_last_one_reported() -> None:
    counts: list[Any] = [{"n": 1}, None, {"n": 2}, None]
    assert assembled(*(frame({}, usage=count) for count in counts))["usage"] == {"n": 2}


def test_log_probabilities_and_token_ids_are_joined() -> None:
    choices = [
        {"index": 0, "delta": {}, "logprobs": None, "token_ids": None, "finish_reason": None},
        {"index": 0, "delta": {}, "logprobs": {"content": [1], "refusal": None}, "token_ids": [7]},
        {
            "index": 0,
            "delta": {},
            "logprobs": {"content": [2, 3]},
            "token_ids": [8, 9],
            "finish_reason": "stop",
        },
        {"index": 0, "delta": None, "logprobs": None, "stop_reason": 5},
    ]
    choice = assembled(*(orjson.dumps({"choices": [choice]}) for choice in choices))["choices"][0]
    assert choice == {
        "index": 0,
        "message": {},
        "logprobs": {"content": [1, 2, 3], "refusal": None},
        "token_ids": [7, 8, 9],
        "finish_reason": "stop",
        "stop_reason": 5,
    }


@pytest.mark.parametrize(
    ("deltas", "content"),
    [
        ([{"role": "assistant", "content": ""}, {"tool_calls": [{"index": 0}]}], None),
        ([{"role": "assistant", "content": ""}, {"content": None, "tool_calls": [{"index": 0}]}], None),
        ([{"role": "assistant", "content": ""}, {"reasoning": "hm"}], None),
        ([{"role": "assistant", "content": ""}, {"content": "a", "tool_calls": [{"index": 0}]}], "a"),
        ([{"role": "assistant", "content": ""}, {"content": "", "tool_calls": [{"index": 0}]}], ""),
        ([{"role": "assistant", "content": ""}, {}], ""),
        ([{"role": "assistant", "content": None}, {"tool_calls": [{"index": 0}]}], None),
    ],
)
def test_the_empty_text_that_opens_a_stream_is_no_content(deltas: list[dict[str, Any]], content: Any) -> None:
    assert message(*deltas)["content"] == content


def test_a_name_repeated_with_each_fragment_is_one_name() -> None:
    def named(name: str, arguments: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "id": "a", "function": {"name": name, "arguments": arguments}}]}

    for names in (["get", "get", "get"], ["get", "", ""], ["g", "e", "t"]):
        made = message(*(named(name, piece) for name, piece in zip(names, '["]', strict=True)))
        assert made["tool_calls"] == [{"id": "a", "function": {"name": "get", "arguments": '["]'}}]


@pytest.mark.parametrize("name", ["content", "refusal", "reasoning", "reasoning_content"])
def test_fragments_of_a_text_are_joined(name: str) -> None:
    assert message({name: "a"}, {name: None}, {name: "b"}, {})[name] == "ab"


@pytest.mark.parametrize("name", ["content", "annotations", "reasoning_details"])
def test_fragments_of_a_list_are_joined(name: str) -> None:
    assert message({name: [1]}, {name: None}, {name: [2, 3]}, {})[name] == [1, 2, 3]


def test_audio_encoded_piece_by_piece_is_one_encoding() -> None:
    pieces = [{"audio": {"id": "a", "data": b64encode(piece).decode()}} for piece in (b"1", b"23", b"456")]
    made = message(
        *pieces, {"audio": {"transcript": "hel"}}, {"audio": {"transcript": "lo", "expires_at": 9}}
    )
    assert made["audio"] == {
        "id": "a",
        "data": b64encode(b"123456").decode(),
        "transcript": "hello",
        "expires_at": 9,
    }
    cut = [{"audio": {"data": piece}} for piece in ("MTIz", "N", "DU=")]
    assert message(*cut)["audio"]["data"] == "MTIzNDU="


def test_what_a_server_adds_of_its_own_is_kept_and_padding_is_not() -> None:
    first = {
        "choices": [],
        "id": "",
        "created": 0,
        "model": "",
        "prompt_filter_results": [1],
        "obfuscation": "x",
    }
    second = {
        "choices": [{"index": 0, "delta": {"own": 1}, "filter": {}}],
        "id": "9",
        "created": 3,
        "model": "m",
    }
    assert assembled(orjson.dumps(first), orjson.dumps(second)) == {
        "id": "9",
        "object": "chat.completion",
        "created": 3,
        "model": "m",
        "prompt_filter_results": [1],
        "choices": [{"index": 0, "message": {"own": 1}, "filter": {}}],
    }


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"{"],
        [b"[]"],
        [b'{"choices":[]}'],
        [b'{"usage":{}}'],
        [b'{"choices":5}'],
        [b'{"choices":[5]}'],
        [b'{"choices":[{"delta":{}}]}'],
        [b'{"choices":[{"index":0,"delta":5}]}'],
        [frame({"content": "a"}), frame({"content": ["a"]})],
        [frame({"tool_calls": [{"function": {}}]})],
        [frame({"tool_calls": 5})],
        [frame({"audio": {"data": "!="}}), frame({"audio": {"data": "AAAA"}})],
    ],
)
def test_what_cannot_be_assembled_is_a_value_error(frames: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        CHAT.assemble(frames)


FIELDS: Final = ["role", "content", "tool_calls", "function", "name", "arguments", "audio", "data", "index"]
near_misses = st.recursive(
    st.none() | st.just(0) | st.sampled_from(["", "a", "QQ=="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=6,
)
chunks = st.fixed_dictionaries(
    {"choices": near_misses | st.lists(st.fixed_dictionaries({"index": st.just(0), "delta": near_misses}))},
    optional={"id": near_misses, "usage": near_misses},
)
ENCODED: Final[list[Any]] = ["QQ==", [], 0]
AUDIO: Final = [{"choices": [{"index": 0, "delta": {"audio": {"data": data}}}]} for data in ENCODED]


@given(st.lists((chunks | near_misses).map(orjson.dumps) | st.binary(max_size=4), max_size=3))
@example([*map(orjson.dumps, AUDIO)])
@example([*map(orjson.dumps, AUDIO[:2])])
def test_frames_of_any_content_assemble_or_are_a_value_error(frames: list[bytes]) -> None:
    try:
        document = assembled(*frames)
    except ValueError:
        return
    assert document["choices"]


# --- Recorded frames.

USAGE: Final = frame(usage={"prompt_tokens": 1})


@pytest.mark.parametrize(
    ("body", "frames", "replayed"),
    [
        (BODY, (frame({}), USAGE), (frame({}),)),
        ({**BODY, "stream_options": None}, (frame({}), USAGE), (frame({}),)),
        ({**BODY, "stream_options": {"include_usage": False}}, (frame({}), USAGE), (frame({}),)),
        (COUNTED, (frame({}), USAGE), (frame({}), USAGE)),
        (BODY, (frame(), frame({})), (frame(), frame({}))),
        (BODY, (frame({}), frame({}, usage={})), (frame({}), frame({}, usage={}))),
        (BODY, (frame({}), frame()), (frame({}), frame())),
    ],
)
def test_recorded_frames_are_replayed_but_for_usage_nobody_asked_for(
    body: dict[str, Any], frames: tuple[bytes, ...], replayed: tuple[bytes, ...]
) -> None:
    assert tuple(CHAT.replay(body, Response(CHAT.assemble(frames), frames))) == replayed


@pytest.mark.parametrize(
    ("body", "document", "reason"),
    [
        (COUNTED, {}, "usage was not recorded"),
        (COUNTED, {"usage": None}, "usage was not recorded"),
        (COUNTED, {"usage": {}}, None),
        (COUNTED, {"usage": {"a": {"b": 1}}, "system_fingerprint": "}"}, None),
        (COUNTED, {"choices": [{"index": 0, "usage": {"total_tokens": 1}}]}, "usage was not recorded"),
        (COUNTED, {"choices": [{"text": '"usage":{"total_tokens":1}'}]}, "usage was not recorded"),
        (BODY, {}, None),
        ({**COUNTED, "stream": False}, {}, None),
    ],
)
def test_usage_asked_for_and_not_recorded_cannot_be_replayed(
    body: dict[str, Any], document: dict[str, Any], reason: str | None
) -> None:
    assert CHAT.replayable(body, Response(orjson.dumps(document))) == reason


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"choices":null}', b"{"])
def test_a_document_that_is_no_completion_is_not_replayed(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        tuple(CHAT.replay(BODY, Response(body)))


def test_pieces_of_a_field_nobody_knows_are_joined() -> None:
    deltas = [
        {"role": "assistant", "content": "", "thinking": "first ", "images": [1], "mood": "calm", "score": 1},
        {"thinking": "second", "images": [2], "mood": "calm", "score": 2},
    ]
    frames = [orjson.dumps({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
    message = orjson.loads(CHAT.assemble(frames))["choices"][0]["message"]
    assert message["thinking"] == "first second"
    assert (message["images"], message["mood"], message["score"]) == ([1, 2], "calm", 2)
