"""Wire protocols, as pure functions over bodies and bytes. A new one implements ``Dialect``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asynccache.dialects.chat import ChatCompletions
    from asynccache.dialects.completions import Completions
    from asynccache.dialects.embeddings import Embeddings
    from asynccache.dialects.messages import Messages
    from asynccache.dialects.responses import Responses

__all__ = ["ChatCompletions", "Completions", "Embeddings", "Messages", "Responses"]

_HOMES: Final = {
    "ChatCompletions": "asynccache.dialects.chat",
    "Completions": "asynccache.dialects.completions",
    "Embeddings": "asynccache.dialects.embeddings",
    "Messages": "asynccache.dialects.messages",
    "Responses": "asynccache.dialects.responses",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a request is written in one protocol, and most programs speak no other.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
