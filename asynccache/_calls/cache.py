"""What one cached function keeps: results in memory, a backend behind them, and the count of both."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import import_module
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from asynccache._calls.flight import Flight
from asynccache._calls.results import from_json, to_json
from asynccache._calls.store import CallStore
from asynccache._errors import BackendError, ConfigurationError, CorruptEntry
from asynccache._events import StageFailed
from asynccache._lru import LRU
from asynccache._models import Entry, Response
from asynccache._portal import PORTAL, PortalClosed
from asynccache.backends._fork import watch_forks

if TYPE_CHECKING:
    from asynccache._calls.key import CallKey
    from asynccache._protocols import Clock

__all__ = ["CacheStats", "CallCache"]

P = TypeVar("P")
F = TypeVar("F", bound=Flight)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What a cached function has done in this process since it was defined.

    Args:
        hits: calls answered by a stored result.
        misses: times the function was run.
        shared: calls answered by another call that was under way.
        evictions: results dropped from memory for want of room.
        expired: results found in memory after their time.
        size: results in memory now, among them expired ones nobody has asked for since.
        refused: results kept in memory only, because JSON would not give them back as they were.
        errors: failures of the backend that were passed over.
    """

    hits: int
    misses: int
    shared: int
    evictions: int
    expired: int
    size: int
    refused: int
    errors: int

    @property
    def hit_rate(self) -> float:
        """Hits among all answered calls, 0 to 1; 0 when there was none. A shared call is no hit."""
        calls = self.hits + self.misses + self.shared
        return self.hits / calls if calls else 0.0


class CallCache(Generic[P, F]):
    """The state of one function, for any number of threads and event loops.

    Results travel as tuples of one, so that None can be one.

    Args:
        key: knows the function's name, partition and version.
        ttl: seconds a result may be served; infinity keeps it.
        max_size: results held in memory.
        store: what lies behind the memory, or None.
        clock: monotonic for what is in memory, wall clock for what is stored.
    """

    def __init__(
        self, key: CallKey, *, ttl: float, max_size: int, store: CallStore | None, clock: Clock
    ) -> None:
        self._key: Final = key
        self._ttl: Final = ttl
        self._store: Final = store
        self._clock: Final = clock
        # Guards all below. Reentrant: dropping a result may run a finalizer that calls the function.
        self._lock: Final = threading.RLock()
        self._memory: Final = LRU[bytes, tuple[Any]](max_items=max_size, max_weight=0)
        self._flights: Final[dict[P, F]] = {}  # calls that others may join, by where their callers meet
        self._generation = 0  # grows with every clearing: a result of a call begun before is not kept
        self._cleared_at = float("-inf")  # wall clock: what was stored until then is not served
        self._hits = 0
        self._misses = 0
        self._shared = 0
        self._refused = 0
        self._errors = 0
        watch_forks(self)

    def find(self, key: bytes) -> tuple[Any] | None:
        """The result in memory, as a hit."""
        with self._lock:
            held = self._memory.get(key, self._clock.monotonic())
            if held is not None:
                self._hits += 1
            return held

    def board(self, place: P, make: Callable[[int], F]) -> tuple[F, bool]:
        """The flight to wait for, and whether the caller is the first, who has to make it fly."""
        with self._lock:
            flight = self._flights.get(place)
            if flight is None:
                self._flights[place] = flight = make(self._generation)
                return flight, True
            if not flight.is_around:
                self._shared += 1
            return flight, False

    def leave(self, place: P, flight: F) -> None:
        """Let nobody board a flight any more."""
        with self._lock:
            if self._flights.get(place) is flight:
                del self._flights[place]

    def begin(self) -> None:
        """Count a run of the function."""
        with self._lock:
            self._misses += 1

    def keep(self, key: bytes, value: object, generation: int) -> None:
        """Hold the function's result in memory.

        Raises:
            ConfigurationError: the result can be used only once, so the function cannot be cached.
        """
        if isinstance(value, (GeneratorType, AsyncGeneratorType)) or inspect.isawaitable(value):
            kind = type(value).__name__
            if inspect.iscoroutine(value):
                value.close()  # lest it be reported as never awaited
            raise ConfigurationError(
                f"cached: {self._key.identity} returned a {kind}, which can be used only once"
            )
        self._hold(key, (value,), self._ttl, generation)

    def _hold(self, key: bytes, held: tuple[Any], seconds: float, generation: int) -> None:
        with self._lock:
            if generation == self._generation:
                now = self._clock.monotonic()
                self._memory.put(key, held, weight=0, until=now + seconds, now=now)

    # The backend's part. Its failures are counted, reported and passed over.

    def recalling(self, key: bytes) -> Callable[[], Coroutine[Any, Any, Entry | None]] | None:
        """The work that looks a result up, for the portal; None when there is nowhere to look."""
        store = self._store
        return None if store is None else lambda: store.get(key)

    def recalled(self, entry: Entry | None, generation: int) -> tuple[Any] | None:
        """What the backend had, if it may be served, as a hit; it is in memory from then on."""
        if entry is None or entry.created_at <= self._cleared_at:
            return None
        # The function may have been given a shorter ttl since, and clocks may have been set.
        expires_at = min(entry.expires_at, entry.created_at + self._ttl)
        seconds = min(expires_at - self._clock.now(), self._ttl)
        if seconds <= 0:
            return None
        try:
            held: tuple[Any] = (from_json(entry.response.body),)
        except ValueError:
            self.failed(CorruptEntry("a stored result is no JSON"))
            return None
        self._hold(entry.key, held, seconds, generation)
        with self._lock:
            self._hits += 1
        return held

    def storing(
        self, key: bytes, value: object, generation: int
    ) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """The work that stores a result, for the portal; None when there is nowhere to, or it cannot be."""
        store = self._store
        if store is None:
            return None
        body = to_json(value)
        if body is None:
            self._refuse(value)
            return None
        entry = Entry(
            key=key,
            partition=self._key.partition,
            dialect="call",
            response=Response(body),
            created_at=self._clock.now(),
            ttl=None if self._ttl == float("inf") else self._ttl,
            version=self._key.version,
        )
        return lambda: store.put(entry, lambda: generation == self._generation)

    def _refuse(self, value: object) -> None:
        with self._lock:
            self._refused += 1
            first = self._refused == 1
        if first:
            kind = type(value).__name__
            self._report(
                BackendError(f"a result ({kind}) would not come back from JSON as it is; kept in memory only")
            )

    def failed(self, error: BackendError) -> None:
        """Count and report a failure that is passed over."""
        with self._lock:
            self._errors += 1
        if not isinstance(error, PortalClosed):  # at the end of the program there is nowhere to report to
            self._report(error)

    def _report(self, error: BackendError) -> None:
        event = StageFailed(f"cached {self._key.identity}", error)
        # structlog is imported when the first failure happens.
        import_module("asynccache.instrumentation.structlog").default_hook(event)

    # What users call

    def clear(self) -> Future[None]:
        """Forget everything; in memory at once, and in the backend when the future is done."""
        with self._lock:
            self._generation += 1
            self._cleared_at = self._clock.now()
            self._flights.clear()
            self._memory.clear(self._clock.monotonic())
        if self._store is None:
            done = Future[None]()
            done.set_result(None)
            return done
        return PORTAL.start(self._clear_store)

    async def _clear_store(self) -> None:
        if self._store is not None:
            try:
                await self._store.clear()
            except BackendError as error:
                self.failed(error)
                raise

    def stats(self) -> CacheStats:
        """The counters, as of one moment."""
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                shared=self._shared,
                evictions=self._memory.evictions,
                expired=self._memory.expired,
                size=len(self._memory),
                refused=self._refused,
                errors=self._errors,
            )

    # Around a fork

    def before_fork(self) -> None:
        """Wait until no other thread is inside."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Wait for no call of a thread that was not copied."""
        self._flights.clear()
        self._lock.release()
