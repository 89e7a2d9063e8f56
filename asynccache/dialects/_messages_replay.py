"""A stored message as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["replay"]

_LAST: Final = ("stop_reason", "stop_sequence", "stop_details")
"""Of the message, what is known only at its end: null in its first event, and told in ``message_delta``."""

_GROWING_INPUT: Final = ("tool_use", "server_tool_use", "mcp_tool_use")
"""Blocks whose input clients read from deltas alone."""


def replay(response: Response) -> Iterable[bytes]:
    """The frames of a stored answer, pings and all where they were recorded; see ``Dialect.replay``."""
    if response.frames:
        return response.frames
    # Not orjson, which makes floats of integers over 64 bits: a tool is to get the number the model wrote.
    try:
        return [_json(event).encode() for event in _events(json.loads(response.body))]
    except RecursionError as error:
        raise ValueError("the stored message is nested too deeply") from error


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _events(message: Any) -> Iterator[dict[str, Any]]:
    """Events that ``assemble`` turns back into ``message``."""
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        raise ValueError("the stored document is no message")  # noqa: TRY004  (it is bad data)
    last = {name: message[name] for name in _LAST if name in message}
    opening = {**message, "content": [], **dict.fromkeys(last)}
    yield {"type": "message_start", "message": opening}
    for index, block in enumerate(message["content"]):
        start, deltas = _parts(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    usage = message.get("usage")
    totals = {}
    if isinstance(usage, dict) and "output_tokens" in usage:
        totals["usage"] = {"output_tokens": usage["output_tokens"]}
    yield {"type": "message_delta", "delta": last, **totals}
    yield {"type": "message_stop"}


def _parts(block: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a block begins, and what follows; blocks of other kinds come whole."""
    if not isinstance(block, dict):
        raise ValueError("a content block of the stored document is no object")  # noqa: TRY004  (bad data)
    start: dict[str, Any] = dict(block)
    deltas: list[dict[str, Any]] = []
    match block.get("type"):
        case "text":
            deltas = _told(start, "text", "text_delta")
            if block.get("citations") and isinstance(block["citations"], list):
                start["citations"] = []
                deltas += [{"type": "citations_delta", "citation": each} for each in block["citations"]]
        case "thinking":
            deltas = _told(start, "thinking", "thinking_delta")
            deltas += _told(start, "signature", "signature_delta")
        case kind if kind in _GROWING_INPUT and isinstance(block.get("input"), dict):
            start["input"] = {}
            told = _json(block["input"]) if block["input"] else ""
            deltas = [{"type": "input_json_delta", "partial_json": told}]
        case _:
            pass
    return start, deltas


def _told(start: dict[str, Any], field: str, kind: str) -> list[dict[str, Any]]:
    """The delta that brings a text of a block, which then begins without it."""
    text = start.get(field)
    if not isinstance(text, str) or not text:
        return []
    start[field] = ""
    return [{"type": kind, field: text}]
