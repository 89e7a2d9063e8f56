"""May this answer be stored? Only if it is complete, free of errors, and what was asked for.

Reasons are short fixed phrases; none quotes the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from asynccache.dialects._faults import choices_fault, ignored_field, named, parses, read

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["verdict"]

_FINISHED: Final = frozenset(
    {"stop", "tool_calls", "function_call", "end_turn", "stop_sequence", "eos_token"}
)
"""OpenAI's words for an answer that came to its own end, and those some gateways pass through."""


class _Expected(NamedTuple):
    """What the request demands of each choice."""

    call: bool
    json: Literal["any", "object"] | None


def verdict(body: Mapping[str, Any], response: Response) -> str | None:
    """A reason why this answer must not be stored, or None; see ``Dialect.verdict``."""
    document = read(response)
    if isinstance(document, str):
        return document
    if fault := ignored_field(body):
        return fault
    expected = _expected(body)
    if isinstance(expected, str):
        return expected
    choices: Any = document.get("choices")
    if fault := choices_fault(choices, int(body.get("n") or 1)):
        return fault
    return next((fault for choice in choices if (fault := _choice_fault(choice, expected))), None)


def _expected(body: Mapping[str, Any]) -> _Expected | str:
    """What was asked for; a sentence when the request says so in a form that is no plain JSON."""
    for name in ("response_format", "structured_outputs"):
        if body.get(name) is not None and not isinstance(body[name], Mapping):
            return f"{name} is not a mapping"
    if not isinstance(body.get("tool_choice"), (str, Mapping, type(None))):
        return "tool_choice is not a string or a mapping"
    form = (body.get("response_format") or {}).get("type")
    outputs = body.get("structured_outputs") or {}
    json: Literal["any", "object"] | None = None
    if form == "json_object" or outputs.get("json_object"):
        json = "object"
    elif form == "json_schema" or outputs.get("json") is not None:
        json = "any"
    return _Expected(call=_forces_call(body), json=json)


def _forces_call(body: Mapping[str, Any]) -> bool:
    if isinstance(body.get("function_call"), Mapping):
        return True
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping):
        kind = choice.get("type")
        if kind != "allowed_tools":
            return kind not in ("auto", "none")
        allowed = choice.get("allowed_tools")
        choice = allowed.get("mode") if isinstance(allowed, Mapping) else None
    return choice in ("required", "any")


def _choice_fault(choice: dict[str, Any], expected: _Expected) -> str | None:
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason not in _FINISHED:
        return f"finish_reason is {named(reason)}"
    message = choice.get("message")
    if not isinstance(message, dict):
        return "a choice has no message"
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        return "tool_calls is not a list"
    if calls or message.get("function_call") is not None:
        return _calls_fault(calls or [], message.get("function_call"))
    if expected.call or reason in ("tool_calls", "function_call"):
        return "no tool was called"
    return _content_fault(message, expected)


def _calls_fault(calls: list[Any], function_call: Any) -> str | None:
    for call in calls:
        if not isinstance(call, dict):
            return "a tool call is not an object"
        if call.get("type") == "custom":  # its input is free text
            custom = call.get("custom")
            whole = isinstance(custom, dict) and custom.get("name") and isinstance(custom.get("input"), str)
            fault = None if whole else "a tool call has no name or input"
        else:
            fault = _function_fault(call.get("function"))
        if fault:
            return fault
    return None if function_call is None else _function_fault(function_call)


def _function_fault(function: Any) -> str | None:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        return "a tool call has no function name"
    arguments = function.get("arguments")
    if not isinstance(arguments, str) or (arguments and not parses(arguments)):
        return "a tool call's arguments are not JSON"
    return None


def _content_fault(message: dict[str, Any], expected: _Expected) -> str | None:
    content = message.get("content")
    if expected.json is not None:
        if not isinstance(content, str) or not parses(content, only_object=expected.json == "object"):
            return "the content is not the JSON asked for"
        return None
    if isinstance(content, str) and content.strip():
        return None
    if isinstance(content, list) and content:
        return None
    return None if message.get("audio") is not None else "the content is empty"
