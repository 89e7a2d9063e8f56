"""Waiting for something to have changed, in one process."""

from __future__ import annotations

import asyncio

__all__ = ["News"]


class News:
    """Wakes those who wait. Used on the event loop only."""

    def __init__(self) -> None:
        self._unheard = False  # told while nobody waited
        self._waiting: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        """Wake everybody; whoever comes next when there is nobody."""
        self._unheard = not self._waiting
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Return when something is told, or was since somebody last waited; after so many seconds at most."""
        if self._unheard:
            await asyncio.sleep(0)  # a loop of reading and waiting lets others run
            self._unheard = False
            return
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, self._wake, waiting)
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
            timer.cancel()

    def after_fork_in_child(self) -> None:
        """Forget those who wait in the parent."""
        self._waiting = set()

    @staticmethod
    def _wake(waiting: asyncio.Future[None]) -> None:
        if not waiting.done():
            waiting.set_result(None)
