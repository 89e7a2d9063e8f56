"""Entries in this process's memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter
from sys import getsizeof
from typing import TYPE_CHECKING, Final

import anyio.lowlevel

from asynccache._clock import SystemClock
from asynccache._errors import ConfigurationError
from asynccache._lru import LRU
from asynccache.backends._memory_labels import LabelTrail
from asynccache.backends._memory_vectors import VectorTrail
from asynccache.backends._same_entry import same_entry

if TYPE_CHECKING:
    from asynccache._judging import Label, LabelPage
    from asynccache._models import Entry, VectorChanges, VectorGroup, VectorPage
    from asynccache._protocols import Clock
    from asynccache._url import BackendURL

__all__ = ["MemoryBackend"]

MAX_ENTRIES: Final = 100_000
MAX_BYTES: Final = 256 * 2**20

# What an entry costs beside its own objects, measured with tracemalloc on CPython 3.11 (64 bit).
_SLOT: Final = 90 + getsizeof((0, 0, 0)) + getsizeof(0.0) + getsizeof(2**20)  # place in the LRU, its record
_TAG_SLOT: Final = 100  # place in the tag index: 35 to 105 in a large set, 250 for a tag used once
_VECTOR_SLOT: Final = 120  # place among the keys of its partition, with its number

_SCAN_TURN: Final = 256  # entries a scan yields before it lets others run


class MemoryBackend:
    """A bounded store in memory, the least recently used entry leaving first; gone with the process.

    ``get`` finishes without suspending. Expired entries are never returned; they leave when asked for,
    or by their turn in the order of use. For one event loop; not for several threads.

    Args:
        max_entries: entries held at most, 1 or more.
        max_bytes: bytes of memory held at most, everything an entry occupies included (objects,
            index), 1 or more. An entry larger than that is not kept.
        clock: what expiry is judged by.

    Raises:
        ConfigurationError: a budget below 1.
    """

    def __init__(
        self, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES, clock: Clock | None = None
    ) -> None:
        for name, value in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if value < 1:
                raise ConfigurationError(f"{name} of a MemoryBackend must be 1 or more, got {value!r}")
        self._now: Final = (SystemClock() if clock is None else clock).now
        self._lru: Final = LRU[bytes, "Entry"](
            max_items=max_entries, max_weight=max_bytes, on_drop=self._dropped
        )
        self._tagged: Final[dict[str, set[bytes]]] = {}  # keys by tag; no empty sets
        self._trail: Final = VectorTrail()
        self._labels: Final = LabelTrail()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Nothing to open; the entries stay when it closes."""
        yield

    async def get(self, key: bytes) -> Entry | None:
        """The entry under a key, or None when absent or expired."""
        return self._lru.get(key, self._now())

    def at_hand(self, key: bytes) -> Entry | None:
        """As ``get``, at once; a miss is not counted, since a ``get`` will follow."""
        return self._lru.hit(key, self._now())

    def find(self, key: bytes) -> Entry | None:
        """As ``get``, without the coroutine: for a backend in front of which this one stands."""
        return self._lru.get(key, self._now())

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """As ``get``, for several keys; same order, same length."""
        get, now = self._lru.get, self._now()
        return [get(key, now) for key in keys]

    async def put(self, entry: Entry) -> None:
        """Store, replacing; entries used least recently may have to leave."""
        self.keep(entry)

    def keep(self, entry: Entry, *, seconds: float = float("inf")) -> bool:
        """As ``put``, without the coroutine, and for so many seconds from now at most; whether it is held."""
        now = self._now()
        until = min(entry.expires_at, now + seconds)
        if not self._lru.put(entry.key, entry, weight=size_of(entry), until=until, now=now):
            return False
        for tag in entry.tags:
            self._tagged.setdefault(tag, set()).add(entry.key)
        if entry.embedding is not None:
            self._trail.came(entry, entry.embedding.space)
        return True

    async def add(self, entry: Entry) -> bool:
        """As ``put``, unless a live entry is there already; whether it is held now."""
        return not self.holds(entry.key) and self.keep(entry)

    def holds(self, key: bytes) -> bool:
        """True when a live entry is there. Looking is no use of it."""
        return self._lru.peek(key, self._now()) is not None

    async def delete(self, keys: Collection[bytes]) -> int:
        """Remove; the number of live entries that were there."""
        return self.drop(keys)

    def drop(self, keys: Collection[bytes]) -> int:
        """As ``delete``, without the coroutine."""
        now = self._now()
        return sum(self._lru.pop(key, now) is not None for key in keys)

    async def remove(self, entry: Entry) -> bool:
        """Remove, if what is held is still this very entry, its embedding aside; whether."""
        return self.discard(entry)

    def discard(self, entry: Entry) -> bool:
        """As ``remove``, without the coroutine."""
        held = self._lru.peek(entry.key, self._now())
        return held is not None and same_entry(held, entry) and self.drop([entry.key]) > 0

    async def delete_tagged(self, tags: Collection[str]) -> int:
        """Remove entries carrying any of the tags; the number of live ones removed."""
        keys: set[bytes] = set()
        return self.drop(keys.union(*(self._tagged.get(tag, ()) for tag in tags)))

    async def clear(self) -> int:
        """Remove everything, labels too; the number of live entries removed."""
        self._labels.clear()
        self._tagged.clear()  # at once, rather than key by key
        return self._lru.clear(self._now())

    async def scan(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
        """Every live entry, of one partition or of all, oldest first."""
        found = [e for e in self._lru.values(self._now()) if partition is None or e.partition == partition]
        found.sort(key=attrgetter("created_at"))
        for index, entry in enumerate(found):
            if index % _SCAN_TURN == _SCAN_TURN - 1:
                await anyio.lowlevel.checkpoint()
            if self._lru.peek(entry.key, self._now()) is entry:  # the reader takes its time
                yield entry

    async def measure(self) -> Mapping[str, int]:
        """``entries``, ``bytes``, ``hits``, ``misses``, ``evictions``, ``expired``.

        Entries and bytes include the expired ones that have not left yet.
        """
        lru = self._lru
        return {
            "entries": len(lru),
            "bytes": lru.weight,
            "hits": lru.hits,
            "misses": lru.misses,
            "evictions": lru.evictions,
            "expired": lru.expired,
        }

    @property
    def index_folder(self) -> None:
        """None: a snapshot would outlive what it is one of."""
        return

    async def vector_groups(self) -> list[VectorGroup]:
        """How many vectors there are of each partition and space."""
        return self._trail.groups()

    async def vectors(self, partition: bytes, space: bytes, *, after: int = 0) -> VectorPage:
        """Some vectors of a partition, from a place on."""
        return self._trail.page(partition, space, after, self.peek)

    async def vector_changes(self, after: int | None) -> VectorChanges:
        """What has changed after a cursor; the last 10,000 changes are known."""
        return self._trail.changes(after, self.peek)

    async def put_labels(self, labels: Sequence[Label]) -> None:
        """Keep labels; the last 10,000 are kept."""
        self._labels.put(labels)

    async def labels(self, after: int) -> LabelPage:
        """Labels stored after a cursor."""
        return self._labels.page(after)

    def peek(self, key: bytes) -> Entry | None:
        """What is held, expired or not. Looking is no use of it."""
        return self._lru.peek(key, float("-inf"))

    def _dropped(self, key: bytes, entry: Entry) -> None:
        if entry.tags:
            self._untag(key, entry)
        if entry.embedding is not None:
            self._trail.left(entry, entry.embedding.space)

    def _untag(self, key: bytes, entry: Entry) -> None:
        for tag in entry.tags:
            keys = self._tagged.get(tag)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._tagged[tag]


def size_of(entry: Entry) -> int:
    """Bytes of memory an entry takes in a MemoryBackend, within about a quarter.

    Objects that several entries share (a partition, a common tag) are counted for each of them.
    """
    response = entry.response
    owned = (
        entry,
        entry.key,
        entry.partition,
        response,
        response.body,
        response.frames,
        *response.frames,
        entry.created_at,
        entry.ttl,
        entry.question,
        entry.tags,
        *entry.tags,
        entry.version,
        entry.cost,
        entry.embedding,
        entry.alias,
    )
    size = sum(map(getsizeof, owned)) + _SLOT + _TAG_SLOT * len(entry.tags)
    if entry.embedding is not None:
        size += sum(map(getsizeof, entry.embedding)) + _VECTOR_SLOT
    if entry.alias is not None:
        size += sum(map(getsizeof, entry.alias))
    return size


def from_url(url: BackendURL) -> MemoryBackend:
    """``memory://?max_entries=100000&max_bytes=256MiB``: both options may be left out."""
    url.expect("max_entries", "max_bytes")
    url.refuse_location()
    return MemoryBackend(
        max_entries=url.integer("max_entries", MAX_ENTRIES), max_bytes=url.size("max_bytes", MAX_BYTES)
    )
