"""The text of a Messages request that another may word differently, and all that must be equal beside it.

The default is to demand equality: a message is cut away only if the history mode says so, and a request
of which no one text is the question has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asynccache.dialects._history import held_messages

if TYPE_CHECKING:
    from asynccache._models import History

__all__ = ["split"]

_Message: TypeAlias = "Mapping[str, Any]"

_INSTRUCTING: Final = ("system",)
"""The role of messages that are held whatever the history mode cuts away, as the field of that name is."""

_OF_TOOLS: Final = ("tool_use", "tool_result")
"""How the types of all blocks end that call a tool or bring what it said, the server's own tools too."""

_BLANK: Final = {"question": True}
"""Stands where the question stood: a mapping, which ``check`` allows in no place of a text."""


def split(identity: Mapping[str, Any], history: History = "equal") -> tuple[Any, str | None]:
    """(context, question) of an identity; see ``Dialect.split``."""
    context, question = identity, None
    *earlier, last = identity["messages"]
    asked = _asked(last)
    held = earlier if history == "equal" else _held(earlier, 0 if history == "ignore" else history)
    if asked is not None and held is not None:
        rest, question = asked
        context = {**identity, "messages": [*held, rest]}
    # A list is never equal to a mapping, so no two modes share a context.
    return (context if history == "equal" else [history, context]), question


def _asked(message: _Message) -> tuple[_Message, str] | None:
    """A user's message with a blank in place of its one text, and that text."""
    if message["role"] != "user" or _is_about_tools(message):
        return None
    blocks = message["content"]
    places = [
        place for place, block in enumerate(blocks) if block["type"] == "text" and block["text"].strip()
    ]
    if len(places) != 1:
        return None
    [place] = places
    rest = [*blocks[:place], {**blocks[place], "text": _BLANK}, *blocks[place + 1 :]]
    return {**message, "content": rest}, blocks[place]["text"]


def _held(earlier: Sequence[_Message], last: int) -> list[_Message] | None:
    return held_messages(earlier, last, instructing=_INSTRUCTING, about_tools=_is_about_tools)


def _is_about_tools(message: _Message) -> bool:
    return any(block["type"].endswith(_OF_TOOLS) for block in message["content"])
