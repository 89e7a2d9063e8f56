"""Recorded answers of every dialect, and what may become of them on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from hypothesis import strategies as st

from asynccache._protocols import Dialect
from asynccache.dialects.chat import ChatCompletions
from asynccache.dialects.completions import Completions
from asynccache.dialects.embeddings import Embeddings
from asynccache.dialects.messages import Messages
from asynccache.dialects.responses import Responses

__all__ = ["RECORDED", "Recorded", "documents", "mutated", "streams"]

_FIXTURES: Final = Path(__file__).parents[1] / "fixtures"

_ASKED: Final[Mapping[str, Any]] = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


class Recorded(NamedTuple):
    """A dialect, a request in it, and all whole and streamed answers there are."""

    dialect: Dialect
    body: Mapping[str, Any]
    documents: list[Any]
    streams: list[list[Any]]
    """Of each, the parsed frames."""

    def __repr__(self) -> str:
        return self.dialect.name


def _read(dialect: Dialect, folder: str, body: Mapping[str, Any], *more: Any) -> Recorded:
    found = Recorded(dialect, body, list(more), [])
    for path in sorted((_FIXTURES / folder).glob("*.http")):
        head, _, payload = path.read_bytes().partition(b"\r\n\r\n")
        if b"event-stream" not in head:
            if b"200" in head.split(b"\r\n")[0]:
                found.documents.append(orjson.loads(payload))
            continue
        lines = payload.replace(b"\r\n", b"\n").split(b"\n")
        told = [line[5:].strip() for line in lines if line.startswith(b"data:")]
        frames = [each for each in told if each.startswith(b"{") and each.endswith(b"}")]
        found.streams.append([orjson.loads(frame) for frame in frames])
        with suppress(ValueError):
            found.documents.append(orjson.loads(dialect.assemble(frames)))
    return found


_LOGPROBS: Final = {"content": [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}]}
_CALLS: Final = [
    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    {"id": "2", "type": "custom", "custom": {"name": "g", "input": "x"}},
]


def _chat(reason: str, **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{**choice, "logprobs": _LOGPROBS}],
        "usage": usage,
        "metrics": {"time": 1},
    }


RECORDED: Final = (
    _read(
        ChatCompletions(),
        "vllm-0.32",
        _ASKED,
        _chat("stop", content="hi", refusal=None, annotations=[{"type": "url_citation"}], reasoning="so"),
        _chat("stop", content=[{"type": "text", "text": "hi"}], audio={"id": "a", "data": "YQ==", "x": 1}),
        _chat("tool_calls", content=None, tool_calls=_CALLS, function_call={"name": "f", "arguments": "{}"}),
    ),
    _read(Completions(), "openai-completions", {"model": "m", "prompt": "q"}),
    _read(Embeddings(), "openai-embeddings", {"model": "m", "input": "q"}),
    _read(Messages(), "anthropic", {**_ASKED, "max_tokens": 9}),
    _read(Responses(), "openai-responses", {"model": "m", "input": "q"}),
)

_JUNK: Final[st.SearchStrategy[Any]] = (
    st.sampled_from([None, "", "x", 0, 1, -1, 1.5, True, False, [], {}, [None], ["x"], [1], {"a": 1}, [{}]])
    | st.builds(lambda: _nested(300))
    | st.recursive(
        st.none() | st.integers(-(2**80), 2**80) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2),
    )
)


def _nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder with every key in it, breadth first."""
    found: list[tuple[Any, Any]] = []
    holders = [value]
    for holder in holders:
        if isinstance(holder, dict):
            keys: list[Any] = list(holder)
        elif isinstance(holder, list):
            keys = list(range(len(holder)))
        else:
            continue
        found += [(holder, key) for key in keys]
        holders += [holder[key] for key in keys]
    return found


@st.composite
def mutated(draw: st.DrawFn, given: Any) -> Any:
    """A copy with up to three values replaced, left out, or doubled."""
    value = _copied(given)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(value)
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["replace", "replace", "replace", "drop", "double"])):
            case "drop":
                del holder[key]
            case "double" if isinstance(holder, list):
                holder.insert(key, _copied(holder[key]))
            case _:
                holder[key] = _copied(draw(_JUNK))
    return value


def documents(recorded: Recorded) -> st.SearchStrategy[bytes]:
    """Whole answers, changed."""
    changed = st.sampled_from(recorded.documents).flatmap(mutated)
    return changed.map(_written)


def streams(recorded: Recorded) -> st.SearchStrategy[tuple[bytes, ...]]:
    """The frames of streamed answers, changed."""
    changed = st.sampled_from(recorded.streams).flatmap(mutated)
    return changed.map(lambda frames: tuple(map(_written, frames)))


def _copied(value: Any) -> Any:
    return orjson.loads(_written(value))


def _written(value: Any) -> bytes:
    """As JSON of any depth that can be read."""
    if isinstance(value, dict):
        items = [orjson.dumps(name) + b":" + _written(item) for name, item in value.items()]
        return b"{" + b",".join(items) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(_written, value)) + b"]"
    return json.dumps(value).encode()  # which, unlike orjson, writes integers of any size
