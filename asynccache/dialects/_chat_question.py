"""The text of a chat request that another may word differently, and all that must be equal beside it.

The default is to demand equality: a message is cut away only if the history mode says so, and a request
of which no one text is the question has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asynccache.dialects._history import held_messages

if TYPE_CHECKING:
    from asynccache._models import History

__all__ = ["INSTRUCTING", "split"]

_Message: TypeAlias = "Mapping[str, Any]"

INSTRUCTING: Final = ("system", "developer")
"""Roles whose messages are held whatever the history mode cuts away."""

_REPEATING: Final = (
    "continue_final_message",
    "echo",
    "prompt_logprobs",
    "return_prompt_text",
    "return_token_ids",
    "routed_experts_prompt_start",
)
"""Set, they make vLLM go on with the words of the question, repeat them or tell of each of their tokens:
such an answer fits no other wording."""

_BLANK: Final = {"question": True}
"""Stands where the question stood: a mapping, which ``check`` allows in no place of a text."""


def split(identity: Mapping[str, Any], history: History = "equal") -> tuple[Any, str | None]:
    """(context, question) of an identity; see ``Dialect.split``."""
    context, question = identity, None
    *earlier, last = identity["messages"]
    asked = None if _repeats(identity) else _asked(last)
    held = earlier if history == "equal" else _held(earlier, 0 if history == "ignore" else history)
    if asked is not None and held is not None:
        rest, question = asked
        context = {**identity, "messages": [*held, rest]}
    # A list is never equal to a mapping, so no two modes share a context.
    return (context if history == "equal" else [history, context]), question


def _repeats(identity: Mapping[str, Any]) -> bool:
    values = (identity.get(name) for name in _REPEATING)
    return (
        any(value is not None and value is not False for value in values)
        # Without it the model goes on with the user's turn.
        or identity.get("add_generation_prompt") is False
    )


def _asked(message: _Message) -> tuple[_Message, str] | None:
    """A user's message with a blank in place of its one text, and that text."""
    if message["role"] != "user":
        return None
    content = message.get("content") or ""
    if isinstance(content, str):
        return ({**message, "content": _BLANK}, content) if content else None  # an identity's is stripped
    places = [place for place, part in enumerate(content) if part["type"] == "text" and part["text"].strip()]
    if len(places) != 1:
        return None
    [place] = places
    parts = [*content[:place], {**content[place], "text": _BLANK}, *content[place + 1 :]]
    return {**message, "content": parts}, content[place]["text"]


def _held(earlier: Sequence[_Message], last: int) -> list[_Message] | None:
    return held_messages(earlier, last, instructing=INSTRUCTING, about_tools=_is_about_tools)


def _is_about_tools(message: _Message) -> bool:
    return bool(
        message["role"] in ("tool", "function") or message.get("tool_calls") or message.get("function_call")
    )
