"""The persistent half of cached functions: backends that live in the portal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from asynccache._errors import BackendError, BackendUnavailable, ConfigurationError, CorruptEntry
from asynccache._lifespan import entered
from asynccache._models import Entry
from asynccache._portal import PORTAL, Portal, Resident
from asynccache._protocols import Backend
from asynccache._registry import open_backend
from asynccache.backends._fork import watch_forks

__all__ = ["CallStore", "SharedBackend", "shared_backend"]

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds for one operation, the opening included. Who waits longer had better call the function."""
REST: Final = 2.0
"""Seconds a backend that was out of patience is left alone, so that not every call waits for it."""
_BATCH: Final = 500  # keys deleted at once, well below SQLite's limit of 32,766 variables


class SharedBackend:
    """A backend in the portal, for all functions that use it.

    Args:
        make: makes the backend; called again in a forked child.
    """

    def __init__(self, make: Callable[[], Backend], portal: Portal = PORTAL) -> None:
        self._make: Final = make
        self._backend: Backend | None = None  # the portal's alone, like all below
        self._resident: Final = Resident(portal, self._opening)
        self._rest_until = 0.0  # by the portal loop's clock

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        self._backend = backend = self._make()
        async with entered(backend):
            yield

    async def use(self, work: Callable[[Backend], Coroutine[Any, Any, T]]) -> T:
        """Await ``work(backend)``, in time. Raises BackendError and nothing else."""
        now = asyncio.get_running_loop().time()
        if now < self._rest_until:
            raise BackendUnavailable("it did not answer in time a moment ago")
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.use_patiently(work)
        except TimeoutError as error:
            self._rest_until = asyncio.get_running_loop().time() + REST
            raise BackendUnavailable(f"it did not answer within {PATIENCE:g} s") from error

    async def use_patiently(self, work: Callable[[Backend], Coroutine[Any, Any, T]]) -> T:
        """As ``use``, however long it takes."""
        await self._resident.opened()
        if self._backend is None:
            raise BackendUnavailable("it is not open")
        try:
            return await work(self._backend)
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"it broke its contract ({type(error).__name__})") from error


class _ByURL:
    """One backend for each URL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the step from "none yet" to one
        self._known: dict[str, SharedBackend] = {}
        watch_forks(self)

    def get(self, url: str) -> SharedBackend:
        with self._lock:
            known = self._known.get(url)
            if known is None:
                open_backend(url)  # a mistake in the URL is one of the program, and should show at once
                known = self._known[url] = SharedBackend(lambda: open_backend(url))
            return known

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    after_fork_in_child = after_fork_in_parent


_by_url: Final = _ByURL()
_by_object: Final[dict[int, tuple[Backend, SharedBackend]]] = {}  # by id, which the object keeps for itself


def shared_backend(backend: str | Backend) -> SharedBackend:
    """The one home in this process of a backend, or of the backend a URL names.

    Raises:
        ConfigurationError: the URL is wrong, or the object is no backend.
    """
    if isinstance(backend, str):
        return _by_url.get(backend)
    if not isinstance(backend, Backend):
        raise ConfigurationError(f"backend: expected a URL or a Backend, got {type(backend).__name__}")
    return _by_object.setdefault(id(backend), (backend, SharedBackend(lambda: backend)))[1]


class CallStore:
    """The entries of one owner, a function say, in a backend. Every coroutine is for the portal's loop.

    Args:
        shared: where the entries are.
        partition: what the owner's entries have in common, 32 bytes.
        dialect: theirs.
    """

    def __init__(self, shared: SharedBackend, partition: bytes, *, dialect: str = "call") -> None:
        self._shared: Final = shared
        self._partition: Final = partition
        self._dialect: Final = dialect
        self._writing: Final[set[asyncio.Future[None]]] = set()  # one for each put under way

    async def get(self, key: bytes) -> Entry | None:
        """The owner's entry under a key. Raises BackendError."""
        entry = await self._shared.use(lambda backend: backend.get(key))
        if entry is not None and (entry.partition != self._partition or entry.dialect != self._dialect):
            raise CorruptEntry("the entry is of another owner")
        return entry

    async def put(self, entry: Entry, wanted: Callable[[], bool]) -> None:
        """Store, unless ``wanted()`` is False by now. Raises BackendError."""
        if not wanted():
            return
        # From the question to here nothing is awaited: a clear() that comes later sees this put.
        writing = asyncio.get_running_loop().create_future()
        self._writing.add(writing)
        try:
            await self._shared.use(lambda backend: backend.put(entry))
        finally:
            self._writing.discard(writing)
            writing.set_result(None)

    async def clear(self) -> None:
        """Remove all entries of the owner that were put before. Raises BackendError."""
        loop = asyncio.get_running_loop()
        writing = [each for each in self._writing if each.get_loop() is loop]  # a fork may have left others
        if writing:
            await asyncio.wait(writing)
        await self._shared.use_patiently(self._remove_all)

    async def _remove_all(self, backend: Backend) -> None:
        flush = getattr(backend, "flush", None)
        if flush is not None:  # what is written behind would not be found yet
            await flush()
        keys = [entry.key async for entry in backend.scan(self._partition)]
        for first in range(0, len(keys), _BATCH):
            await backend.delete(keys[first : first + _BATCH])
