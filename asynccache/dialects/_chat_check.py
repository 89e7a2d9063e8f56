"""The door: what no chat-completions server could take is refused before anything is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asynccache._errors import InvalidRequest
from asynccache.dialects._checks import (
    check_body,
    check_count,
    check_kind,
    check_numbers,
    check_stop,
    mismatch,
)

__all__ = ["check"]

_NUMBERS: Final = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "length_penalty",
    "seed",
    "top_logprobs",
)
_COUNTS: Final = ("n", "max_tokens", "max_completion_tokens")


def check(body: Any) -> None:
    """Raise InvalidRequest, naming the field, for the first fault."""
    check_body(body)
    _check_messages(body.get("messages"))
    check_kind(body, "model", str, "a string")
    check_kind(body, "stream", bool, "true or false")
    check_numbers(body, _NUMBERS)
    for name in _COUNTS:
        if body.get(name) is not None:
            check_count(name, body[name])
    check_stop(body.get("stop"))
    _check_tools(body.get("tools"))
    check_kind(body, "stream_options", Mapping, "a mapping")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, (list, tuple)):
        raise mismatch("messages", "a list", messages)
    if not messages:
        raise InvalidRequest("messages", "must not be empty")
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, Mapping):
            raise mismatch(path, "a mapping", message)
        if not isinstance(message.get("role"), str):
            raise mismatch(f"{path}.role", "a string", message.get("role"))
        _check_content(message.get("content"), f"{path}.content")


def _check_content(content: Any, path: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, (list, tuple)):
        raise mismatch(path, "a string, a list of parts or null", content)
    for index, part in enumerate(content):
        if not isinstance(part, Mapping):
            raise mismatch(f"{path}[{index}]", "a mapping", part)
        kind = part.get("type")
        if not isinstance(kind, str):
            raise mismatch(f"{path}[{index}].type", "a string", kind)
        if kind == "text" and not isinstance(part.get("text"), str):
            raise mismatch(f"{path}[{index}].text", "a string", part.get("text"))


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, (list, tuple)):
        raise mismatch("tools", "a list or null", tools)
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise mismatch(f"tools[{index}]", "a mapping", tool)
