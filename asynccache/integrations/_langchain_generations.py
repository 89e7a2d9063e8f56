"""LangChain's generations as JSON, and back; only those that come back as they were. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

import orjson
from langchain_core.load import dumpd, load
from langchain_core.load.serializable import Serializable
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, ChatMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk

__all__ = ["from_json", "to_json"]

ALLOWED: Final[tuple[type[Serializable], ...]] = (
    Generation,
    GenerationChunk,
    ChatGeneration,
    ChatGenerationChunk,
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    ChatMessageChunk,
)
"""All that reading makes objects of: what models answer with, and nothing that could act."""

# Marked as beta, it would warn the user at its first call of what only we can change.
_load: Final[Any] = inspect.unwrap(load)


def to_json(generations: Sequence[Generation]) -> bytes | None:
    """One JSON document; None when reading it back would give something else.

    A pydantic model that LangChain parsed out of an answer becomes a dict, which its parsers take as well.
    """
    try:
        documents = [dumpd(each) for each in generations]
        body = orjson.dumps(documents)
        again = from_json(body)
        same = [dumpd(each) for each in again] == documents
    except Exception:  # noqa: BLE001  (a border: foreign classes serialise themselves)
        return None
    return body if same and list(map(_kinds, again)) == list(map(_kinds, generations)) else None


def from_json(body: bytes) -> list[Generation]:
    """What ``to_json`` wrote. Reads no secrets, whatever the document asks for.

    Raises:
        ValueError: it is something else.
    """
    documents: Any = orjson.loads(body)
    if not isinstance(documents, list):
        raise ValueError("not a list of generations")  # noqa: TRY004  (a wrong document, no wrong call)
    try:
        generations = [_load(each, allowed_objects=ALLOWED, secrets_from_env=False) for each in documents]
    except Exception as error:
        raise ValueError("not a list of generations") from error
    if not generations or not all(isinstance(each, Generation) for each in generations):
        raise ValueError("not a list of generations")
    return generations


def _kinds(generation: Generation) -> tuple[type, type]:
    return type(generation), type(getattr(generation, "message", None))
