"""Which requests a cache must leave alone: about state at the server, or with tools that act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["bypass", "has_foreign_tool"]

_STATE: Final = ("conversation", "previous_response_id", "kv_transfer_params", "ec_transfer_params")
"""They name what a server holds: it changes (a conversation), may be gone meanwhile (a response), or is of
use to one request only (state handed over between servers)."""

_ACTING: Final = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use",
        "computer_use_preview",
        "local_shell",
        "mcp",
        "programmatic_tool_calling",
        "shell",
    }
)
"""Tools that change something outside the answer, or look at what changes from call to call: an answer from
a cache would leave undone what it says was done."""

_KNOWN: Final = frozenset(
    {"custom", "file_search", "function", "image_generation", "namespace", "tool_search", "web_search"}
)
"""Tools that only find something, or whose calls are handed to the caller."""


def bypass(body: Mapping[str, Any]) -> str | None:
    """A reason why this request must never touch the cache, or None; see ``Dialect.bypass``."""
    for name in _STATE:
        if body.get(name) is not None:
            return f"{name} is set"
    if body.get("background"):
        return "background is set"
    prompt = body.get("prompt")
    if isinstance(prompt, Mapping) and prompt.get("version") is None:
        return "prompt has no version"  # whoever edits the template at the server changes the answer
    options = body.get("prompt_cache_options")
    if isinstance(options, Mapping) and options.get("prewarm"):
        return "prompt_cache_options.prewarm is set"
    for item in _items(body):
        kind = item.get("type")
        if kind == "item_reference" or (kind is None and "content" not in item):
            return "an input item is a reference"
    for tool in _tools(body):
        kind = tool.get("type")
        if kind in _ACTING:
            return f"the tool {kind} acts"
    return None


def has_foreign_tool(body: Mapping[str, Any]) -> bool:
    """Whether one of the tools is of a kind not known here: what it does, nobody can tell."""
    return any(_family(tool.get("type")) not in _KNOWN for tool in _tools(body))


def _family(kind: Any) -> Any:
    """Web search goes by names with "preview" and a date in them."""
    return "web_search" if isinstance(kind, str) and kind.startswith("web_search") else kind


def _items(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    given = body.get("input")
    for item in given if isinstance(given, (list, tuple)) else ():
        if isinstance(item, Mapping):
            yield item


def _tools(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The request's own tools, and those that items of the conversation have brought since."""
    for holder in (body, *_items(body)):
        tools = holder.get("tools")
        for tool in tools if isinstance(tools, (list, tuple)) else ():
            if isinstance(tool, Mapping):
                yield tool
