"""The door: what no server of the Responses protocol could take is refused before anything is looked up."""

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

__all__ = ["TEXTS", "check"]

TEXTS: Final = ("input_text", "output_text", "text")
"""Types of the parts of a message that hold words."""

_NUMBERS: Final = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "top_logprobs",
)
_COUNTS: Final = ("max_output_tokens", "max_tool_calls")
_MAPPINGS: Final = ("text", "reasoning", "structured_outputs", "prompt_cache_options", "stream_options")
_INSTEAD_OF_INPUT: Final = ("prompt", "previous_response_id", "conversation")


def check(body: Any) -> None:
    """Raise InvalidRequest, naming the field, for the first fault."""
    check_body(body)
    _check_input(body)
    check_kind(body, "model", str, "a string")
    check_kind(body, "stream", bool, "true or false")
    check_numbers(body, _NUMBERS)
    for name in _COUNTS:
        if body.get(name) is not None:
            check_count(name, body[name])
    check_stop(body.get("stop"))
    for name in _MAPPINGS:
        check_kind(body, name, Mapping, "a mapping")
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, (list, tuple)):
        raise mismatch("tools", "a list or null", tools)
    for index, tool in enumerate(tools or ()):
        if not isinstance(tool, Mapping):
            raise mismatch(f"tools[{index}]", "a mapping", tool)


def _check_input(body: Mapping[str, Any]) -> None:
    given = body.get("input")
    if isinstance(given, str):
        return
    if given is None and any(body.get(name) is not None for name in _INSTEAD_OF_INPUT):
        return
    if not isinstance(given, (list, tuple)):
        raise mismatch("input", "a string or a list of items", given)
    if not given:
        raise InvalidRequest("input", "must not be empty")
    for index, item in enumerate(given):
        _check_item(item, f"input[{index}]")


def _check_item(item: Any, path: str) -> None:
    if not isinstance(item, Mapping):
        raise mismatch(path, "a mapping", item)
    kind = item.get("type")
    if kind is not None and not isinstance(kind, str):
        raise mismatch(f"{path}.type", "a string", kind)
    if kind == "message" or (kind is None and "content" in item):
        if not isinstance(item.get("role"), str):
            raise mismatch(f"{path}.role", "a string", item.get("role"))
        _check_content(item.get("content"), f"{path}.content")


def _check_content(content: Any, path: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, (list, tuple)):
        raise mismatch(path, "a string or a list of parts", content)
    for index, part in enumerate(content):
        if not isinstance(part, Mapping):
            raise mismatch(f"{path}[{index}]", "a mapping", part)
        kind = part.get("type")
        if not isinstance(kind, str):
            raise mismatch(f"{path}[{index}].type", "a string", kind)
        if kind in TEXTS and not isinstance(part.get("text"), str):
            raise mismatch(f"{path}[{index}].text", "a string", part.get("text"))
