"""Long-lived things: opened once however many use them, with tasks that belong to nobody's request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import anyio

from asynccache._protocols import Managed

__all__ = ["Nursery", "SharedLifespan", "entered", "own_task_cancelled", "to_its_end"]


def own_task_cancelled() -> bool:
    """Whether a CancelledError being handled was asked for, rather than raised out of the blue."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@asynccontextmanager
async def entered(*parts: object) -> AsyncIterator[None]:
    """Hold open those of ``parts`` that have a lifespan, in order; the rest need none."""
    async with AsyncExitStack() as stack:
        for part in parts:
            if isinstance(part, Managed):
                await stack.enter_async_context(part.lifespan())
        yield


async def to_its_end(work: Coroutine[Any, Any, object]) -> None:
    """Await ``work`` though the caller is cancelled meanwhile; the cancellation follows after.

    A shielded scope alone keeps off anyio's cancellation, not that of ``Task.cancel()``.
    """
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


class SharedLifespan:
    """Open with the first user, close with the last; users may come and go in different tasks.

    Args:
        opening: makes the context manager to hold open. It must not keep a cancel scope or a task
            group of its own across its ``yield`` (the last user may live in another task than the
            first); background work belongs in a ``Nursery``.
    """

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._opening = opening
        self._users = 0  # changed only under the lock
        self._held: AbstractAsyncContextManager[None] | None = None
        self._lock: asyncio.Lock | None = None  # guards the step between 0 and 1 users; belongs to the loop
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        if self._lock is None or (self._users == 0 and self._loop is not loop):
            self._lock, self._loop = asyncio.Lock(), loop
        lock = self._lock
        async with lock:
            if self._users == 0:
                held = self._opening()
                await held.__aenter__()
                self._held = held
            self._users += 1
        try:
            yield
        finally:
            await to_its_end(self._leave(lock))

    async def _leave(self, lock: asyncio.Lock) -> None:
        async with lock:
            self._users -= 1
            if self._users == 0 and self._held is not None:
                held, self._held = self._held, None
                await held.__aexit__(None, None, None)


class Nursery:
    """Background tasks that end with their owner, and belong to nobody's request.

    A task group ties its children to the task that opened it: that task is cancelled when a child fails,
    and must be the one that closes the group. A pipeline may be opened in one task and closed in another
    (test fixtures, start-up hooks), and its background work must never cancel a user.

    A failing child ends alone and is handed to ``on_error``.

    Args:
        on_error: default None hands the error to the event loop's exception handler.
    """

    def __init__(self, on_error: Callable[[Exception], None] | None = None) -> None:
        self._on_error = on_error
        self._children: set[asyncio.Task[None]] = set()  # each leaves by itself when done
        self._open = False

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open; on leaving, cancel every child and wait until all have ended."""
        self._open = True
        try:
            yield
        finally:
            self._open = False
            await to_its_end(self._end())

    async def _end(self) -> None:
        while self._children:
            for child in self._children:
                child.cancel()
            # Cancelled anew, should one have swallowed it.
            await asyncio.wait(self._children, timeout=1.0)

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run ``work`` as a child, in a copy of the caller's context. Raises RuntimeError when closed."""
        if not self._open:
            raise RuntimeError("the nursery is not open")
        child = asyncio.get_running_loop().create_task(self._guard(work))
        self._children.add(child)
        child.add_done_callback(self._children.discard)
        return child

    async def _guard(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001  (nobody else can see it)
            if self._on_error is not None:
                self._on_error(error)
            else:
                context = {"message": "background work of asynccache failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
