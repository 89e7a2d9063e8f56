"""A call under way, and those who wait for it rather than make it again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

__all__ = ["Flight", "LoopFlight", "ThreadFlight"]

R = TypeVar("R")

_around: Final[ContextVar[frozenset[object]]] = ContextVar("asynccache_calls_under_way", default=frozenset())
"""The flights the running code is part of: it must not wait for one of these."""


class Flight:
    """A call under way.

    Args:
        generation: of the cache when the flight began; its result is not kept in a later one.
    """

    def __init__(self, generation: int) -> None:
        self.generation: Final = generation

    @property
    def is_around(self) -> bool:
        """Whether the running code is part of this very flight: a call that comes back to itself."""
        return self in _around.get()


class LoopFlight(Flight, Generic[R]):
    """A call in a task of its own, on one event loop, whose thread alone touches it.

    Cancelling a caller, the first included, harms no other; when the last is gone the task is cancelled.
    """

    def __init__(self, generation: int) -> None:
        super().__init__(generation)
        self._task: asyncio.Task[R] | None = None
        self._waiting = 0

    def take_off(self, call: Callable[[], Coroutine[Any, Any, R]]) -> None:
        """Begin the call, in a copy of the running context."""
        # A plain task: it outlives the caller that begins it, and ends with its last one.
        self._task = asyncio.get_running_loop().create_task(self._fly(call))
        _tasks.add(self._task)
        self._task.add_done_callback(_ended)

    async def _fly(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        _around.set(_around.get() | {self})
        return await call()

    async def result(self, abandon: Callable[[], None]) -> R:
        """Wait for the result, or raise what the call raised.

        ``abandon`` is called when this caller goes away as the last one, before the call is cancelled.
        """
        task = self._task
        if task is None:
            raise RuntimeError("the flight has not taken off")
        self._waiting += 1
        try:
            await asyncio.wait((task,))
        finally:
            self._waiting -= 1
            if self._waiting == 0 and not task.done():
                abandon()
                task.cancel()
        return task.result()


_tasks: Final[set[asyncio.Task[Any]]] = set()
"""Of all loops: the loop itself would not keep a task that its callers have left from being collected."""


def _ended(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    if not task.cancelled():  # lest asyncio report an error that nobody waits for any more
        task.exception()


class ThreadFlight(Flight, Generic[R]):
    """A call in the thread that came first; other threads wait for it."""

    def __init__(self, generation: int) -> None:
        super().__init__(generation)
        self._landed: Final = threading.Event()
        self._value: tuple[R] | None = None
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None

    def fly(self, call: Callable[[], R]) -> R:
        """Make the call."""
        token = _around.set(_around.get() | {self})
        try:
            value = call()
        except Exception as error:
            self._error, self._traceback = error, error.__traceback__
            raise
        else:
            self._value = (value,)
            return value
        finally:
            _around.reset(token)
            self._landed.set()

    def result(self) -> tuple[R] | None:
        """Wait for the result, or raise what the call raised.

        None when the calling thread was stopped by something that is only its own (KeyboardInterrupt).
        """
        self._landed.wait()
        if self._error is not None:
            raise self._error.with_traceback(self._traceback)  # else it grows with each thread
        return self._value
