"""What a ``sqlite://`` URL means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asynccache.backends.sqlite import SqliteBackend
from asynccache.backends.tiered import behind_memory

if TYPE_CHECKING:
    from asynccache._protocols import Backend
    from asynccache._url import BackendURL

__all__ = ["from_url"]


def from_url(url: BackendURL) -> Backend:
    """``sqlite:///relative.db`` or ``sqlite:////absolute.db``, with a memory in front.

    Options: ``max_bytes`` and ``write_behind`` of SqliteBackend, and those of the memory (``memory``,
    ``memory_entries``, ``memory_ttl``).
    """
    url.expect("max_bytes", "write_behind", "memory", "memory_entries", "memory_ttl")
    if url.netloc:
        raise url.problem("a file has no host; write sqlite:///relative.db or sqlite:////absolute.db")
    path = url.path.removeprefix("/")
    if not path or path.endswith("/"):
        raise url.problem("no file is named; write sqlite:///relative.db or sqlite:////absolute.db")
    if path == ":memory:":
        raise url.problem("a database in memory cannot be shared between connections; write memory://")
    options: dict[str, Any] = {}  # an option left out keeps SqliteBackend's own default
    if "max_bytes" in url.options:
        options["max_bytes"] = url.size("max_bytes", 0)
    back = SqliteBackend(path, write_behind=url.flag("write_behind", default=False), **options)
    return behind_memory(url, back)
