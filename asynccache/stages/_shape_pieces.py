"""The part of a prompt that requests of one caller should share, in the order templates write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from asynccache._errors import InvalidRequest
from asynccache._keys import to_json

__all__ = ["Piece", "static_pieces"]

_INSTRUCTING = ("system", "developer")


class Piece(NamedTuple):
    """A stretch of the prompt."""

    field: str
    """Where in the body it stands, such as ``tools[2]`` or ``messages[0].content``."""
    text: str


def static_pieces(body: Mapping[str, Any]) -> list[Piece]:
    """Tools as JSON, then the texts of the instructions at the beginning; empty for a body not understood."""
    try:
        return list(_pieces(body))
    except (InvalidRequest, AttributeError, TypeError):
        return []


def _pieces(body: Mapping[str, Any]) -> Iterator[Piece]:
    for name in ("tools", "functions"):
        for place, tool in enumerate(_list(body.get(name))):
            yield Piece(f"{name}[{place}]", to_json({"": tool}).decode()[len('{"":') : -1] + "\n")
    for place, message in enumerate(_list(body.get("messages"))):
        if message.get("role") not in _INSTRUCTING:
            return
        field = f"messages[{place}].content"
        content = message.get("content")
        if isinstance(content, str):
            yield Piece(field, content + "\n")
            continue
        for part in _list(content):
            if isinstance(text := part.get("text"), str):
                yield Piece(field, text + "\n")


def _list(value: Any) -> list[Any] | tuple[Any, ...]:
    return value if isinstance(value, (list, tuple)) else ()
