"""The text of a Responses request that another may word differently, and all that must be equal beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from asynccache.dialects._chat_question import INSTRUCTING
from asynccache.dialects._history import held_messages
from asynccache.dialects._responses_check import TEXTS
from asynccache.dialects._responses_tools import has_foreign_tool

if TYPE_CHECKING:
    from asynccache._models import History

__all__ = ["split"]

_REPEATING: Final = ("enable_response_messages", "moderation")
"""Set, the answer repeats the words of the question or tells of them: it fits no other wording."""

_BLANK: Final = {"question": True}
"""Stands where the question stood: a mapping, which ``check`` allows in no place of a text."""


def split(identity: Mapping[str, Any], history: History = "equal") -> tuple[Any, str | None]:
    """(context, question) of an identity; see ``Dialect.split``."""
    context, question = identity, None
    items = identity.get("input")
    if isinstance(items, list):
        *earlier, last = items
        asked = None if _is_settled(identity) else _asked(last)
        held = earlier if history == "equal" else _held(earlier, 0 if history == "ignore" else history)
        if asked is not None and held is not None:
            rest, question = asked
            context = {**identity, "input": [*held, rest]}
    # A list is never equal to a mapping, so no two modes share a context.
    return (context if history == "equal" else [history, context]), question


def _is_settled(identity: Mapping[str, Any]) -> bool:
    return any(identity.get(name) for name in _REPEATING) or has_foreign_tool(identity)


def _asked(item: Mapping[str, Any]) -> tuple[Mapping[str, Any], str] | None:
    """A user's message with a blank in place of its one text, and that text."""
    if item.get("type") != "message" or item["role"] != "user":
        return None
    content = item["content"]
    if isinstance(content, str):
        return ({**item, "content": _BLANK}, content) if content else None  # an identity's is stripped
    places = [place for place, part in enumerate(content) if part["type"] in TEXTS and part["text"].strip()]
    if len(places) != 1:
        return None
    [place] = places
    parts = [*content[:place], {**content[place], "text": _BLANK}, *content[place + 1 :]]
    return {**item, "content": parts}, content[place]["text"]


def _held(earlier: Sequence[Mapping[str, Any]], last: int) -> list[Mapping[str, Any]] | None:
    """What the history mode holds, by the rule of chat messages: whatever is no message is about tools."""
    return held_messages(earlier, last, instructing=INSTRUCTING, about_tools=_is_no_message)


def _is_no_message(item: Mapping[str, Any]) -> bool:
    return item.get("type") != "message"
