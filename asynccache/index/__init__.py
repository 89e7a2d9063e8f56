"""Finding stored questions by meaning. Needs ``asynccache[semantic]``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asynccache.index.backend_index import BackendIndex
    from asynccache.index.partition import PartitionIndex

__all__ = ["BackendIndex", "PartitionIndex"]

_HOMES: Final = {
    "BackendIndex": "asynccache.index.backend_index",
    "PartitionIndex": "asynccache.index.partition",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: what is behind these names is an extra.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
