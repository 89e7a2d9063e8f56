"""A stored response as a stream: the events a server would have sent, in its order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard

import orjson

from asynccache.dialects._encoding import encoded
from asynccache.dialects._responses_events import ENDS

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["replay"]

_UNKNOWN_AT_FIRST: Final[Mapping[str, Any]] = {
    "status": "in_progress",
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "output": [],
    "usage": None,
}
"""What a response says of itself before it is complete."""

_CALL_TEXTS: Final = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
}
"""The text that a call hands over, and the events that bring it."""

_PART_TEXTS: Final = {
    "output_text": ("text", "output_text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("text", "reasoning_text"),
}
"""The same for the parts of a content."""

_Event: TypeAlias = "tuple[str, dict[str, Any]]"
"""The type of an event, without its ``response.``, and its other fields."""


def replay(response: Response) -> Iterable[bytes]:
    """The frames of a stored answer; see ``Dialect.replay``."""
    return response.frames or list(_numbered(orjson.loads(response.body)))


def _numbered(document: Any) -> Iterator[bytes]:
    for number, (kind, fields) in enumerate(_made(document)):
        yield encoded({"type": f"response.{kind}", "sequence_number": number, **fields})


def _made(document: Any) -> Iterator[_Event]:
    """Events that ``assemble`` turns back into ``document``."""
    output = document.get("output") if isinstance(document, dict) else None
    if not isinstance(output, list):
        raise ValueError("the stored document is no response")  # noqa: TRY004  (it is bad data)
    status = document.get("status", "completed")
    if f"response.{status}" not in ENDS:
        raise ValueError("the stored response is not finished")
    begun = document | {name: value for name, value in _UNKNOWN_AT_FIRST.items() if name in document}
    yield "created", {"response": begun}
    yield "in_progress", {"response": begun}
    if not all(isinstance(item, dict) for item in output):
        raise ValueError("an output item of the stored response is no object")
    for place, item in enumerate(output):
        yield from _item(place, item)
    yield status, {"response": document}


def _item(place: int, item: dict[str, Any]) -> Iterator[_Event]:
    opening = {**item, "status": "in_progress"} if item.get("status") is not None else dict(item)
    where = {"item_id": item.get("id") or "", "output_index": place}
    kind = item.get("type")
    inside: list[_Event] = []
    if kind == "reasoning":
        inside += _summary(opening, where)
    if kind in ("message", "reasoning"):
        inside += _content(opening, where)
    if isinstance(kind, str) and kind in _CALL_TEXTS:
        text, event = _CALL_TEXTS[kind]
        inside += _text(opening, text, event, where)
    yield "output_item.added", {"output_index": place, "item": opening}
    yield from inside
    yield "output_item.done", {"output_index": place, "item": item}


def _summary(opening: dict[str, Any], where: Mapping[str, Any]) -> Iterator[_Event]:
    """The events of a reasoning's summary, which the ``opening`` item then lacks."""
    parts = opening.get("summary")
    if not _is_told_in_parts(parts):
        return
    opening["summary"] = []
    for index, part in enumerate(parts):
        here = {**where, "summary_index": index}
        empty = dict(part)
        inside = list(_text(empty, "text", "reasoning_summary_text", here))
        yield "reasoning_summary_part.added", {**here, "part": empty}
        yield from inside
        yield "reasoning_summary_part.done", {**here, "part": part}


def _content(opening: dict[str, Any], where: Mapping[str, Any]) -> Iterator[_Event]:
    """The events of a message's or reasoning's parts, which the ``opening`` item then lacks."""
    parts = opening.get("content")
    if not _is_told_in_parts(parts):
        return
    opening["content"] = []
    for index, part in enumerate(parts):
        here = {**where, "content_index": index}
        empty = dict(part)
        inside = list(_part(empty, here))
        yield "content_part.added", {**here, "part": empty}
        yield from inside
        yield "content_part.done", {**here, "part": part}


def _is_told_in_parts(parts: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Whether events can bring these; whatever else servers put there comes with its item."""
    return isinstance(parts, list) and all(isinstance(part, dict) for part in parts)


def _part(empty: dict[str, Any], here: Mapping[str, Any]) -> Iterator[_Event]:
    kind = empty.get("type")
    if not isinstance(kind, str) or kind not in _PART_TEXTS:
        return
    text, event = _PART_TEXTS[kind]
    if kind != "output_text":
        yield from _text(empty, text, event, here)
        return
    logprobs, annotations = empty.get("logprobs"), empty.get("annotations")
    for name in ("logprobs", "annotations"):
        if isinstance(empty.get(name), list):
            empty[name] = []
    told = list(_text(empty, text, event, {**here, "logprobs": logprobs or []}))
    yield from told[:-1]
    for index, annotation in enumerate(annotations if isinstance(annotations, list) else ()):
        yield (
            "output_text.annotation.added",
            {**here, "annotation_index": index, "annotation": annotation},
        )
    yield from told[-1:]


def _text(holder: dict[str, Any], name: str, event: str, where: Mapping[str, Any]) -> Iterator[_Event]:
    """The events of one text, which its ``holder`` then lacks."""
    text = holder.get(name)
    if not isinstance(text, str):
        return
    holder[name] = ""
    if text:
        yield f"{event}.delta", {**where, "delta": text}
    yield f"{event}.done", {**where, name: text}
