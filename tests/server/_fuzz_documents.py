"""Good answers in each dialect, each with a mark of its own."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any, Final

import orjson

from asynccache._wire.routes import paths

__all__ = ["DIALECTS", "as_object", "document_for", "mark"]

DIALECTS: Final = {f"/v1{path}": dialect for path, dialect in paths().items()}
"""By path."""


def mark(number: int) -> str:
    """What tells the answer to one request from all others."""
    return f"<answer {number}>"


def as_object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def document_for(dialect: str, asked: dict[str, Any], number: int, finish: str | None = None) -> bytes:
    """An answer in this dialect.

    Args:
        dialect: one of ``DIALECTS``.
        asked: the body.
        number: of the request.
        finish: why the answer ends before its end: ``"length"`` or ``"content_filter"``.
    """
    return orjson.dumps(_DOCUMENTS[dialect](asked, number, finish))


def _chat(asked: dict[str, Any], number: int, finish: str | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": mark(number)}
    choices = [
        {"index": index, "message": message, "finish_reason": finish or "stop"} for index in range(_n(asked))
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    made = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "m"}
    return {**made, "choices": choices, "usage": usage}


def _completions(asked: dict[str, Any], number: int, finish: str | None) -> dict[str, Any]:
    choices = [
        {"index": index, "text": mark(number), "finish_reason": finish or "stop", "logprobs": None}
        for index in range(_n(asked) * _inputs(asked.get("prompt")))
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    made = {"id": f"cmpl-{number}", "object": "text_completion", "created": 1, "model": "m"}
    return {**made, "choices": choices, "usage": usage}


def _embeddings(asked: dict[str, Any], number: int, finish: str | None) -> dict[str, Any]:
    vectors = [[float(number + 1), float(index + 1)] for index in range(_inputs(asked.get("input")))]
    if finish is not None:
        vectors = [[] for _ in vectors]
    packed = asked.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            if packed
            else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def _messages(asked: dict[str, Any], number: int, finish: str | None) -> dict[str, Any]:
    reason = {None: "end_turn", "length": "max_tokens", "content_filter": "refusal"}[finish]
    content = [{"type": "text", "text": mark(number)}]
    made = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "m", "content": content}
    usage = {"input_tokens": 1, "output_tokens": 1}
    return {**made, "stop_reason": reason, "stop_sequence": None, "usage": usage}


def _responses(asked: dict[str, Any], number: int, finish: str | None) -> dict[str, Any]:
    text = {"type": "output_text", "annotations": [], "logprobs": [], "text": mark(number)}
    status = "completed" if finish is None else "incomplete"
    item = {
        "id": f"msg_{number}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [text],
    }
    details = None if finish is None else {"reason": finish}
    made = {"id": f"resp_{number}", "object": "response", "created_at": 1, "model": "m", "status": status}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return {**made, "error": None, "incomplete_details": details, "output": [item], "usage": usage}


_DOCUMENTS: Final[dict[str, Callable[[dict[str, Any], int, str | None], dict[str, Any]]]] = {
    "chat.completions": _chat,
    "completions": _completions,
    "embeddings": _embeddings,
    "messages": _messages,
    "responses": _responses,
}


def _n(asked: dict[str, Any]) -> int:
    n = asked.get("n")
    return n if isinstance(n, int) and 0 < n <= 8 else 1


def _inputs(given: Any) -> int:
    several = isinstance(given, list) and given and not isinstance(given[0], int)
    return len(given) if several else 1
