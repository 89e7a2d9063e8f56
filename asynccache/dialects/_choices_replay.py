"""A stored answer of several choices as a stream: chat completions and text completions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from asynccache.dialects._encoding import encoded

if TYPE_CHECKING:
    from asynccache._models import Response

__all__ = ["Chunks", "replay", "replayable"]

Chunks: TypeAlias = "Callable[[dict[str, Any]], Iterator[dict[str, Any]]]"
"""The pieces, each as it stands in one frame's ``choices``, that a choice is sent in."""

_EVERY_CHUNK: Final = ("id", "created", "model", "system_fingerprint", "service_tier")
"""Of the document, what clients expect on each chunk; all else stands on the first."""


def replay(body: Mapping[str, Any], response: Response, *, kind: str, chunks: Chunks) -> Iterable[bytes]:
    """The frames of a stored answer; see ``Dialect.replay``.

    Args:
        body: the request's.
        response: the answer.
        kind: the ``object`` of made frames.
        chunks: cuts a choice into pieces.
    """
    asked = _asks_for_usage(body)
    if not response.frames:
        return list(_made(orjson.loads(response.body), kind, chunks, with_usage=asked))
    if not asked and _is_usage_only(response.frames[-1]):
        return response.frames[:-1]
    return response.frames


def replayable(body: Mapping[str, Any], response: Response) -> str | None:
    """A reason why the stored answer lacks what this stream asks for, or None; see ``Dialect``."""
    if body.get("stream") is False or not _asks_for_usage(body):
        return None
    # The document has the usage of its frames, so it speaks for both.
    return None if _tells_usage(response.body) else "usage was not recorded"


def _tells_usage(document: bytes) -> bool:
    at = document.rfind(b'"usage":{')
    # One object is closed behind it: the document, unless a text there holds braces of its own. Parsing could
    # take milliseconds.
    if at >= 0 and document.count(b"}", at) - document.count(b"{", at) == 1:
        return True
    return orjson.loads(document).get("usage") is not None


def _asks_for_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _is_usage_only(frame: bytes) -> bool:
    parsed = orjson.loads(frame)
    return parsed.get("choices") == [] and parsed.get("usage") is not None


def _made(document: Any, kind: str, chunks: Chunks, *, with_usage: bool) -> Iterator[bytes]:
    """Frames that ``assemble`` turns back into ``document``."""
    if not isinstance(document, dict) or not isinstance(document.get("choices"), list):
        raise ValueError("the stored document has no choices")  # noqa: TRY004  (it is bad data)
    common = {"object": kind}
    common.update((name, document[name]) for name in _EVERY_CHUNK if name in document)
    if not all(isinstance(choice, dict) and "index" in choice for choice in document["choices"]):
        raise ValueError("a choice of the stored document is none")
    once = {name: document[name] for name in document if name not in (*common, "choices", "usage")}
    for choice in document["choices"]:
        for chunk in chunks(choice):
            yield encoded({**common, "choices": [chunk], **once})
            once = {}
    if with_usage and "usage" in document:
        yield encoded({**common, "choices": [], "usage": document["usage"]})
