"""The prompts' beginnings that are worth keeping in a server's cache. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any, Final, NamedTuple

import orjson

from asynccache._keys import to_json

__all__ = ["Prefix", "PrefixCounts", "static_part"]

_STATIC: Final = (
    "model",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "parallel_tool_calls",
    "chat_template",
    "chat_template_kwargs",
    "reasoning_effort",
    "add_special_tokens",
    "cache_salt",
)
"""What chat templates put before, or into, the leading messages, and what decides who may share them."""

MOST_PREFIXES: Final = 256
MOST_BYTES: Final = 8 * 2**20
"""Bytes of JSON of all prefixes remembered."""


def static_part(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The part of a chat request that many others begin with: its leading instructions and its tools.

    None when it does not begin with a system or developer message: what it then shares with others is
    too little to be sent for.
    """
    messages = body.get("messages")
    if not isinstance(messages, (list, tuple)):
        return None
    leading = list(takewhile(_instructs, messages))
    if not leading:
        return None
    return {**{name: body[name] for name in _STATIC if name in body}, "messages": leading}


def _instructs(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") in ("system", "developer")


class Prefix(NamedTuple):
    """A static part, and what finds its replica."""

    key: bytes
    static: bytes
    """As JSON, so that it stays what it was whatever its caller does with the body."""

    @classmethod
    def of(cls, key: bytes, body: Mapping[str, Any]) -> Prefix | None:
        """The prefix of a chat request; None when it has no static part.

        Raises:
            InvalidRequest: JSON cannot carry it.
        """
        static = static_part(body)
        # orjson's bytes keep the whole buffer they were made in; a copy takes what it holds.
        return None if static is None else cls(key, bytes(memoryview(to_json(static))))

    def warming(self) -> dict[str, Any]:
        """The body of the cheapest request that makes a server compute the static part, and keep it.

        One token is asked for, for vLLM refuses to make none; the prompt ends where the real ones go on.
        """
        return {**orjson.loads(self.static), "max_tokens": 1, "add_generation_prompt": False}

    def __repr__(self) -> str:
        return f"<Prefix {self.key.hex()[:8]} {len(self.static)} bytes>"


class PrefixCounts:
    """Counts how often each prefix is used, in bounded room (space-saving, Metwally et al. 2005).

    The newcomer to a full table takes the place of the least used prefix, and its count: a count may be
    too high by that much, and a prefix used often is never missed for long.

    Args:
        most_prefixes: held at most, 1 or more.
        most_bytes: of their JSON, in all; a larger one is never held.
    """

    def __init__(self, *, most_prefixes: int = MOST_PREFIXES, most_bytes: int = MOST_BYTES) -> None:
        self._most_prefixes: Final = most_prefixes
        self._most_bytes: Final = most_bytes
        self._counts: dict[bytes, int] = {}  # the same keys as below
        self._held: dict[bytes, Prefix] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """Bytes of JSON held."""
        return self._size

    def note(self, key: bytes, body: Mapping[str, Any]) -> None:
        """Count one use by a request with this body, whose prefix has this key."""
        if key in self._counts:
            self._counts[key] += 1
            return
        prefix = Prefix.of(key, body)
        size = 0 if prefix is None else len(prefix.static)
        if prefix is None or size > self._most_bytes:
            return
        count = 0
        while len(self._held) >= self._most_prefixes or self._size + size > self._most_bytes:
            count = max(count, self._drop_least())
        self._counts[key] = count + 1
        self._held[key] = prefix
        self._size += size

    def _drop_least(self) -> int:
        least = min(self._counts, key=self._counts.__getitem__)  # of equals, the oldest
        self._size -= len(self._held.pop(least).static)
        return self._counts.pop(least)

    def most_used(self) -> list[Prefix]:
        """The prefixes held, the most used first."""
        keys = sorted(self._counts, key=self._counts.__getitem__, reverse=True)
        return [self._held[key] for key in keys]
