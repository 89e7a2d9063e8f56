"""May this text completion be stored? Only if it is complete, free of errors, and what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asynccache.dialects._faults import choices_fault, ignored_field, named, parses, read
from asynccache.dialects._inputs import as_inputs

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["verdict"]

_FINISHED: Final = frozenset({"stop", "end_turn", "stop_sequence", "eos_token"})
"""OpenAI's word for a text that came to its own end, and those some gateways pass through."""


def verdict(body: Mapping[str, Any], response: Response) -> str | None:
    """A reason why this answer must not be stored, or None; see ``Dialect.verdict``."""
    document = read(response)
    if isinstance(document, str):
        return document
    if fault := ignored_field(body):
        return fault
    for name in ("response_format", "structured_outputs"):
        if body.get(name) is not None and not isinstance(body[name], Mapping):
            return f"{name} is not a mapping"
    choices: Any = document.get("choices")
    if fault := choices_fault(choices, _prompts(body) * int(body.get("n") or 1)):
        return fault
    form = _json_form(body)
    return next((fault for choice in choices if (fault := _choice_fault(choice, form))), None)


def _prompts(body: Mapping[str, Any]) -> int:
    """How many prompts are completed; a request that names none completes the empty one."""
    embeds = body.get("prompt_embeds")
    given = 0 if embeds is None else len(embeds) if isinstance(embeds, (list, tuple)) else 1
    if body.get("prompt") is not None:
        given += len(as_inputs(body["prompt"]))
    return given or 1


def _json_form(body: Mapping[str, Any]) -> str | None:
    """Which JSON vLLM was asked for: ``"object"``, ``"any"``, or None."""
    form = (body.get("response_format") or {}).get("type")
    outputs = body.get("structured_outputs") or {}
    if form == "json_object" or outputs.get("json_object"):
        return "object"
    return "any" if form == "json_schema" or outputs.get("json") is not None else None


def _choice_fault(choice: dict[str, Any], form: str | None) -> str | None:
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason not in _FINISHED:
        return f"finish_reason is {named(reason)}"
    text = choice.get("text")
    if not isinstance(text, str):
        return "a choice has no text"
    if not text.strip():
        return "the text is empty"
    if form is not None and not parses(text, only_object=form == "object"):
        return "the text is not the JSON asked for"
    return None
