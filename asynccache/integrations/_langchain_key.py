"""What makes two questions to LangChain models the same question of the same asker. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import orjson

from asynccache._models import Scope

__all__ = ["LangChainKey"]

FORMAT: Final = "asynccache.langchain/1"
"""Part of every key: a change of what is stored starts a new set of keys."""


class LangChainKey:
    """Makes the keys of one scope."""

    def __init__(self, scope: Scope) -> None:
        self._owner: Final = [FORMAT, scope.tenant, scope.user, scope.namespace]
        self.partition: Final = _hash(["partition", *self._owner])
        """32 bytes; common to all keys of the scope."""

    def __call__(self, prompt: str, llm_string: str) -> bytes:
        """32 bytes; for LangChain's own spelling of the prompt, and of the model with its settings."""
        return _hash(["key", *self._owner, _digest(prompt), _digest(llm_string)])


def _hash(parts: list[Any]) -> bytes:
    return sha256(orjson.dumps(parts)).digest()


def _digest(text: str) -> str:
    # A prompt may hold lone surrogates, which no JSON can carry.
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
