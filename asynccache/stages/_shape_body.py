"""Give a chat request the shape in which its upstream finds most of it computed already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from asynccache.stages._shape_order import by_hash, canonical_tools
from asynccache.stages._shape_volatile import Parted, Patterns, parted

__all__ = ["HEADING", "Shaped", "shaped_body"]

HEADING: Final = "[Request details]"
"""Stands over the lines that were moved."""

_INSTRUCTING: Final = ("system", "developer")
_LONGEST: Final = 32 * 2**10
"""Characters of instructions looked through, some milliseconds at most; longer ones stay as they are."""


class Shaped(NamedTuple):
    """What shaping made of a body."""

    body: Mapping[str, Any]
    """The very object given when nothing had to change."""
    moved: tuple[str, ...]
    """The lines that now stand under ``HEADING``, in their order. A user can write such lines himself, so
    the body alone does not tell who wrote them."""


def shaped_body(
    body: Mapping[str, Any], *, tools: bool = True, documents: bool = False, volatile: Patterns = ()
) -> Shaped:
    """The body, shaped, and what was moved in it. Shaping it again changes nothing.

    Args:
        body: of a chat request; never changed. What is not understood is left as it is.
        tools: sort ``tools`` and ``functions`` by name, and all keys in them.
        documents: sort ``documents`` by their hashes.
        volatile: lines of the first instructions in which one of these is found are moved to the end of
            the last user message; none: no line is.
    """
    changes: dict[str, Any] = {}
    moved: tuple[str, ...] = ()
    if tools:
        changes |= {name: canonical_tools(body[name]) for name in ("tools", "functions") if name in body}
    if documents and "documents" in body:
        changes["documents"] = by_hash(body["documents"])
    if volatile and "messages" in body and not body.get("continue_final_message"):
        changes["messages"], moved = _volatile_last(body["messages"], volatile)
    changes = {name: value for name, value in changes.items() if value is not body[name]}
    return Shaped({**body, **changes} if changes else body, moved)


def _volatile_last(messages: Any, patterns: Patterns) -> tuple[Any, tuple[str, ...]]:
    """The messages, and the lines moved in them.

    Every message but the first instructions and the last one stays the object it was.
    """
    if not isinstance(messages, (list, tuple)) or not all(isinstance(each, Mapping) for each in messages):
        return messages, ()
    first = next((n for n, each in enumerate(messages) if each.get("role") in _INSTRUCTING), None)
    if first is None or messages[-1].get("role") != "user":
        return messages, ()
    instructions = _without(messages[first].get("content"), patterns)
    if instructions is None:
        return messages, ()
    content, moved = instructions
    asking = _with(messages[-1].get("content"), "\n".join((HEADING, *moved)))
    if asking is None:
        return messages, ()
    made = list(messages)
    made[first] = {**messages[first], "content": content}
    made[-1] = {**messages[-1], "content": asking}
    return made, moved


def _without(content: Any, patterns: Patterns) -> tuple[Any, tuple[str, ...]] | None:
    """Instructions without their volatile lines, and these; None when there are none, or nothing else."""
    texts = [content] if isinstance(content, str) else _texts(content)
    if texts is None or sum(map(len, texts)) > _LONGEST:
        return None
    found = [parted(text, patterns) for text in texts]
    moved = tuple(line for each in found for line in each.moved)
    if not moved or not any(each.rest.strip() for each in found):
        return None
    if isinstance(content, str):
        return found[0].rest, moved
    return list(_kept(content, found)), moved


def _kept(parts: Sequence[Mapping[str, Any]], found: Sequence[Parted]) -> Sequence[Mapping[str, Any]]:
    """Parts with what stays of their texts; one of which nothing stays is gone."""
    pairs = [(part, each) for part, each in zip(parts, found, strict=True)]
    return [
        part if not each.moved else {**part, "text": each.rest}
        for part, each in pairs
        if not each.moved or each.rest.strip()
    ]


def _texts(content: Any) -> list[str] | None:
    """The texts of a list of text parts; None for any other content."""
    if not isinstance(content, (list, tuple)) or not content or not all(map(_is_text, content)):
        return None
    return [part["text"] for part in content]


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _with(content: Any, added: str) -> Any:
    """The question with lines behind it; None when it is neither a text nor a list of parts."""
    if isinstance(content, str):
        return f"{content}\n\n{added}"
    if not isinstance(content, (list, tuple)) or not content:
        return None
    *earlier, last = content
    if _is_text(last):
        return [*earlier, {**last, "text": f"{last['text']}\n\n{added}"}]
    return [*content, {"type": "text", "text": added}]
