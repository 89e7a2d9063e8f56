"""When a stream of choices is complete: chat completions and text completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ChoicesProgress"]


class ChoicesProgress:
    """Which choices have begun, and which are finished; see ``Progress``."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    def note(self, document: Mapping[str, Any]) -> None:
        choices = document.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                raise ValueError("a choice that is no JSON object")  # noqa: TRY004  (it is bad data)
            index = choice.get("index")
            number = index if isinstance(index, int) else 0
            self._begun.add(number)
            if choice.get("finish_reason"):
                self._finished.add(number)

    def missing(self) -> str | None:
        if not self._begun:
            return "without an answer"
        if missing := self._begun - self._finished:
            return f"before {len(missing)} of {len(self._begun)} choices had finished"
        return None
