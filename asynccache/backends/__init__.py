"""The stores an asynccache can keep its entries in."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if __name__ != "asynccache.backends":
    raise ImportError(
        "import asynccache.backends, not backends: the folder at the repository's root is only a link"
    )

if TYPE_CHECKING:
    from asynccache._url import BackendURL
    from asynccache.backends.memory import MemoryBackend
    from asynccache.backends.redis import RedisBackend
    from asynccache.backends.sqlite import SqliteBackend
    from asynccache.backends.tiered import Tiered

__all__ = ["BackendURL", "MemoryBackend", "RedisBackend", "SqliteBackend", "Tiered"]

_HOMES: Final = {
    "BackendURL": "asynccache._url",
    "MemoryBackend": "asynccache.backends.memory",
    "RedisBackend": "asynccache.backends.redis",
    "SqliteBackend": "asynccache.backends.sqlite",
    "Tiered": "asynccache.backends.tiered",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a store's driver is imported only by those who use that store.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
