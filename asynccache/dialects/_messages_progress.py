"""When a streamed message is complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["MessageProgress"]


class MessageProgress:
    """Whether the message has begun, given its reason to stop, and ended; see ``Progress``."""

    def __init__(self) -> None:
        self._begun = False
        self._finished = False
        self._ended = False

    def note(self, document: Mapping[str, Any]) -> None:
        match document.get("type"):
            case "message_start":
                if self._begun:
                    raise ValueError("a second message_start")
                self._begun = True
            case "message_delta":
                delta = document.get("delta")
                if not isinstance(delta, dict):
                    raise ValueError("a message_delta without a delta")  # noqa: TRY004  (it is bad data)
                self._finished = self._finished or bool(delta.get("stop_reason"))
            case "message_stop":
                self._ended = True
            case kind if not isinstance(kind, str):
                raise ValueError("an event without a type")
            case _:
                pass

    def missing(self) -> str | None:
        if not self._begun:
            return "without an answer"
        if not self._finished:
            return "before a stop_reason had come"
        return None if self._ended else "before message_stop had come"
