"""May this response be stored? Only if it is complete, free of errors, and what was asked for.

Reasons are short fixed phrases; none quotes the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import orjson

from asynccache.dialects._responses_events import ends, streamed_items
from asynccache.dialects._responses_output import message_texts, said

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["verdict"]

_STATUSES: Final = frozenset({"cancelled", "failed", "in_progress", "incomplete", "queued"})
"""Of a response, beside ``completed``; no other word is repeated."""

_CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
"""The calls that a caller answers, and what each hands over."""


class _Expected(NamedTuple):
    """What the request demands."""

    call: bool
    json: Literal["any", "object"] | None


def verdict(body: Mapping[str, Any], response: Response) -> str | None:
    """A reason why this answer must not be stored, or None; see ``Dialect.verdict``."""
    events = _events(response.frames)
    if isinstance(events, str):
        return events
    try:
        document = orjson.loads(response.body)
    except ValueError:
        return "the answer is not JSON"
    if not isinstance(document, dict):
        return "the answer is not an object"
    if fault := _document_fault(document):
        return fault
    output = document["output"]
    streamed = streamed_items(events)
    if streamed and said(streamed) != said(output):
        return "the final output is not what was streamed"
    expected = _expected(body)
    return expected if isinstance(expected, str) else _output_fault(output, expected)


def _events(frames: Sequence[bytes]) -> list[dict[str, Any]] | str:
    events = []
    for frame in frames:
        try:
            parsed = orjson.loads(frame)
        except ValueError:
            return "a frame is not JSON"
        if not isinstance(parsed, dict):
            return "a frame is not an object"
        if parsed.get("error") is not None or parsed.get("type") == "error":
            return "a frame carries an error"
        events.append(parsed)
    if events and not any(map(ends, events)):
        return "the stream has no final event"
    return events


def _document_fault(document: dict[str, Any]) -> str | None:
    if document.get("error") is not None:
        return "the answer carries an error"
    status = document.get("status")
    if status != "completed":
        known = isinstance(status, str) and status in _STATUSES
        return f"status is {status!r}" if known else "status is not a known word"
    if document.get("incomplete_details") is not None:
        return "the answer has incomplete_details"
    output = document.get("output")
    if not isinstance(output, list) or not output:
        return "there is no output"
    for item in output:
        if not isinstance(item, dict):
            return "an output item is not an object"
        if item.get("status") not in (None, "completed"):
            return "an output item is not completed"
        if item.get("error") is not None:
            return "an output item carries an error"
    return None


def _expected(body: Mapping[str, Any]) -> _Expected | str:
    """What was asked for; a sentence when the request says so in a form that is no plain JSON."""
    text = body.get("text")
    given = text.get("format") if isinstance(text, Mapping) else text
    outputs = body.get("structured_outputs")
    for name, value in (("text.format", given), ("structured_outputs", outputs)):
        if value is not None and not isinstance(value, Mapping):
            return f"{name} is not a mapping"
    choice = body.get("tool_choice")
    if not isinstance(choice, (str, Mapping, type(None))):
        return "tool_choice is not a string or a mapping"
    form = (given or {}).get("type")
    outputs = outputs or {}
    json: Literal["any", "object"] | None = None
    if form == "json_object" or outputs.get("json_object"):
        json = "object"
    elif form == "json_schema" or outputs.get("json") is not None:
        json = "any"
    return _Expected(call=_forces_call(choice), json=json)


def _forces_call(choice: str | Mapping[str, Any] | None) -> bool:
    if isinstance(choice, Mapping):
        if choice.get("type") != "allowed_tools":
            return choice.get("type") not in ("auto", "none")
        choice = choice.get("mode")
    return choice in ("required", "any")


def _output_fault(output: list[dict[str, Any]], expected: _Expected) -> str | None:
    if expected.call and not any(str(item.get("type")).endswith("_call") for item in output):
        return "no tool was called"
    calls = [item for item in output if str(item.get("type")) in _CALLS]
    for call in calls:
        if fault := _call_fault(call):
            return fault
    messages = [item for item in output if item.get("type") == "message"]
    if any(_refuses(message) for message in messages):
        return "the model refused"
    if calls:
        return None
    if expected.json is None:
        texts = [text for message in messages for text in message_texts(message)]
        return None if any(text.strip() for text in texts) else "the output has neither text nor calls"
    # What is said on the way to the answer is in no format.
    finals = [message for message in messages if message.get("phase") != "commentary"]
    texts = [text for message in finals for text in message_texts(message)]
    if not texts or not all(_parses(text, only_object=expected.json == "object") for text in texts):
        return "the text is not the JSON asked for"
    return None


def _call_fault(call: dict[str, Any]) -> str | None:
    for name in ("name", "call_id"):
        if not isinstance(call.get(name), str) or not call[name]:
            return f"a call has no {name}"
    handed = call.get(_CALLS[call["type"]])
    if not isinstance(handed, str):
        return "a call hands over nothing"
    if call["type"] == "function_call" and handed and not _parses(handed):
        return "a call's arguments are not JSON"
    return None


def _refuses(message: dict[str, Any]) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    return any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts)


def _parses(text: str, *, only_object: bool = False) -> bool:
    try:
        value = orjson.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) or not only_object
