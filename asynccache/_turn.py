"""Turns of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final

__all__ = ["LoopTurn"]


class LoopTurn:
    """Keeps tasks that only ever hit from starving the event loop.

    A hit from memory needs no suspension, so a task that hits in a row would never let others run. After
    ``budget`` seconds of one turn of the loop, every further hit of that turn yields once. Between, a hit
    pays one comparison.

    Args:
        budget: seconds of one turn; default 0.2 ms, some twenty hits.
    """

    def __init__(self, budget: float = 0.0002, clock: Callable[[], float] = perf_counter) -> None:
        self._budget: Final = budget
        self._clock: Final = clock
        self._began: float | None = None  # when this turn's first request came; None at the turn's start

    def due(self) -> bool:
        """Whether the caller should ``await asyncio.sleep(0)`` now."""
        if self._began is None:
            self._began = self._clock()
            asyncio.get_running_loop().call_soon(self._turned)
            return False
        return self._clock() - self._began > self._budget

    def _turned(self) -> None:
        self._began = None
