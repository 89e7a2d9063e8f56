"""What the output of a response says and calls, read from JSON that nobody has checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["acts", "message_texts", "said"]

_PASSIVE: Final = frozenset(
    {
        "code_interpreter_call",
        "compaction",
        "file_search_call",
        "image_generation_call",
        "message",
        "reasoning",
        "web_search_call",
    }
)
"""Types of output items that ask for nothing: words, and what the server itself has done."""


def _parts(item: Mapping[str, Any], kind: str, text: str) -> Iterator[str]:
    content = item.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") == kind and isinstance(part.get(text), str):
            yield part[text]


def message_texts(item: Any) -> list[str]:
    """The texts of an output item that is a message; none of any other."""
    if not isinstance(item, dict) or item.get("type") != "message":
        return []
    return list(_parts(item, "output_text", "text"))


def acts(item: Any) -> bool:
    """Whether an output item asks for something to be done; one of an unknown type may."""
    return not (isinstance(item, dict) and str(item.get("type")) in _PASSIVE)


def said(items: list[Any]) -> list[tuple[Any, ...]]:
    """What output items say to whoever reads them, whatever ids they carry, in order."""
    found: list[tuple[Any, ...]] = []
    for item in items:
        if not isinstance(item, dict):
            continue
        match item.get("type"):
            case "message":
                found += [("text", text) for text in message_texts(item)]
                found += [("refusal", text) for text in _parts(item, "refusal", "refusal")]
            case "function_call":
                found.append(("function_call", item.get("name"), item.get("arguments")))
            case "custom_tool_call":
                found.append(("custom_tool_call", item.get("name"), item.get("input")))
            case _:
                pass
    return found
