"""A circuit breaker: who does not answer is not asked for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from asynccache._lifespan import Nursery
from asynccache.backends._redis_errors import as_backend_error

__all__ = ["Breaker"]

FAILURES: Final = 3
"""In a row, after which it opens."""
PAUSE: Final = 0.2
"""Seconds between two probes while it is open."""
PATIENCE: Final = 1.0
"""Seconds a probe may take."""


class Breaker:
    """Opens after some failures in a row, and closes when a probe succeeds.

    While it is open one probe at a time is made behind everybody's requests (the half-open state), so that
    no request pays for finding out.

    Args:
        probe: asks the server for a sign of life; raises when there is none.
        nursery: where probes are made.
        opened: called when it opens.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[None]], nursery: Nursery, opened: Callable[[], None]
    ) -> None:
        self._probe: Final = probe
        self._nursery: Final = nursery
        self._opened: Final = opened
        self._failures = 0
        self._probing: asyncio.Task[None] | None = None
        self.open = False
        """Whether nothing should be asked."""
        self.reason = ""
        """What the last failure said."""

    def reset(self) -> None:
        """Close it, and probe no longer."""
        if self._probing is not None:
            self._probing.cancel()
        self._failures = 0
        self.open = False

    def succeeded(self) -> None:
        """Somebody got a reply."""
        self._failures = 0

    def failed(self, error: Exception) -> None:
        """Somebody got none."""
        self.reason = str(as_backend_error(error))
        self._failures += 1
        if self._failures >= FAILURES and not self.open:
            with suppress(RuntimeError):  # being closed
                self._probing = self._nursery.start(self._until_it_answers)
                self.open = True
                self._opened()

    async def _until_it_answers(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._probe()
            except Exception as error:  # noqa: BLE001  (whatever it is, it is no sign of life)
                self.reason = str(as_backend_error(error))
                continue
            self._failures = 0
            self.open = False
            return
