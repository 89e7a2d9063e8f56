"""The semantic index over a backend: what it holds is the store's, in the form that is fast to search."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio.to_thread

from asynccache._clock import SystemClock
from asynccache._errors import BackendUnavailable, ConfigurationError, StageError
from asynccache._lifespan import SharedLifespan, entered
from asynccache._models import VectorRow
from asynccache.index._counts import Counts
from asynccache.index._options import Options
from asynccache.index._reading import Source
from asynccache.index._snapshot import Snapshots

if TYPE_CHECKING:
    from asynccache._models import Embedding, Entry, Neighbour
    from asynccache._protocols import Backend, Clock
    from asynccache.index._engines import Partitions
    from asynccache.index._open_index import OpenIndex
    from asynccache.index._room import Engines

__all__ = ["BackendIndex"]

ROUNDS: Final = 3
"""Times one search looks for a room whose predecessor was let go of meanwhile."""


class BackendIndex:
    """A SemanticIndex that is read from a backend and follows it. Must be open (``lifespan()``) to be used.

    The backend is the truth. A partition is read when it is first asked about, which that question waits
    for; after that the index takes up what it is told (``learn``) at once, and what other processes store
    and delete within ``poll`` seconds, if the backend has the capability ``Vectors``; without it, changes
    made by others are not seen.

    Partitions of more than ``exact_up_to`` vectors are kept on disk as well, since a graph takes long to
    build. A snapshot that is damaged, foreign or too old is passed over.

    Args:
        backend: held open while the index is open.
        folder: where snapshots lie, made with mode 0700. Default: where the backend says; a backend that
            says nowhere has none.
        exact_up_to: vectors of a partition up to which each search compares them all; 1 or more.
        max_bytes: memory held, approximately; the partitions least recently asked about leave. A partition
            that is larger by itself is held in part.
        poll: seconds between two looks at what others have changed; above 0.
        snapshot_every: changed vectors between two snapshots, at least (and a fifth of the partition);
            1 or more.
        patience: seconds a search waits for its partition to be read, above 0; from then on it finds what
            has been read so far. No search takes longer than twice that.
        clock: what expiry is judged by.
        engines: makes what holds the vectors of one partition; for tests and for other libraries.

    Raises:
        ConfigurationError: an option can never work.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        folder: Path | None = None,
        exact_up_to: int = 2000,
        max_bytes: int = 2 * 2**30,
        poll: float = 1.0,
        snapshot_every: int = 10_000,
        patience: float = 5.0,
        clock: Clock | None = None,
        engines: Engines | None = None,
    ) -> None:
        for name, number in (
            ("exact_up_to", exact_up_to),
            ("max_bytes", max_bytes),
            ("snapshot_every", snapshot_every),
        ):
            if not isinstance(number, int) or number < 1:
                raise ConfigurationError(f"{name}={number!r}: expected 1 or more")
        for name, seconds in (("poll", poll), ("patience", patience)):
            if not 0 < seconds < float("inf"):
                raise ConfigurationError(f"{name}={seconds!r}: expected a positive number of seconds")
        self._backend: Final = backend
        self._source: Final = Source(backend)
        folder = self._source.folder if folder is None else folder
        self._engines: Final = engines
        self._options: Final = Options(
            snapshots=Snapshots(folder) if folder is not None and self._source.tells_changes else None,
            exact_up_to=exact_up_to,
            max_bytes=max_bytes,
            poll=poll,
            snapshot_every=snapshot_every,
            clock=SystemClock() if clock is None else clock,
            threads=anyio.CapacityLimiter(2),
        )
        self._patience: Final = patience
        self._counts: Final = Counts()
        self._lifespan: Final = SharedLifespan(self._opening)
        self._now: OpenIndex | None = None  # None while closed; changed by the lifespan

    def __repr__(self) -> str:
        return f"<BackendIndex over {type(self._backend).__name__}>"

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Open with the first user, close with the last; the backend likewise."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(self._backend):
            # Importing what calculates takes a tenth of a second.
            parts = await anyio.to_thread.run_sync(_parts, limiter=self._options.threads)
            engines = parts.Partitions(self._options.exact_up_to) if self._engines is None else self._engines
            opened = parts.OpenIndex(self._source, self._options, engines, self._counts)
            async with opened.lifespan():
                self._now = opened
                try:
                    yield
                finally:
                    self._now = None

    async def nearest(
        self, partition: bytes, embedding: Embedding, k: int, *, vectors: int = 0
    ) -> list[Neighbour]:
        """The k nearest stored questions of a partition and space, best first; fewer when there are fewer.

        Of the first ``vectors`` the vector comes along.

        Raises:
            BackendUnavailable: not open, or the vectors could not be read, or not be searched in time.
            StageError: the vector is none that could be searched for, or the index failed.
        """
        dim, rest = divmod(len(embedding.vector), 4)
        if not dim or rest:
            raise StageError("an embedding without a vector of float32 numbers")
        clock = asyncio.get_running_loop().time
        until = clock() + self._patience  # for all rounds
        for _ in range(ROUNDS):
            now = self._opened()
            room = now.room((partition, embedding.space), dim)
            if not room.ready.done():
                await asyncio.wait([room.ready], timeout=max(0.0, until - clock()))
            error = room.ready.exception() if room.ready.done() else None
            if error is not None:
                raise BackendUnavailable(f"the index could not be loaded: {error}") from error
            if not room.gone:
                near = now.thread.at_once(room, embedding.vector, k, vectors)
                if near is not None:
                    return near
                return await self._in_time(now.thread.search(room, embedding.vector, k, vectors))
        return []

    async def _in_time(self, future: asyncio.Future[list[Neighbour]]) -> list[Neighbour]:
        # A bare timer: a timeout scope costs a good part of what a search does.
        timer = future.get_loop().call_later(self._patience, _give_up, future)
        try:
            return await future
        finally:
            timer.cancel()

    def learn(self, entry: Entry) -> None:
        """Take up an entry that has just been stored; found by any ``nearest`` that begins later."""
        now, embedding = self._now, entry.embedding
        if now is None or embedding is None:
            return
        room = now.rooms.get((entry.partition, embedding.space))
        if room is None or entry.expires_at <= self._options.clock.now():
            return
        if self._source.tells_changes or not room.live:
            room.fresh[entry.key] = embedding.vector
        now.tell(room, [VectorRow(entry.key, embedding.vector, entry.expires_at)], ())

    def forget(self, partition: bytes, keys: Collection[bytes]) -> None:
        """Let go of entries that are not in the store any more."""
        if self._now is not None:
            for room in self._now.rooms.of(partition):
                self._now.tell(room, (), keys)

    def nudge(self) -> None:
        """Look at once at what others have changed, rather than at the end of ``poll``."""
        if self._now is not None:
            self._now.nudged.set()

    async def flush(self) -> None:
        """Wait until all that was learnt before, and that others have committed, is taken up.

        Raises:
            BackendUnavailable: not open, or not within ``patience``.
            BackendError: the backend cannot tell what has changed.
        """
        now = self._opened()
        try:
            async with asyncio.timeout(self._patience):
                await now.follower.catch_up()
                await now.thread.settled()
        except TimeoutError as error:
            raise BackendUnavailable("the index could not catch up in time") from error

    async def save(self) -> int:
        """Save a snapshot of every large partition that has changed since its last; the number saved.

        A failure is counted (see ``measure``), not raised. Raises BackendUnavailable when not open.
        """
        return await self._opened().save()

    async def measure(self) -> Mapping[str, int]:
        """What is held now, and what has happened since this object was made.

        Held are ``partitions``, ``vectors``, ``bytes`` and, of the vectors, those ``in_graphs`` and
        ``in_tails``; not held, of the partitions in use, rows that were ``refused`` (no usable vector) and
        ``left_out`` (no room).
        """
        rooms = () if self._now is None else tuple(self._now.rooms)
        return {
            "partitions": len(rooms),
            "vectors": sum(room.size for room in rooms),
            "bytes": sum(room.nbytes for room in rooms),
            "in_graphs": sum(room.graph for room in rooms),
            "in_tails": sum(room.size - room.graph for room in rooms),
            "refused": sum(room.refused for room in rooms),
            "left_out": sum(room.left_out for room in rooms),
            **asdict(self._counts),
        }

    def _opened(self) -> OpenIndex:
        if self._now is None:
            raise BackendUnavailable(f"{self!r} is not open; use it within `async with index.lifespan()`")
        return self._now


class _Parts(NamedTuple):
    Partitions: type[Partitions]
    OpenIndex: type[OpenIndex]


def _parts() -> _Parts:
    from asynccache.index._engines import Partitions
    from asynccache.index._open_index import OpenIndex

    return _Parts(Partitions, OpenIndex)


def _give_up(future: asyncio.Future[list[Neighbour]]) -> None:
    if not future.done():
        future.set_exception(BackendUnavailable("the index did not answer in time"))
