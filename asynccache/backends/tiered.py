"""A memory in front of another store."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, runtime_checkable

from asynccache._errors import BackendError, ConfigurationError
from asynccache._protocols import (
    Clearable,
    Conditional,
    Confirming,
    Feed,
    Flights,
    Labels,
    Managed,
    Measurable,
    Searching,
    Taggable,
    Vectors,
)
from asynccache.backends._claim import Claim
from asynccache.backends._coherence import Coherence
from asynccache.backends._same_entry import same_entry
from asynccache.backends.memory import MAX_BYTES, MAX_ENTRIES, MemoryBackend

if TYPE_CHECKING:
    from asynccache._models import Entry
    from asynccache._protocols import Backend
    from asynccache._url import BackendURL

__all__ = ["Tiered"]

_Reading: TypeAlias = "Callable[[Sequence[bytes]], Awaitable[list[Entry | None]]]"

FRONT_TTL: Final = 60.0
LEAST_MEMORY: Final = 64 * 2**10  # a front below this holds a few entries and only costs


@runtime_checkable
class _Flushable(Protocol):
    async def flush(self) -> None: ...


class Tiered:
    """Reads from a memory first, then from the store behind it, and keeps what it found in the memory.

    A write goes to the back first. When the back refuses it, the entry is still kept in the front,
    where it serves this process for ``front_ttl``, and the error is raised so that it is reported.
    A removal always reaches the front, whatever becomes of it in the back.

    An entry removed or replaced through this object is never put back into the front by a read or
    write that was under way at the time. Of two writes of one key at once the front holds the one
    begun later, whichever the back applied last. What other processes remove or replace is noticed
    after ``front_ttl`` (measured by the wall clock).

    Over a ``Feed`` the front is coherent with the back: while open it drops what the feed tells to have
    been replaced or removed, by whomever, which is some milliseconds after the fact with a store that
    wakes its readers up, and a second at most with one that is looked at. Of two writes at once the one
    the back applied last remains. When the feed cannot be read the front serves what it has for
    ``front_ttl`` and the feed is read on from where it was; when it is not known any more what has
    changed, the front is emptied. Until the feed is read for the first time, only writes that the back
    refused are kept in the front. ``confirmed`` serves from the front what the back says it holds at this
    moment, and reads the rest, for a round trip each time.

    The front keeps no embeddings: they are read from the back, through this object where the back is
    one of ``Vectors``. It is ``Conditional`` where the back is: an entry in either counts as there.

    Args:
        front: the memory; nobody else should write to it.
        back: any backend. What it cannot do (tags, clearing, measuring) raises BackendError here.
        front_ttl: seconds the front may serve an entry without looking at the back again; more than
            0. ``float("inf")`` is right for a back that only this process writes to.

    Raises:
        ConfigurationError: ``front_ttl`` is not above 0.
    """

    def __init__(self, front: MemoryBackend, back: Backend, *, front_ttl: float = FRONT_TTL) -> None:
        if not front_ttl > 0:
            raise ConfigurationError(f"front_ttl must be more than 0 seconds, got {front_ttl!r}")
        self._front: Final = front
        self._back: Final = back
        self._front_ttl: Final = front_ttl
        self.at_hand: Final = front.at_hand
        # Who may fill the front, by key. A read claims a key that nobody has claimed, a put takes the
        # claim over, an add only from a read, a removal voids it. Only the holder fills.
        self._claims: Final[dict[bytes, Claim]] = {}
        # Puts under way, by key. One whose claim was voided may yet replace what the back says now:
        # until it is over nobody but a put claims the key.
        self._puts: Final[Counter[bytes]] = Counter()
        self._coherence: Final = (
            Coherence(front, back, claims=self._claims, puts=self._puts, keep=self._keep)
            if isinstance(back, Feed)
            else None
        )
        # What this object can do is asked by isinstance, so it has these only where the back has them.
        if isinstance(back, Conditional):
            self.add = partial(self._add, back)
            self.remove = partial(self._remove, back)
        if isinstance(back, Labels):
            self.put_labels = back.put_labels
            self.labels = back.labels
        if isinstance(back, Vectors):
            self.index_folder = back.index_folder
            self.vector_groups = back.vector_groups
            self.vectors = back.vectors
            self.vector_changes = back.vector_changes
        if isinstance(back, Feed) and self._coherence is not None:
            self.fill = self._coherence.fill
            self.confirmed = partial(self._confirmed, self._coherence)
            self.position = back.position
            self.generations = back.generations
            self.voided = back.voided
            self.changes = back.changes
            self.news = back.news
        if isinstance(back, Searching):
            self.semantic_index = back.semantic_index
        if isinstance(back, Flights):
            self.board = back.board
            self.renew = back.renew
            self.append = back.append
            self.log = back.log
            self.flight_news = back.flight_news

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open both; closes both."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._front.lifespan())
            if isinstance(self._back, Managed):
                await stack.enter_async_context(self._back.lifespan())
            if self._coherence is not None:
                await stack.enter_async_context(self._coherence.lifespan())
            yield

    async def get(self, key: bytes) -> Entry | None:
        """The entry under a key, or None when absent or expired. A hit in the front does not suspend."""
        entry = self._front.find(key)
        if entry is not None:
            return entry
        if key in self._claims or key in self._puts:
            return await self._back.get(key)
        claim = self._claims[key] = Claim()
        try:
            entry = await self._back.get(key)
            if entry is not None:
                self._take_in(entry, claim)
        finally:
            self._release(key, claim)
        return entry

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """As ``get``, for several keys; the back is asked once, for those the front lacks."""
        found = {key: self._front.find(key) for key in keys}
        missing = [key for key, entry in found.items() if entry is None]
        if missing:
            found.update(await self._read(self._back.get_many, missing))
        return [found[key] for key in keys]

    async def _read(self, read: _Reading, keys: Sequence[bytes]) -> dict[bytes, Entry | None]:
        """What the back has of keys, each named once; the front takes it in."""
        free = [key for key in keys if key not in self._puts and key not in self._claims]
        claims = {key: Claim() for key in free}
        self._claims.update(claims)
        try:
            found = dict(zip(keys, await read(keys), strict=True))
            for key, claim in claims.items():
                entry = found[key]
                if entry is not None:
                    self._take_in(entry, claim)
        finally:
            for key, claim in claims.items():
                self._release(key, claim)
        return found

    async def _confirmed(self, coherence: Coherence, keys: Sequence[bytes]) -> list[Entry | None]:
        """As ``get_many``, of what the back holds now: from the front where that is the same."""
        held = {key: self._front.find(key) for key in keys}
        known = [entry for entry in held.values() if entry is not None and entry.generation is not None]
        found = await coherence.confirmed(known) if known else {}
        missing = [key for key in held if key not in found]
        if missing:
            read = self._back.confirmed if isinstance(self._back, Confirming) else self._back.get_many
            found.update(await self._read(read, missing))
        return [found[key] for key in keys]

    async def put(self, entry: Entry) -> None:
        """Store in the back, then in the front; in the front also when the back raises BackendError."""
        if self._coherence is not None:
            await self._coherence.fill(entry, since=None)
            return
        key = entry.key
        claim = self._claims[key] = Claim(entry)
        self._puts[key] += 1
        try:
            try:
                await self._back.put(entry)
            finally:
                if self._claims.get(key) is claim:
                    self._keep(entry)
        finally:
            self._release(key, claim)
            self._puts[key] -= 1
            if not self._puts[key]:
                del self._puts[key]

    async def _add(self, back: Conditional, entry: Entry) -> bool:
        """Store in both, unless either has a live entry; nothing is kept in the front alone.

        Over a feed the front takes it in when it is read next, with its generation.
        """
        key = entry.key
        if self._front.holds(key):  # perhaps an answer that the back refused
            return False
        claim = Claim(entry)
        holder = self._claims.get(key)
        if key not in self._puts and (holder is None or holder.writing is None):
            self._claims[key] = claim
        try:
            added = await back.add(entry)
            if added:
                self._take_in(entry, claim)
        finally:
            self._release(key, claim)
        return added

    async def _remove(self, back: Conditional, entry: Entry) -> bool:
        """Remove from both, where it is still this very entry; whether it was in either."""
        key = entry.key
        removed = False
        try:
            removed = await back.remove(entry)
        finally:
            in_front = self._front.discard(entry)
            claim = self._claims.get(key)
            # A read may have been told of the entry. A write of another one goes on.
            if claim is not None and (claim.writing is None or same_entry(claim.writing, entry)):
                del self._claims[key]
                self._front.drop([key])  # the write would have replaced it
        return removed or in_front

    async def delete(self, keys: Collection[bytes]) -> int:
        """Remove from both."""
        removed = 0
        try:
            removed = await self._back.delete(keys)
        finally:
            # After the back: a read that began meanwhile may have been told of the old entry.
            for key in keys:
                self._claims.pop(key, None)
            in_front = self._front.drop(keys)
        return max(removed, in_front)  # in the front alone are entries whose write failed

    async def delete_tagged(self, tags: Collection[str]) -> int:
        """Remove from both. Raises BackendError when the back does not know tags."""
        removed = 0
        try:
            if not isinstance(self._back, Taggable):
                raise self._cannot("delete by tag")
            removed = await self._back.delete_tagged(tags)
        finally:
            self._claims.clear()  # which keys carry the tags only the back knows
            in_front = await self._front.delete_tagged(tags)
        return max(removed, in_front)

    async def clear(self) -> int:
        """Empty both. Raises BackendError when the back cannot be cleared."""
        removed = 0
        try:
            if not isinstance(self._back, Clearable):
                raise self._cannot("be cleared")
            removed = await self._back.clear()
        finally:
            self._claims.clear()
            in_front = await self._front.clear()
        return max(removed, in_front)

    def scan(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
        """Every live entry of the back, oldest first."""
        return self._back.scan(partition)

    async def measure(self) -> Mapping[str, int]:
        """What the back says, and the front's figures with ``front_`` before their names.

        Over a ``Feed`` also ``feed_dropped``, the entries the front dropped at its word, and ``feed_gaps``.

        Raises BackendError when the back cannot be measured.
        """
        if not isinstance(self._back, Measurable):
            raise self._cannot("be measured")
        back = await self._back.measure()
        front = {f"front_{name}": value for name, value in (await self._front.measure()).items()}
        fed = {} if self._coherence is None else self._coherence.measure()
        return {**back, **front, **fed}

    async def flush(self) -> None:
        """Wait until the back has written what it holds; returns at once when it never holds anything."""
        if isinstance(self._back, _Flushable):
            await self._back.flush()

    def _take_in(self, entry: Entry, claim: Claim) -> None:
        """Keep what the back has said, unless it may be out of date already."""
        if self._claims.get(entry.key) is not claim:
            return
        # Over a feed only what can be told from what comes after it.
        if self._coherence is None or (self._coherence.told and claim.allows(entry.generation)):
            self._keep(entry)

    def _keep(self, entry: Entry) -> Entry:
        """What the front holds of it."""
        if entry.embedding is not None:
            entry = replace(entry, embedding=None)
        self._front.keep(entry, seconds=self._front_ttl)
        return entry

    def _release(self, key: bytes, claim: Claim) -> None:
        if self._claims.get(key) is claim:
            del self._claims[key]

    def _cannot(self, what: str) -> BackendError:
        return BackendError(f"the {type(self._back).__name__} behind the memory cannot {what}")


def behind_memory(url: BackendURL, back: Backend) -> Backend:
    """Put a memory in front of a backend, as its URL's options say.

    ``memory=64MB`` sets the memory's size (default 256 MiB; ``memory=0`` leaves it out),
    ``memory_entries=10000`` its number of entries, ``memory_ttl=60`` the ``front_ttl`` in seconds.
    """
    if url.text("memory", "") == "0":
        for name in ("memory_entries", "memory_ttl"):
            if name in url.options:
                raise url.problem(f"option {name!r} makes no sense with memory=0")
        return back
    front = MemoryBackend(
        max_entries=url.integer("memory_entries", MAX_ENTRIES),
        # memory=1 would be one byte; who writes it means "yes".
        max_bytes=url.size("memory", MAX_BYTES, minimum=LEAST_MEMORY),
    )
    return Tiered(front, back, front_ttl=url.seconds("memory_ttl", FRONT_TTL))
