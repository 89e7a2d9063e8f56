"""What makes an answer of any dialect one that must not be stored. Reasons never quote the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["choices_fault", "ignored_field", "named", "parsed", "parses", "read"]

_NAMEABLE: Final = 32
"""Characters: a longer finish reason is not a word of any protocol and is not repeated."""


def read(response: Response) -> dict[str, Any] | str:
    """The answer's document; or why there is none: no JSON object, or an error in it or in a frame."""
    for frame in response.frames:
        found = parsed(frame, "a frame")
        if isinstance(found, str):
            return found
        if found.get("error") is not None:
            return "a frame carries an error"
    document = parsed(response.body, "the answer")
    if not isinstance(document, str) and document.get("error") is not None:
        return "the answer carries an error"
    return document


def parsed(payload: bytes, what: str) -> dict[str, Any] | str:
    """The JSON object; or why there is none, in a sentence that begins with ``what``."""
    try:
        document = orjson.loads(payload)
    except ValueError:
        return f"{what} is not JSON"
    return document if isinstance(document, dict) else f"{what} is not an object"


def parses(text: str, *, only_object: bool = False) -> bool:
    """Whether a text is JSON, of an object if that is asked for."""
    try:
        value = orjson.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) or not only_object


def ignored_field(body: Mapping[str, Any]) -> str | None:
    """A reason when the request has fields that vLLM 0.12 and later ignore in silence; or None."""
    ignored = any(name.startswith("guided_") and value is not None for name, value in body.items())
    return "a guided_* field may have been ignored" if ignored else None


def choices_fault(choices: Any, n: int) -> str | None:
    """A reason why these are not n choices numbered from 0, or None."""
    if not isinstance(choices, list) or not choices:
        return "there are no choices"
    if not all(isinstance(choice, dict) for choice in choices):
        return "a choice is not an object"
    if len(choices) != n:
        return f"{len(choices)} choices came where {n} were asked for"
    indexes = [choice.get("index") for choice in choices]
    if not all(type(index) is int for index in indexes) or sorted(indexes) != list(range(n)):
        return "the choices are not numbered from 0"
    return None


def named(reason: Any) -> str:
    """A finish reason as it may be repeated: null, or a word in quotes, or that it is neither."""
    if reason is None:
        return "null"
    if isinstance(reason, str) and len(reason) <= _NAMEABLE and reason.isascii() and reason.isidentifier():
        return repr(reason)
    return "not a known word"
