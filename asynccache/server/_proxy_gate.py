"""How many requests are being answered, and whether any more may come in."""

from __future__ import annotations

import asyncio
from typing import Final

from asynccache.server._proxy_refusal import Refusal

__all__ = ["Gate"]


class Gate:
    """Counts requests in and out.

    Args:
        limit: requests at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._empty: asyncio.Event | None = None  # set while draining, once nobody is inside
        self.running = 0
        self.open = False
        self.draining = False

    def enter(self) -> None:
        """Let one in; ``leave`` belongs to it.

        Raises:
            Refusal: there is no room, or no more are let in.
        """
        if self.draining or not self.open:
            raise self.closing()
        if self.running >= self._limit:
            raise Refusal(429, "too many requests at once", headers=[("retry-after", "1")])
        self.running += 1

    @staticmethod
    def closing() -> Refusal:
        """What those hear who come too late, or were still inside at the end."""
        return Refusal(503, "the server is closing", headers=[("connection", "close")])

    def leave(self) -> None:
        """Count one out."""
        self.running -= 1
        if self.draining and not self.running and self._empty is not None:
            self._empty.set()

    async def drained(self, seconds: float) -> bool:
        """Let nobody in any more; whether all had left after so many seconds."""
        self.draining = True
        self._empty = asyncio.Event()
        if not self.running:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
