"""One event loop in a thread of its own, for what must outlive the loops of a program.

A cached function may be called from several event loops, one after another or at once, and from plain
threads; a connection belongs to one loop. So the connections live here.

anyio's blocking portal is not used: handing it work blocks the caller until its thread has looked up,
and it cannot be let go of in a forked child, where it waits for a thread that was not copied.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, TypeVar

from asynccache._errors import BackendError, BackendUnavailable
from asynccache._lifespan import Nursery, own_task_cancelled
from asynccache.backends._fork import watch_forks

__all__ = ["PORTAL", "Portal", "PortalClosed", "Resident"]

T = TypeVar("T")

EXIT_PATIENCE: Final = 5.0
"""Seconds the end of the program waits for what lives here to close; its thread is a daemon."""
GRACE: Final = 1.0
"""Seconds more, for what has been cancelled then."""
RETRY_AFTER: Final = 1.0
"""Seconds between attempts to open what could not be opened."""


class PortalClosed(BackendUnavailable):
    """The program is ending; no fault of the backend, and nobody's to hear of."""

    def __init__(self) -> None:
        super().__init__("the program is ending")


class _House:
    """The loop while it runs, and what only it may touch."""

    def __init__(self) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self.closing: Final = asyncio.Event()
        self.nursery: Final = Nursery()
        self.residents = 0  # open or opening
        self.empty: Final = asyncio.Event()


class Portal:
    """Starts its thread with the first piece of work; a forked child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards start and end
        self._house: _House | None = None
        self._thread: threading.Thread | None = None
        self._ended = False
        watch_forks(self)

    @property
    def house(self) -> _House:
        """Where work runs. For the portal's own thread, while it is open."""
        if self._house is None:
            raise PortalClosed
        return self._house

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await ``work()`` in the portal, from any event loop; cancelling the caller cancels the work.

        Raises:
            PortalClosed: the program is ending.
        """
        try:
            return await asyncio.wrap_future(self.start(work))
        except asyncio.CancelledError as error:
            if own_task_cancelled():
                raise
            raise PortalClosed from error

    def run_blocking(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As ``run``, for plain threads."""
        future = self.start(work)
        try:
            return future.result()
        except CancelledError as error:
            raise PortalClosed from error
        except BaseException:
            future.cancel()
            raise

    def start(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Begin ``work()`` in the portal. Never blocks, except for the first call, which starts the thread.

        Raises:
            PortalClosed: the program is ending.
        """
        house = self._house or self._open()
        coroutine = work()
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, house.loop)
        except RuntimeError as error:
            coroutine.close()
            raise PortalClosed from error

    def _open(self) -> _House:
        with self._lock:
            if self._house is not None:
                return self._house
            if self._ended:
                raise PortalClosed
            started: Future[_House] = Future()
            thread = threading.Thread(
                target=lambda: asyncio.run(_live(started)), name="asynccache-portal", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # no threads any more: the interpreter is going down
                raise PortalClosed from error
            if self._thread is None:
                atexit.register(self.close)
            self._thread = thread
            self._house = started.result()
            return self._house

    def close(self) -> None:
        """Close what lives here, or give up after ``EXIT_PATIENCE`` seconds; for the end of the program."""
        with self._lock:
            house, self._house, self._ended = self._house, None, True
        if house is not None and self._thread is not None:
            house.loop.call_soon_threadsafe(house.closing.set)
            self._thread.join(EXIT_PATIENCE + GRACE)

    # Around a fork

    def before_fork(self) -> None:
        """Hold still."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget the loop: its thread was not copied, and its selector is shared with the parent's."""
        if self._house is not None:
            _orphans.append(self._house)
        self._house = None
        self._lock.release()


_orphans: Final[list[_House]] = []
"""Loops of threads that a fork left behind; closing them here would disturb the parent's."""


async def _live(started: Future[_House]) -> None:
    house = _House()
    async with house.nursery.lifespan():
        started.set_result(house)
        await house.closing.wait()
        if house.residents:
            with suppress(TimeoutError):
                async with asyncio.timeout(EXIT_PATIENCE):
                    await house.empty.wait()


class Resident:
    """Something with a lifespan, opened in the portal at its first use, closed with the program.

    All methods but the constructor are for the portal's loop.

    Args:
        lifespan: called for each opening.
    """

    def __init__(self, portal: Portal, lifespan: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        self._portal: Final = portal
        self._lifespan: Final = lifespan
        self._house: _House | None = None  # in which it is open, or opening
        self._opened: asyncio.Future[None] | None = None
        self._retry_at = 0.0

    async def opened(self) -> None:
        """Wait until it is open.

        Raises:
            BackendError: it cannot be opened; tried at most once a second.
        """
        house = self._portal.house
        failed = self._opened is not None and self._opened.done() and self._opened.exception() is not None
        if self._house is not house or (failed and house.loop.time() >= self._retry_at):
            self._house = house
            self._opened = opened = house.loop.create_future()
            house.residents += 1
            house.nursery.start(lambda: self._stay(house, opened))
        if self._opened is not None:
            await asyncio.shield(self._opened)

    async def _stay(self, house: _House, opened: asyncio.Future[None]) -> None:
        try:
            async with self._lifespan():
                opened.set_result(None)
                await house.closing.wait()
        except Exception as error:  # noqa: BLE001  (a border: whoever waits raises it)
            if not opened.done():
                self._retry_at = house.loop.time() + RETRY_AFTER
                opened.set_exception(_mapped(error))
                opened.exception()  # perhaps nobody waits any more
        finally:
            if not opened.done():
                opened.set_exception(PortalClosed())
                opened.exception()
            house.residents -= 1
            if house.residents == 0:
                house.empty.set()


def _mapped(error: Exception) -> BackendError:
    if isinstance(error, BackendError):
        return error
    mapped = BackendUnavailable(f"it cannot be opened ({type(error).__name__})")
    mapped.__cause__ = error
    return mapped


PORTAL: Final = Portal()
"""The process's own."""
