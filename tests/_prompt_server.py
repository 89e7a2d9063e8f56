"""A uvicorn in the event loop of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import uvicorn

__all__ = ["PromptServer"]


class PromptServer(uvicorn.Server):
    """Ends when it is told to, not when uvicorn looks at its flag again; leaves the signals to pytest."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = anyio.Event()

    def end(self) -> None:
        """Begin the shutdown, which is uvicorn's own."""
        self.should_exit = True
        self._told.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)  # makes the headers of every response
        await self._told.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
