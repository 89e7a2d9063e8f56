"""The events of a streamed response: when it is complete, what it amounts to, how one goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from asynccache.dialects._encoding import encoded

__all__ = ["ENDS", "ResponsesProgress", "addressed", "assemble", "ends", "event", "renewed", "streamed_items"]

ENDS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})
"""The types of the events that end a response; each holds the whole of it."""

_OF_THE_ASKER: Final[Mapping[str, Any]] = {
    "metadata": {},
    "prompt_cache_key": None,
    "safety_identifier": None,
    "user": None,
}
"""Neutral fields of a request that the response repeats, and what they are when none was given."""


def _object(frame: bytes) -> dict[str, Any]:
    """Empty for what is none: an upstream's broken event is passed on as it came."""
    try:
        parsed = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


class ResponsesProgress:
    """Whether the final event has come; see ``Progress``."""

    def __init__(self) -> None:
        self._begun = False
        self._ended = False

    def note(self, document: Mapping[str, Any]) -> None:
        kind = document.get("type")
        if not isinstance(kind, str):
            raise ValueError("an event without a type")  # noqa: TRY004  (it is bad data)
        self._begun = True
        if kind in ENDS:
            if not isinstance(document.get("response"), dict):
                raise ValueError("a final event without a response")
            self._ended = True

    def missing(self) -> str | None:
        if not self._begun:
            return "without an answer"
        return None if self._ended else "before the response was complete"


def assemble(frames: Sequence[bytes]) -> bytes:
    """The response of the final event, with the items of the others where it has none; see ``Dialect``."""
    events = [orjson.loads(frame) for frame in frames]
    document = None
    for parsed in events:
        if not isinstance(parsed, dict):
            raise ValueError("a frame is not an object")  # noqa: TRY004  (it is bad data)
        if ends(parsed):
            document = parsed.get("response")
    if not isinstance(document, dict):
        raise ValueError("no frame holds the final response")  # noqa: TRY004  (it is bad data)
    if not document.get("output"):  # vLLM has left it empty
        document["output"] = streamed_items(events)
    return encoded(document)


def ends(parsed: Mapping[str, Any]) -> bool:
    """Whether an event is the final one."""
    kind = parsed.get("type")
    return isinstance(kind, str) and kind in ENDS


def streamed_items(events: Sequence[dict[str, Any]]) -> list[Any]:
    """The output items that the events hold, each as it was when done, in order."""
    done = {}
    for parsed in events:
        place = parsed.get("output_index")
        if parsed.get("type") == "response.output_item.done" and isinstance(place, int):
            done[place] = parsed.get("item")
    return [item for _, item in sorted(done.items())]


def event(frame: bytes) -> bytes:
    """One server-sent event, named by the frame's type; see ``Dialect.event``."""
    parsed = _object(frame)
    kind = parsed.get("type")
    error = parsed.get("error")
    if not isinstance(kind, str) and error is not None:
        kind = "error"
        with suppress(ValueError):  # nested too deeply: it goes out as it came
            frame = encoded(_error_event(error))
    data = frame.replace(b"\n", b"\ndata: ")  # JSON written over several lines
    if not isinstance(kind, str):
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _error_event(error: Any) -> dict[str, Any]:
    """An error as an event: flat, as documented, and nested, the form that OpenAI's clients raise."""
    told = error if isinstance(error, dict) else {"message": str(error)}
    code = told.get("code")
    return {
        "type": "error",
        "sequence_number": 0,  # who writes it does not know how many went before
        "code": None if code is None else str(code),
        "message": told.get("message"),
        "param": told.get("param"),
        "error": error,
    }


def renewed(payload: bytes, *, token: str, now: int) -> bytes:
    """A response, or an event that holds one, as if made now; see ``Dialect.renewed``."""
    parsed = orjson.loads(payload)
    document = _response(parsed)
    if document is None:
        return payload
    if "id" in document and document.get("store") is not True:
        document["id"] = f"resp_{token}"
    for name in ("created_at", "completed_at"):
        if document.get(name) is not None:
            document[name] = now
    return orjson.dumps(parsed)


def addressed(body: Mapping[str, Any], payload: bytes) -> bytes:
    """A response, or an event that holds one, as if made for ``body``; see ``Dialect.addressed``."""
    parsed = orjson.loads(payload)
    document = _response(parsed)
    if document is None:
        return payload
    repeated = {
        name: body.get(name) or nothing
        for name, nothing in _OF_THE_ASKER.items()
        if document.get(name) or (name in document and body.get(name))
    }
    if all(document[name] == value for name, value in repeated.items()):
        return payload
    return orjson.dumps(
        {**parsed, "response": {**document, **repeated}} if document is not parsed else {**parsed, **repeated}
    )


def _response(parsed: Any) -> dict[str, Any] | None:
    """The response that a document is or an event holds."""
    if not isinstance(parsed, dict):
        return None
    found = parsed.get("response") if "type" in parsed else parsed
    return found if isinstance(found, dict) else None
