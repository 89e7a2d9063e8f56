"""Plain text, made into frames as it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asynccache._errors import ConfigurationError
from asynccache._keys import to_json
from asynccache._registry import find_dialect

__all__ = ["TextFrames"]


class TextFrames:
    """Chat-completion chunks around the deltas of one answer, in the order a server sends them.

    Args:
        dialect: ``"chat.completions"``; the other protocols stream otherwise.
        body: the request body.
    """

    def __init__(self, dialect: str, body: Mapping[str, Any]) -> None:
        if dialect != "chat.completions":
            raise ConfigurationError(f"no streamed text in {dialect!r}; yield that protocol's events instead")
        whole = find_dialect(dialect).answer(body, "")
        self._outer: Final[dict[str, Any]] = {"object": "chat.completion.chunk"}
        self._outer.update((name, whole[name]) for name in ("id", "created", "model") if name in whole)
        self._first = True

    def delta(self, text: str) -> bytes:
        """The frame that brings ``text``; the first also says who speaks."""
        delta: dict[str, str] = {"role": "assistant", "content": text} if self._first else {"content": text}
        self._first = False
        return self._frame(delta, None)

    def finish(self) -> bytes:
        """The frame that ends the answer."""
        return self._frame({}, "stop")

    def _frame(self, delta: Mapping[str, str], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return to_json({**self._outer, "choices": [choice]})
