"""Chunks into the document an unstreamed call would have returned.

First every value a field was given is gathered, then each field's values are folded by its rule. Fields
without a rule keep their last value that is not null: so what a server adds of its own is kept, and a
running count (usage on every chunk) ends at its last.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

import orjson

__all__ = ["assemble"]

_Fold: TypeAlias = "Callable[[list[Any]], Any]"
_Rules: TypeAlias = "Mapping[str, _Fold]"


def assemble(frames: Sequence[bytes]) -> bytes:
    """The document that ``frames`` amount to; see ``Dialect.assemble``."""
    document = _fold((orjson.loads(frame) for frame in frames), _DOCUMENT)
    if not document.get("choices"):
        raise ValueError("no frame holds a choice")
    document["object"] = "chat.completion"
    document.pop("obfuscation", None)  # random padding that hides a chunk's length on the wire
    return orjson.dumps(document)


def _fold(parts: Iterable[Any], rules: _Rules, other: _Fold | None = None) -> dict[str, Any]:
    """Gather the parts field by field; ``other`` (default ``_last``) is the rule of those that have none."""
    gathered: dict[str, list[Any]] = {}
    for part in parts:
        if not isinstance(part, dict):
            raise ValueError("a part of a frame is not an object")  # noqa: TRY004  (it is bad data)
        for name, value in part.items():
            gathered.setdefault(name, []).append(value)
    return {name: rules.get(name, other or _last)(values) for name, values in gathered.items()}


def _given(values: list[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _last(values: list[Any]) -> Any:
    return next((value for value in reversed(values) if value is not None), None)


def _first(values: list[Any]) -> Any:
    """Skips "" and 0 too: Azure opens with a frame of such."""
    return next((value for value in values if value), values[0])


def _joined(values: list[Any]) -> Any:
    """Fragments of one text or of one list."""
    given = _given(values)
    if len(given) <= 1:
        return given[0] if given else None
    if all(isinstance(value, str) for value in given):
        return "".join(given)
    if all(isinstance(value, list) for value in given):
        return list(chain.from_iterable(given))
    raise ValueError("a field changes its type between frames")


def _pieces(values: list[Any]) -> Any:
    """A field nobody told us of: texts and lists that change from delta to delta are pieces of one."""
    given = _given(values)
    changes = any(value != given[0] for value in given)
    whole = all(isinstance(value, str) for value in given) or all(isinstance(value, list) for value in given)
    return _joined(given) if changes and whole else _last(values)


def _joined_base64(values: list[Any]) -> Any:
    """Pieces encoded one by one are padded; fragments of one encoding are not, except the last."""
    joined = _joined(values)
    given = _given(values)
    if isinstance(joined, str) and any(piece.endswith("=") for piece in given[:-1]):
        return b64encode(b"".join(b64decode(piece, validate=True) for piece in given)).decode()
    return joined


def _name(values: list[Any]) -> Any:
    """Some servers repeat a function's whole name in each fragment, others send it once."""
    given = _given(values)
    return given[0] if given and all(value in (given[0], "") for value in given) else _joined(given)


def _nested(rules: _Rules) -> _Fold:
    def fold(values: list[Any]) -> Any:
        given = _given(values)
        return _fold(given, rules) if given else None

    return fold


def _by_index(values: list[Any]) -> dict[int, list[Any]]:
    """Items of all lists in ``values`` by their index, in its order."""
    found: dict[int, list[Any]] = {}
    for items in _given(values):
        if not isinstance(items, list):
            raise ValueError("expected a list")  # noqa: TRY004  (it is bad data)
        for item in items:
            index = item.get("index") if isinstance(item, dict) else None
            if type(index) is not int:
                raise ValueError("a choice or tool call has no index")
            found.setdefault(index, []).append(item)
    return dict(sorted(found.items()))


def _calls(values: list[Any]) -> Any:
    if not _given(values):
        return None
    calls = [_fold(fragments, _CALL) for fragments in _by_index(values).values()]
    for call in calls:
        del call["index"]  # an unstreamed answer tells them apart by place
    return calls


def _choices(values: list[Any]) -> list[Any]:
    return [_choice(index, chunks) for index, chunks in _by_index(values).items()]


def _choice(index: int, chunks: list[dict[str, Any]]) -> dict[str, Any]:
    deltas = [chunk["delta"] for chunk in chunks if chunk.get("delta") is not None]
    taken = ("index", "delta", "message")
    rest = ({name: value for name, value in chunk.items() if name not in taken} for chunk in chunks)
    return {"index": index, "message": _message(deltas), **_fold(rest, _CHOICE)}


def _message(deltas: list[Any]) -> dict[str, Any]:
    message = _fold(deltas, _MESSAGE, _pieces)
    # An empty text beside the role opens a stream before the server knows what will come; where no text
    # came but something else did, an unstreamed answer says null.
    if message.get("content") == "" and any(message.get(name) for name in _INSTEAD_OF_CONTENT):
        said = [delta for delta in deltas if delta.get("content") is not None]
        if all(delta.get("role") for delta in said):
            message["content"] = None
    return message


_INSTEAD_OF_CONTENT: Final = (
    "tool_calls",
    "function_call",
    "reasoning",
    "reasoning_content",
    "refusal",
    "audio",
)

_FUNCTION: Final[_Rules] = {"name": _name, "arguments": _joined, "input": _joined}

_CALL: Final[_Rules] = {
    "id": _first,
    "type": _first,
    "function": _nested(_FUNCTION),
    "custom": _nested(_FUNCTION),
}

_MESSAGE: Final[_Rules] = {
    "role": _first,
    "content": _joined,
    "refusal": _joined,
    "reasoning": _joined,
    "reasoning_content": _joined,
    "reasoning_details": _joined,
    "annotations": _joined,
    "tool_calls": _calls,
    "function_call": _nested(_FUNCTION),
    "audio": _nested({"id": _first, "data": _joined_base64, "transcript": _joined}),
}

_CHOICE: Final[_Rules] = {
    "logprobs": _nested({"content": _joined, "refusal": _joined}),
    "token_ids": _joined,
}

_DOCUMENT: Final[_Rules] = {"id": _first, "created": _first, "model": _first, "choices": _choices}
