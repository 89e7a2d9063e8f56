"""The door: what no server of the Messages protocol could take is refused before anything is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asynccache._errors import InvalidRequest
from asynccache.dialects._checks import check_body, check_kind, check_limit, check_numbers, mismatch

__all__ = ["check"]

_NUMBERS: Final = ("temperature", "top_p", "top_k")
_MAPPINGS: Final = ("metadata", "output_config", "output_format", "thinking", "tool_choice")


def check(body: Any) -> None:
    """Raise InvalidRequest, naming the field, for the first fault."""
    check_body(body)
    _check_messages(body.get("messages"))
    # The protocol demands it; 0 asks for no answer, only that the upstream reads the prompt.
    check_limit("max_tokens", body.get("max_tokens"))
    if body.get("system") is not None:
        _check_content(body["system"], "system")
    check_kind(body, "model", str, "a string")
    check_kind(body, "stream", bool, "true or false")
    check_numbers(body, _NUMBERS)
    for name in _MAPPINGS:
        check_kind(body, name, Mapping, "a mapping")
    _check_items(body, "stop_sequences", str, "a string")
    _check_items(body, "tools", Mapping, "a mapping")


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
    if isinstance(content, str):
        return
    if not isinstance(content, (list, tuple)):
        raise mismatch(path, "a string or a list of blocks", content)
    for index, block in enumerate(content):
        if not isinstance(block, Mapping):
            raise mismatch(f"{path}[{index}]", "a mapping", block)
        kind = block.get("type")
        if not isinstance(kind, str):
            raise mismatch(f"{path}[{index}].type", "a string", kind)
        if kind == "text" and not isinstance(block.get("text"), str):
            raise mismatch(f"{path}[{index}].text", "a string", block.get("text"))


def _check_items(body: Mapping[str, Any], name: str, kind: type, words: str) -> None:
    items = body.get(name)
    if items is None:
        return
    if not isinstance(items, (list, tuple)):
        raise mismatch(name, "a list or null", items)
    for index, item in enumerate(items):
        if not isinstance(item, kind):
            raise mismatch(f"{name}[{index}]", words, item)
