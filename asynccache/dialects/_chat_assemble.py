"""Chunks into the document an unstreamed call would have returned.

Fields without a rule keep their last value that is not null: so what a server adds of its own is kept, and
a running count (usage on every chunk) ends at its last.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, Final

import orjson

from asynccache.dialects._encoding import encoded
from asynccache.dialects._folding import Rules, by_index, first, fold, given, joined, last, nested

__all__ = ["assemble"]


def assemble(frames: Sequence[bytes]) -> bytes:
    """The document that ``frames`` amount to; see ``Dialect.assemble``."""
    document = fold((orjson.loads(frame) for frame in frames), _DOCUMENT)
    if not document.get("choices"):
        raise ValueError("no frame holds a choice")
    document["object"] = "chat.completion"
    document.pop("obfuscation", None)  # random padding that hides a chunk's length on the wire
    return encoded(document)


def _pieces(values: list[Any]) -> Any:
    """A field nobody told us of: texts and lists that change from delta to delta are pieces of one."""
    pieces = given(values)
    changes = any(value != pieces[0] for value in pieces)
    whole = all(isinstance(piece, str) for piece in pieces) or all(
        isinstance(piece, list) for piece in pieces
    )
    return joined(pieces) if changes and whole else last(values)


def _joined_base64(values: list[Any]) -> Any:
    """Pieces encoded one by one are padded; fragments of one encoding are not, except the last."""
    whole = joined(values)
    pieces = given(values)
    if isinstance(whole, str) and any(piece.endswith("=") for piece in pieces[:-1]):
        return b64encode(b"".join(b64decode(piece, validate=True) for piece in pieces)).decode()
    return whole


def _name(values: list[Any]) -> Any:
    """Some servers repeat a function's whole name in each fragment, others send it once."""
    pieces = given(values)
    return pieces[0] if pieces and all(piece in (pieces[0], "") for piece in pieces) else joined(pieces)


def _calls(values: list[Any]) -> Any:
    if not given(values):
        return None
    calls = [fold(fragments, _CALL) for fragments in by_index(values).values()]
    for call in calls:
        del call["index"]  # an unstreamed answer tells them apart by place
    return calls


def _choices(values: list[Any]) -> list[Any]:
    return [_choice(index, chunks) for index, chunks in by_index(values).items()]


def _choice(index: int, chunks: list[dict[str, Any]]) -> dict[str, Any]:
    deltas = [chunk["delta"] for chunk in chunks if chunk.get("delta") is not None]
    taken = ("index", "delta", "message")
    rest = ({name: value for name, value in chunk.items() if name not in taken} for chunk in chunks)
    return {"index": index, "message": _message(deltas), **fold(rest, _CHOICE)}


def _message(deltas: list[Any]) -> dict[str, Any]:
    message = fold(deltas, _MESSAGE, _pieces)
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

_FUNCTION: Final[Rules] = {"name": _name, "arguments": joined, "input": joined}

_CALL: Final[Rules] = {
    "id": first,
    "type": first,
    "function": nested(_FUNCTION),
    "custom": nested(_FUNCTION),
}

_MESSAGE: Final[Rules] = {
    "role": first,
    "content": joined,
    "refusal": joined,
    "reasoning": joined,
    "reasoning_content": joined,
    "reasoning_details": joined,
    "annotations": joined,
    "tool_calls": _calls,
    "function_call": nested(_FUNCTION),
    "audio": nested({"id": first, "data": _joined_base64, "transcript": joined}),
}

_CHOICE: Final[Rules] = {
    "logprobs": nested({"content": joined, "refusal": joined}),
    "token_ids": joined,
}

_DOCUMENT: Final[Rules] = {"id": first, "created": first, "model": first, "choices": _choices}
