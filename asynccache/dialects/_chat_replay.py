"""A stored answer as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["replay", "replayable"]

_EVERY_CHUNK: Final = ("id", "created", "model", "system_fingerprint", "service_tier")
"""Of the document, what clients expect on each chunk; all else stands on the first."""

_TEXTS: Final = ("reasoning", "reasoning_content", "content", "refusal")
"""In the order in which a model makes them."""

_CALL_TEXTS: Final = {"function": "arguments", "custom": "input"}
"""The part of a tool call that servers send after its name."""


def replay(body: Mapping[str, Any], response: Response) -> Iterable[bytes]:
    """The frames of a stored answer; see ``Dialect.replay``."""
    asked = _asks_for_usage(body)
    if not response.frames:
        return list(_made(orjson.loads(response.body), with_usage=asked))
    if not asked and _is_usage_only(response.frames[-1]):
        return response.frames[:-1]
    return response.frames


def replayable(body: Mapping[str, Any], response: Response) -> str | None:
    """A reason why the stored answer lacks what this stream asks for, or None; see ``Dialect``."""
    if body.get("stream") is False or not _asks_for_usage(body):
        return None
    # The document has the usage of its frames, so it speaks for both.
    return None if orjson.loads(response.body).get("usage") is not None else "usage was not recorded"


def _asks_for_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _is_usage_only(frame: bytes) -> bool:
    parsed = orjson.loads(frame)
    return parsed.get("choices") == [] and parsed.get("usage") is not None


def _made(document: Any, *, with_usage: bool) -> Iterator[bytes]:
    """Frames that ``assemble`` turns back into ``document``."""
    if not isinstance(document, dict) or not isinstance(document.get("choices"), list):
        raise ValueError("the stored document is no chat completion")  # noqa: TRY004  (it is bad data)
    common = {"object": "chat.completion.chunk"}
    common.update((name, document[name]) for name in _EVERY_CHUNK if name in document)
    once = {name: document[name] for name in document if name not in (*common, "choices", "usage")}
    for choice in document["choices"]:
        for chunk in _choice_chunks(choice):
            yield orjson.dumps({**common, "choices": [chunk], **once})
            once = {}
    if with_usage and "usage" in document:
        yield orjson.dumps({**common, "choices": [], "usage": document["usage"]})


def _choice_chunks(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    rest = {name: choice[name] for name in choice if name not in ("index", "message")}
    for delta in _deltas(choice["message"]):
        chunk = {"index": choice["index"], "delta": delta, "finish_reason": None}
        if delta.get("content") and "logprobs" in rest:
            chunk["logprobs"] = rest.pop("logprobs")
        yield chunk
    yield {"index": choice["index"], "delta": {}, **rest}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    texts = [name for name in _TEXTS if isinstance(message.get(name), str)]
    calls = message.get("tool_calls") or []
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
