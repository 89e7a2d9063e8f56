"""Chunks of a text completion into its document, and a choice into chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from asynccache.dialects._encoding import encoded
from asynccache.dialects._folding import Rules, by_index, first, fold, joined, nested

__all__ = ["assemble", "chunks"]


def assemble(frames: Sequence[bytes]) -> bytes:
    """The document that ``frames`` amount to; see ``Dialect.assemble``."""
    document = fold((orjson.loads(frame) for frame in frames), _DOCUMENT)
    if not document.get("choices"):
        raise ValueError("no frame holds a choice")
    document["object"] = "text_completion"
    document.pop("obfuscation", None)  # random padding that hides a chunk's length on the wire
    return encoded(document)


def chunks(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The text with its log probabilities, and the end with all else."""
    opening: dict[str, Any] = {name: choice[name] for name in _WITH_TEXT if name in choice}
    yield {**opening, "finish_reason": None}
    empty = {name: value for name, value in (("text", ""), ("logprobs", None)) if name in choice}
    yield {
        "index": choice["index"],
        **empty,
        **{name: choice[name] for name in choice if name not in opening},
    }


def _choices(values: list[Any]) -> list[Any]:
    return [{**fold(parts, _CHOICE), "index": index} for index, parts in by_index(values).items()]


_WITH_TEXT: Final = ("index", "text", "logprobs", "token_ids", "prompt_token_ids", "prompt_logprobs")
"""What comes with the text; the last three are vLLM's."""

_LOG_PROBABILITIES: Final[Rules] = {
    "tokens": joined,
    "token_logprobs": joined,
    "top_logprobs": joined,
    "text_offset": joined,
}

_CHOICE: Final[Rules] = {
    "text": joined,
    "logprobs": nested(_LOG_PROBABILITIES),
    "token_ids": joined,
}

_DOCUMENT: Final[Rules] = {"id": first, "created": first, "model": first, "choices": _choices}
