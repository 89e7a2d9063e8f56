"""May what a LangChain model returned be stored? Only if each answer is complete and says something. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import Generation

__all__ = ["verdict"]

_REASONS: Final = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason")
"""What providers call it. The first counts: vLLM's stop_reason, beside a finish_reason, is a stop string."""
_FINISHED: Final = frozenset(
    {
        "complete",
        "completed",
        "end_turn",
        "endoftext",
        "eos",
        "eos_token",
        "function_call",
        "stop",
        "stop_sequence",
        "tool_call",
        "tool_calls",
        "tool_use",
    }
)
"""Their words, in lower case, for an answer that came to its own end. Any other word is not trusted."""
_UNFINISHED: Final = frozenset({"cancelled", "failed", "in_progress", "incomplete", "queued"})
"""OpenAI's words for a response (the Responses protocol) that is no whole answer."""
_SILENT: Final = frozenset({"reasoning", "redacted_thinking", "refusal", "thinking"})
"""Blocks that are no answer."""
_NAMEABLE: Final = 32
"""Characters: a longer finish reason is not a word of any provider and is not repeated."""


def verdict(generations: Sequence[Generation]) -> str | None:
    """A reason why these must not be stored, or None; it quotes no answer.

    An answer without any finish reason passes: plain models and fakes report none.
    """
    if not generations:
        return "there are no generations"
    return next((fault for each in generations if (fault := _fault(each))), None)


def _fault(generation: Generation) -> str | None:
    message: BaseMessage | None = getattr(generation, "message", None)
    if fault := _unfinished(generation.generation_info or {}):
        return fault
    if message is None:
        return None if generation.text.strip() else "an answer is empty"
    if fault := _unfinished(message.response_metadata):
        return fault
    if getattr(message, "invalid_tool_calls", None):
        return "a tool call does not parse"
    return None if _acts(message) or _says(message.content) else "an answer is empty"


def _unfinished(facts: Mapping[str, Any]) -> str | None:
    if facts.get("error") is not None:
        return "an answer carries an error"
    if facts.get("done") is False or facts.get("incomplete_details") is not None:
        return "an answer is not complete"
    status = facts.get("status")
    if isinstance(status, str) and status in _UNFINISHED:
        return f"status is {status!r}"
    given = [(name, facts[name]) for name in _REASONS if name in facts]
    if not given:
        return None
    name, reason = next((each for each in given if each[1] is not None), given[0])
    if isinstance(reason, str) and reason.lower() in _FINISHED:
        return None
    if reason is None or (isinstance(reason, str) and reason.isidentifier() and len(reason) <= _NAMEABLE):
        return f"{name} is {reason!r}"
    return f"{name} is no word known"


def _acts(message: BaseMessage) -> bool:
    extra = message.additional_kwargs
    return bool(getattr(message, "tool_calls", None) or extra.get("tool_calls") or extra.get("function_call"))


def _says(content: str | list[str | dict[Any, Any]]) -> bool:
    return any(map(_speaks, [content] if isinstance(content, str) else content))


def _speaks(block: str | dict[Any, Any]) -> bool:
    if isinstance(block, str):
        return bool(block.strip())
    kind = block.get("type")
    if kind in _SILENT:
        return False
    return kind != "text" or bool(str(block.get("text", "")).strip())
