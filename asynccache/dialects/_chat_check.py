"""The door: what no chat-completions server could take is refused before anything is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from asynccache._errors import InvalidRequest

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
_DEEPEST: Final = 200
"""Levels of nesting; JSON encoders stop a little later (orjson at 254)."""


def check(body: Any) -> None:
    """Raise InvalidRequest, naming the field, for the first fault."""
    if not isinstance(body, Mapping):
        raise InvalidRequest("body", f"expected a mapping, got {type(body).__name__}")
    _check_json(body, "body", 0)
    _check_messages(body.get("messages"))
    for name, kind, words in (("model", str, "a string"), ("stream", bool, "true or false")):
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            raise _mismatch(name, words, value)
    for name in _NUMBERS:
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise _mismatch(name, "a number", value)
    for name in _COUNTS:
        if body.get(name) is not None:
            _check_count(name, body[name])
    _check_stop(body.get("stop"))
    _check_tools(body.get("tools"))
    options = body.get("stream_options")
    if options is not None and not isinstance(options, Mapping):
        raise _mismatch("stream_options", "a mapping", options)


def _mismatch(field: str, words: str, value: object) -> InvalidRequest:
    return InvalidRequest(field, f"expected {words}, got {type(value).__name__}")


def _check_json(value: Any, path: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise InvalidRequest(path, "nested too deeply")
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise InvalidRequest(path, f"keys must be strings, got {type(name).__name__}")
            _check_json(item, name if depth == 0 else f"{path}.{name}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_json(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float) and not isfinite(value):
        raise InvalidRequest(path, "must be finite")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, (list, tuple)):
        raise _mismatch("messages", "a list", messages)
    if not messages:
        raise InvalidRequest("messages", "must not be empty")
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, Mapping):
            raise _mismatch(path, "a mapping", message)
        if not isinstance(message.get("role"), str):
            raise _mismatch(f"{path}.role", "a string", message.get("role"))
        _check_content(message.get("content"), f"{path}.content")


def _check_content(content: Any, path: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, (list, tuple)):
        raise _mismatch(path, "a string, a list of parts or null", content)
    for index, part in enumerate(content):
        if not isinstance(part, Mapping):
            raise _mismatch(f"{path}[{index}]", "a mapping", part)
        kind = part.get("type")
        if not isinstance(kind, str):
            raise _mismatch(f"{path}[{index}].type", "a string", kind)
        if kind == "text" and not isinstance(part.get("text"), str):
            raise _mismatch(f"{path}[{index}].text", "a string", part.get("text"))


def _check_count(name: str, value: Any) -> None:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())  # JSON's 2.0 is 2
    if isinstance(value, bool) or not whole:
        raise InvalidRequest(name, f"expected a whole number, got {type(value).__name__}")
    if value < 1:
        raise InvalidRequest(name, f"must be positive, got {value!r}")


def _check_stop(stop: Any) -> None:
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, (list, tuple)):
        raise _mismatch("stop", "a string, a list of strings or null", stop)
    for index, item in enumerate(stop):
        if not isinstance(item, str):
            raise _mismatch(f"stop[{index}]", "a string", item)


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, (list, tuple)):
        raise _mismatch("tools", "a list or null", tools)
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise _mismatch(f"tools[{index}]", "a mapping", tool)
