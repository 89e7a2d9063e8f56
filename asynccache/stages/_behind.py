"""Work that is done behind requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from asynccache._lifespan import Nursery

__all__ = ["Behind"]


class Behind:
    """Tasks that nobody's request waits for: not too many at a time, and gone when their owner closes.

    Args:
        most: how many at a time; further ones are left out.
    """

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._pending: Final[set[asyncio.Task[None]]] = set()  # each leaves by itself when done
        self._nursery: Final = Nursery()

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Open; what is under way ends with it."""
        return self._nursery.lifespan()

    @property
    def full(self) -> bool:
        """Whether what is begun now would be left out."""
        return len(self._pending) >= self._most

    def begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it, unless there is too much to do. Raises RuntimeError when closed."""
        if self.full:
            return
        task = self._nursery.start(work)
        if not task.done():
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def finished(self) -> None:
        """Wait for what is under way."""
        if self._pending:
            await asyncio.wait(self._pending)
