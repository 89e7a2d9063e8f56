"""Events into the message an unstreamed call would have returned.

Blocks grow by their deltas, each kind by its rule; the message takes what the last events say of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson

from asynccache.dialects._encoding import encoded

__all__ = ["assemble"]

_T = TypeVar("_T", str, list[Any])

_JOINED: Final = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input"),
}
"""Deltas that bring a piece: where it stands in them, and the field of the block that they make."""

_REPLACING: Final = {
    "signature_delta": ("signature",),
    "compaction_delta": ("content", "encrypted_content"),
}
"""Deltas that bring the whole of some fields."""


def assemble(frames: Sequence[bytes]) -> bytes:
    """The message that ``frames`` amount to; see ``Dialect.assemble``."""
    message = _Message()
    for frame in frames:
        event = orjson.loads(frame)
        if not isinstance(event, dict):
            raise ValueError("a frame is not an object")  # noqa: TRY004  (it is bad data)
        message.take(event)
    return encoded(message.made())


class _Message:
    """A message in the making."""

    def __init__(self) -> None:
        self._fields: Final[dict[str, Any]] = {}
        self._blocks: Final[dict[int, _Block]] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "message_start":
                self._begin(_part(event, "message"))
            case "content_block_start":
                self._begin_block(_index(event), _part(event, "content_block"))
            case "content_block_delta":
                if (index := _index(event)) not in self._blocks:
                    raise ValueError("a delta of a block that has not begun")
                self._blocks[index].grow(_part(event, "delta"))
            case "message_delta":
                _change(self._fields, event)
            case "error":
                raise ValueError("a frame carries an error")
            case _:  # pings, ends, and what the protocol may add: clients are to pass over it
                pass

    def _begin(self, message: dict[str, Any]) -> None:
        if self._fields:
            raise ValueError("a message has begun already")
        if message.get("content"):
            raise ValueError("a message begins with content")
        self._fields.update(message)

    def _begin_block(self, index: int, block: dict[str, Any]) -> None:
        if index in self._blocks:
            raise ValueError("a content block begins twice")
        self._blocks[index] = _Block(block)
        # The model asked for declined, and another answers: an unstreamed message names the latter.
        if block.get("type") == "fallback" and isinstance(block.get("to"), dict) and "model" in block["to"]:
            self._fields["model"] = block["to"]["model"]

    def made(self) -> dict[str, Any]:
        if self._fields.get("type") != "message":
            raise ValueError("no frame begins a message")
        return {**self._fields, "content": [self._blocks[index].made() for index in sorted(self._blocks)]}


def _part(event: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = event.get(name)
    if not isinstance(part, dict):
        raise ValueError(f"an event has no {name}")  # noqa: TRY004  (it is bad data)
    return part


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    if type(index) is not int:
        raise ValueError("a content block has no index")
    return index


def _change(message: dict[str, Any], event: Mapping[str, Any]) -> None:
    """A null takes nothing back; counts of usage are totals, those left out stay."""
    changes = {name: value for name, value in event.items() if name not in ("type", "delta", "usage")}
    _update(message, {**changes, **_part(event, "delta")})
    usage = event.get("usage")
    if isinstance(usage, dict):
        if not isinstance(message.get("usage"), dict):
            message["usage"] = {}
        _update(message["usage"], usage)


def _update(known: dict[str, Any], news: Mapping[str, Any]) -> None:
    known.update((name, value) for name, value in news.items() if value is not None or name not in known)


class _Block:
    """A content block in the making."""

    def __init__(self, start: dict[str, Any]) -> None:
        self._fields: Final = start
        self._pieces: Final[dict[str, list[str]]] = {}

    def grow(self, delta: Mapping[str, Any]) -> None:
        kind = delta.get("type")
        if not isinstance(kind, str):
            raise ValueError("a delta without a type")  # noqa: TRY004  (it is bad data)
        if kind in _JOINED:
            source, field = _JOINED[kind]
            piece = delta.get(source)
            if not isinstance(piece, str):
                raise ValueError("a delta brings no text")
            self._pieces.setdefault(field, []).append(piece)
        elif kind in _REPLACING:
            self._fields.update((name, delta[name]) for name in _REPLACING[kind] if name in delta)
        elif kind == "citations_delta":
            self._fields["citations"] = [*_begun(self._fields, "citations", list), delta.get("citation")]
        else:  # what it would have brought is missing from the block
            raise ValueError("a delta of an unknown type")

    def made(self) -> dict[str, Any]:
        for field, pieces in self._pieces.items():
            joined = "".join(pieces)
            if field != "input":
                self._fields[field] = _begun(self._fields, field, str) + joined
            elif joined.strip():  # nothing: a call without arguments is whole from its start
                self._fields[field] = _input(joined)
        return self._fields


def _begun(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    """What a field that deltas go on with was at the block's start."""
    value = fields.get(name) or kind()
    if not isinstance(value, kind):
        raise ValueError("a delta of another type than its block")  # noqa: TRY004  (it is bad data)
    return value


def _input(text: str) -> orjson.Fragment | str:
    """The JSON as it came, so that no number loses a digit; what is no JSON stays a text."""
    try:
        orjson.loads(text)
    except ValueError:
        return text
    return orjson.Fragment(text)
