"""Which earlier messages belong to the context of a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["held_messages"]

_M = TypeVar("_M", bound=Mapping[str, Any])


def held_messages(
    earlier: Sequence[_M], last: int, *, instructing: tuple[str, ...], about_tools: Callable[[_M], bool]
) -> list[_M] | None:
    """The instructions and at least the ``last`` of the other messages; None if any is about tools.

    Results of tools mean nothing without the calls, and the calls nothing without what led to them.

    Args:
        earlier: what was said before the question, in order; ``role`` says by whom.
        last: how many messages, 0 or more.
        instructing: the roles of instructions.
        about_tools: whether a message calls tools or brings what they said.
    """
    others = [place for place, message in enumerate(earlier) if message.get("role") not in instructing]
    # What was said since the last answer belongs to the turn of the question: a document sent ahead, or
    # tools that are still at work.
    answers = (
        n
        for n, place in enumerate(reversed(others))
        if earlier[place].get("role") == "assistant" and not about_tools(earlier[place])
    )
    cut = set(others[: max(0, len(others) - max(last, next(answers, len(others))))])
    held = [message for place, message in enumerate(earlier) if place not in cut]
    return None if any(map(about_tools, held)) else held
