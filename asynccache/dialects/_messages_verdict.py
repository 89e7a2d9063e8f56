"""May this answer be stored? Only if it is complete, free of errors, and what was asked for.

Reasons are short fixed phrases; none quotes the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["verdict"]

_FINISHED: Final = frozenset({"end_turn", "tool_use", "stop_sequence"})
"""Of an answer that came to its own end."""
_NAMEABLE: Final = 32
"""Characters: a longer stop reason is not a word of any protocol and is not repeated."""


def verdict(body: Mapping[str, Any], response: Response) -> str | None:
    """A reason why this answer must not be stored, or None; see ``Dialect.verdict``."""
    if fault := _frames_fault(response.frames):
        return fault
    try:
        document = orjson.loads(response.body)
    except ValueError:
        return "the answer is not JSON"
    if not isinstance(document, dict):
        return "the answer is not an object"
    if _is_error(document):
        return "the answer carries an error"
    if document.get("type") != "message":
        return "the answer is not a message"
    reason = document.get("stop_reason")
    if not isinstance(reason, str) or reason not in _FINISHED:
        return f"stop_reason is {_named(reason)}"
    # Its files and its processes stay on the server for some minutes: nobody else can go on with them.
    if document.get("container") is not None:
        return "the answer left a container behind"
    return _asked_fault(body) or _content_fault(body, reason, document.get("content"))


def _is_error(document: Mapping[str, Any]) -> bool:
    return document.get("type") == "error" or document.get("error") is not None


def _frames_fault(frames: Sequence[bytes]) -> str | None:
    for frame in frames:
        try:
            parsed = orjson.loads(frame)
        except ValueError:
            return "a frame is not JSON"
        if not isinstance(parsed, dict):
            return "a frame is not an object"
        if _is_error(parsed):
            return "a frame carries an error"
    return None


def _named(reason: Any) -> str:
    if reason is None:
        return "null"
    if isinstance(reason, str) and len(reason) <= _NAMEABLE and reason.isascii() and reason.isidentifier():
        return repr(reason)
    return "not a known word"


def _asked_fault(body: Mapping[str, Any]) -> str | None:
    """What was asked for cannot be told when the request says so in a form that is no plain JSON."""
    for name in ("output_config", "output_format", "tool_choice"):
        if not isinstance(body.get(name), (Mapping, type(None))):
            return f"{name} is not a mapping"
    form = (body.get("output_config") or {}).get("format")
    return None if isinstance(form, (Mapping, type(None))) else "output_config.format is not a mapping"


def _content_fault(body: Mapping[str, Any], reason: str, blocks: Any) -> str | None:
    if not isinstance(blocks, list):
        return "the content is not a list"
    for block in blocks:
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            return "a content block is not an object with a type"
        if fault := _block_fault(block):
            return fault
    kinds = [block["type"] for block in blocks]
    if "tool_use" in kinds:
        return None
    # Of a forced tool that runs on the server, the answer tells afterwards.
    called = any(kind.endswith("tool_use") for kind in kinds)
    if reason == "tool_use" or (_forces_call(body) and not called):
        return "no tool was called"
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    if _wants_json(body):
        return None if _parses(text) else "the content is not the JSON asked for"
    return None if text.strip() else "the content is empty"


def _block_fault(block: Mapping[str, Any]) -> str | None:
    kind = block["type"]
    if kind == "text" and not isinstance(block.get("text"), str):
        return "a text block has no text"
    if kind.endswith("tool_use"):
        name = block.get("name")
        if not isinstance(name, str) or not name:
            return "a tool call has no name"
        if not isinstance(block.get("input"), dict):
            return "a tool call's input is not an object"
    if kind.endswith("tool_result") and _failed(block):
        return "a tool of the server failed"
    return None


def _failed(result: Mapping[str, Any]) -> bool:
    content = result.get("content")
    told = content.get("type") if isinstance(content, dict) else None
    return result.get("is_error") is True or (isinstance(told, str) and told.endswith("_error"))


def _forces_call(body: Mapping[str, Any]) -> bool:
    choice = body.get("tool_choice")
    return choice is not None and choice.get("type") not in ("auto", "none")


def _wants_json(body: Mapping[str, Any]) -> bool:
    """``output_format`` is what ``output_config.format`` was called before."""
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    return form is not None and form.get("type") == "json_schema"


def _parses(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True
