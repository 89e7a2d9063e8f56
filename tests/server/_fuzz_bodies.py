"""Bodies that are sound, or odd in ways that clients and attackers think of."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final

__all__ = ["LIMIT", "body_for"]

LIMIT: Final = 200_000
"""Bytes that the proxy takes."""

_QUESTIONS: Final = 4
"""So many are asked again and again."""


def _sound(chance: random.Random) -> tuple[str, dict[str, Any]]:
    asked = f"question {chance.randrange(_QUESTIONS)}"
    if chance.random() < 0.2:
        asked = f"question {chance.random()}"
    said = [{"role": "user", "content": asked}]
    asking: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"messages": said}),
        ("/v1/chat/completions", {"messages": [{"role": "system", "content": "short"}, *said]}),
        ("/v1/completions", {"prompt": asked}),
        ("/v1/embeddings", {"input": asked}),
        ("/v1/embeddings", {"input": [asked, f"question {chance.randrange(_QUESTIONS)}"]}),
        ("/v1/messages", {"messages": said, "max_tokens": 100}),
        ("/v1/responses", {"input": asked}),
        ("/v1/responses", {"input": said}),
    ]
    path, asked_so = chance.choice(asking)
    body: dict[str, Any] = {"model": "m", **asked_so}
    if path != "/v1/embeddings" and chance.random() < 0.4:
        body["stream"] = True
    return path, body


def _nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


_FIELDS: Final = [
    *("model", "messages", "prompt", "input", "max_tokens", "stream", "stream_options", "n", "temperature"),
    *("top_p", "stop", "seed", "tools", "tool_choice", "response_format", "metadata", "user", "logit_bias"),
    *("logprobs", "functions", "function_call", "store", "service_tier", "system", "thinking", "dimensions"),
    *("encoding_format", "suffix", "echo", "best_of", "instructions", "previous_response_id", "text"),
    *("reasoning", "include", "modalities", "audio", "prediction", "structured_outputs", "extra_body"),
    *("stop_sequences", "background", "conversation", "truncation", "", "constructor", "\ud800"),
]
_VALUES: Final[list[Any]] = [
    *(None, True, False, 0, 1, -1, 3, 1.5, -0.0, 1e308, 2**53 + 1, 2**64, 10**30, 10**400),
    *(
        "",
        " ",
        "x",
        "auto",
        "required",
        "\ud800",
        "a\udfffb",
        "\x00",
        "e\u0301",
        "\U0001f600" * 10,
        "x" * 5000,
    ),
    *([], [[]], [None], ["a", "b"], [1, 2], [{"role": "user", "content": "hi"}], [{"type": "text"}]),
    *({}, {"": None}, {"a": [1]}, {"type": "json_object"}, {"type": "json_schema", "json_schema": None}),
    *({"type": []}, {"include_usage": True}, {"type": "function", "function": {"name": "f"}}, {"\ud800": 1}),
    *(float("nan"), float("inf"), -float("inf")),
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}],
    [{"role": "assistant", "tool_calls": [{"id": 1, "function": {"arguments": None}}]}],
    [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
]
_DEPTHS: Final = [3, 100, 255, 900, 1024, 1025, 5_000, 60_000]
_Twist = Callable[[random.Random, bytes], bytes]
_TWISTS: Final[list[_Twist]] = [
    lambda _, body: b"\xef\xbb\xbf" + body,
    lambda _, body: body.decode("latin-1").encode("utf-16"),
    lambda _, body: body + b" {}",
    lambda _, body: body + b"\x00",
    lambda chance, body: body[: chance.randrange(len(body))],
    lambda _, _body: b"",
    lambda _, _body: b" \n\t",
    lambda chance, _: chance.choice([b"null", b"[]", b"0", b'"text"', b"NaN", b"{", b"\xff\xfe", b"{}"]),
    lambda _, body: body[:-1] + b', "model": "other", "model": "m"}',
    lambda _, body: body[:-1] + b', "messages": [], "input": "", "prompt": ""}',
    lambda _, body: body[:-1] + b', "seed": 1e999}',
    lambda _, body: body[:-1] + b', "seed": -' + b"9" * 5000 + b"}",
    lambda _, body: body[:-1] + b', "user": "\xff\xc0\x80"}',
    lambda _, body: body[:-1] + b', "user": "\xed\xa0\x80"}',
    lambda chance, body: body[:-1] + b', "x": ' + _nested(chance.choice(_DEPTHS)).encode() + b"}",
    lambda chance, body: (
        body[:-1] + b', "metadata": ' + _nested(chance.choice(_DEPTHS), '{"a":', "}").encode()[:-1] + b"}}"
    ),
    lambda chance, _: (
        b'{"model":"m","messages":[{"role":"user","content":'
        + _nested(chance.choice(_DEPTHS)).encode()
        + b"}]}"
    ),
    lambda _, body: body[:-1] + b', "pad": "' + b"x" * LIMIT + b'"}',
    lambda _, body: body.replace(b'"m"', b"'m'"),
    lambda _, body: body.replace(b"question", b"\\uD83D\\u0000question"),
    lambda _, body: (
        body[:-1] + b', "a": 1' * 1 + b"".join(b', "k%d": %d' % (i, i) for i in range(3000)) + b"}"
    ),
    lambda chance, body: bytes(byte if chance.random() > 0.02 else chance.randrange(256) for byte in body),
]


def body_for(chance: random.Random, *, sound: bool = False) -> tuple[str, bytes]:
    """A path and a body to post there."""
    path, body = _sound(chance)
    drawn = 0.0 if sound else chance.random()
    if drawn >= 0.35:
        for _ in range(chance.randint(1, 3)):
            _change(chance, body)
    content = json.dumps(body, ensure_ascii=True).encode()
    return path, chance.choice(_TWISTS)(chance, content) if drawn >= 0.75 else content


def _change(chance: random.Random, body: dict[str, Any]) -> None:
    """Put a value where it may not belong, or take one away."""
    place: Any = body
    messages = body.get("messages")
    if isinstance(messages, list) and messages and chance.random() < 0.3:
        place = chance.choice(messages)
        if not isinstance(place, dict):
            return
        name = chance.choice(["role", "content", "tool_calls", "name", "refusal", "function_call"])
    else:
        name = chance.choice(_FIELDS)
    if name in place and chance.random() < 0.3:
        del place[name]
    else:
        place[name] = chance.choice(_VALUES)
