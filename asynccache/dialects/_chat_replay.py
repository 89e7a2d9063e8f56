"""A stored answer as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from asynccache.dialects import _choices_replay as choices_replay

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["replay"]

_TEXTS: Final = ("reasoning", "reasoning_content", "content", "refusal")
"""In the order in which a model makes them."""

_CALL_TEXTS: Final = {"function": "arguments", "custom": "input"}
"""The part of a tool call that servers send after its name."""


def replay(body: Mapping[str, Any], response: Response) -> Iterable[bytes]:
    """The frames of a stored answer; see ``Dialect.replay``."""
    return choices_replay.replay(body, response, kind="chat.completion.chunk", chunks=_choice_chunks)


def _choice_chunks(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not isinstance(choice.get("message"), dict):
        raise ValueError("a choice of the stored document has no message")  # noqa: TRY004  (it is bad data)
    rest = {name: choice[name] for name in choice if name not in ("index", "message")}
    for delta in _deltas(choice["message"]):
        chunk = {"index": choice["index"], "delta": delta, "finish_reason": None}
        if delta.get("content") and "logprobs" in rest:
            chunk["logprobs"] = rest.pop("logprobs")
        yield chunk
    yield {"index": choice["index"], "delta": {}, **rest}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    texts = [name for name in _TEXTS if isinstance(message.get(name), str)]
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        calls = []
    opening = {
        name: value
        for name, value in message.items()
        if name not in texts and not (name == "tool_calls" and calls)
    }
    if "content" in texts:
        opening["content"] = ""
    yield opening
    for name in texts:
        yield {name: message[name]}
    for index, call in enumerate(calls):
        yield from ({"tool_calls": [{"index": index, **part}]} for part in _call_parts(call))


def _call_parts(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    opening = dict(call)
    later = []
    for kind, text in _CALL_TEXTS.items():
        inner = call.get(kind)
        if isinstance(inner, dict) and isinstance(inner.get(text), str):
            opening[kind] = {**inner, text: ""}
            later.append({kind: {text: inner[text]}})
    yield opening
    yield from later
