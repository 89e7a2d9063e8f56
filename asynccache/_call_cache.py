"""What one cached function keeps: results in memory, a backend behind them, and the count of both."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import import_module
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from asynccache._call_store import CallStore
from asynccache._errors import BackendError, ConfigurationError, CorruptEntry
from asynccache._events import StageFailed
from asynccache._lru import LRU
from asynccache._models import Entry, Response
from asynccache._portal import PORTAL
from asynccache._values import from_json, to_json
from asynccache.backends._fork import watch_forks

if TYPE_CHECKING:
    from asynccache._call_key import CallKey
    from asynccache._protocols import Clock

__all__ = ["CacheStats", "CallCache"]

R = TypeVar("R")
F = TypeVar("F")


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


class CallCache(Generic[R, F]):
    """The state of one function, for any number of threads and event loops.

    Args:
        key: makes the keys, and knows the function's name.
        ttl: seconds a result may be served; infinity keeps it.
        max_size: results held in memory.
        store: what lies behind the memory, or None.
        clock: monotonic for what is in memory, wall clock for what is stored.
    """

    def __init__(self, key: CallKey, *, ttl: float, max_size: int, store: CallStore | None, clock: Clock) -> None:
        self.store: Final = store
        self.lock: Final = threading.RLock()
        """Guards all state below. Reentrant: dropping a result may run a finalizer that calls the function."""
        self.flights: Final[dict[F, Any]] = {}
        """Calls under way, which others may join."""
        self.generation = 0
        """Grows with every clearing: a result of a call begun in an older one is never kept."""
        self.shared = 0
        self._key: Final = key
        self._ttl: Final = ttl
        self._clock: Final = clock
        self._memory: Final = LRU[bytes, tuple[R]](max_items=max_size, max_weight=0)
        self._cleared_at = float("-inf")  # wall clock: what was stored until then is not served
        self._hits = 0
        self._misses = 0
        self._refused = 0
        self._errors = 0
        watch_forks(self)

    def find(self, key: bytes) -> tuple[R] | None:
        """The result in memory, as a hit. The lock must be held."""
        held = self._memory.get(key, self._clock.monotonic())
        if held is not None:
            self._hits += 1
        return held

    def leave(self, place: F, flight: object) -> None:
        """Let nobody join a flight any more."""
        with self.lock:
            if self.flights.get(place) is flight:
                del self.flights[place]

    def begin(self) -> None:
        """Count a run of the function."""
        with self.lock:
            self._misses += 1

    def keep(self, key: bytes, value: R, generation: int) -> None:
        """Hold the function's result in memory.

        Raises:
            ConfigurationError: the result can be used only once, so the function cannot be cached.
        """
        if isinstance(value, (GeneratorType, AsyncGeneratorType)) or inspect.isawaitable(value):
            kind = type(value).__name__
            if inspect.iscoroutine(value):
                value.close()  # lest it be reported as never awaited
            raise ConfigurationError(f"cached: {self._key.identity} returned a {kind}, which can be used only once")
        self._hold(key, (value,), self._ttl, generation)

    def _hold(self, key: bytes, held: tuple[R], seconds: float, generation: int) -> None:
        with self.lock:
            if generation == self.generation:
                now = self._clock.monotonic()
                self._memory.put(key, held, weight=0, until=now + seconds, now=now)

    # The backend's part. Its failures are counted, reported and passed over.

    def recalled(self, entry: Entry | None, generation: int) -> tuple[R] | None:
        """What the backend had, if it may be served, as a hit; it is in memory from then on."""
        if entry is None or entry.created_at <= self._cleared_at:
            return None
        # The function may have been given a shorter ttl since, and clocks may have been set.
        expires_at = min(entry.expires_at, entry.created_at + self._ttl)
        seconds = min(expires_at - self._clock.now(), self._ttl)
        if seconds <= 0:
            return None
        try:
            held: tuple[R] = (from_json(entry.response.body),)
        except ValueError:
            self.failed(CorruptEntry("a stored result is no JSON"))
            return None
        self._hold(entry.key, held, seconds, generation)
        with self.lock:
            self._hits += 1
        return held

    def storing(self, key: bytes, value: R, generation: int, version: str | None) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """The work that stores a result, for the portal; None when there is nowhere to, or it cannot be."""
        store = self.store
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
            version=version,
        )
        return lambda: store.put(entry, lambda: generation == self.generation)

    def _refuse(self, value: R) -> None:
        with self.lock:
            self._refused += 1
            first = self._refused == 1
        if first:
            kind = type(value).__name__
            self._report(BackendError(f"a result ({kind}) would not come back from JSON as it is; kept in memory only"))

    def failed(self, error: BackendError) -> None:
        """Count and report a failure that is passed over."""
        with self.lock:
            self._errors += 1
        self._report(error)

    def _report(self, error: BackendError) -> None:
        event = StageFailed(f"cached {self._key.identity}", error)
        # structlog is imported when the first failure happens.
        import_module("asynccache.instrumentation.structlog").default_hook(event)

    # What users call

    def clear(self) -> Future[None]:
        """Forget everything; in memory at once, and in the backend when the future is done."""
        with self.lock:
            self.generation += 1
            self._cleared_at = self._clock.now()
            self.flights.clear()
            self._memory.clear(self._clock.monotonic())
        if self.store is None:
            done = Future[None]()
            done.set_result(None)
            return done
        return PORTAL.start(self._clear_store)

    async def _clear_store(self) -> None:
        if self.store is not None:
            try:
                await self.store.clear()
            except BackendError as error:
                self.failed(error)
                raise

    def stats(self) -> CacheStats:
        """The counters, as of one moment."""
        with self.lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                shared=self.shared,
                evictions=self._memory.evictions,
                expired=self._memory.expired,
                size=len(self._memory),
                refused=self._refused,
                errors=self._errors,
            )

    # Around a fork

    def before_fork(self) -> None:
        """Wait until no other thread is inside."""
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.lock.release()

    def after_fork_in_child(self) -> None:
        """Wait for no call of a thread that was not copied."""
        self.flights.clear()
        self.lock.release()
