"""SIGTERM and SIGINT: first the requests that are running end, then the server does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asynccache._lifespan import Nursery
    from asynccache.server._proxy_gate import Gate

__all__ = ["drained_on_signals"]

_HANDLED: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def drained_on_signals(gate: Gate, nursery: Nursery, *, grace: float) -> Iterator[None]:
    """Stand before the handlers that a server has set; it is told once all have left, or after the grace.

    A second SIGINT is passed on at once. A second SIGTERM says nothing new: whoever supervises workers sends
    one after a terminal's SIGINT.

    Args:
        gate: lets nobody in any more from the signal on.
        nursery: open.
        grace: seconds.
    """
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {}

    def told(number: int, frame: FrameType | None) -> None:
        if gate.draining:
            if number == signal.SIGINT:
                pass_on(number, frame)
            return
        gate.draining = True
        loop.call_soon_threadsafe(nursery.start, lambda: drain(number))

    async def drain(number: int) -> None:
        await gate.drained(grace)
        pass_on(number, None)

    def pass_on(number: int, frame: FrameType | None) -> None:
        handler: Callable[[int, FrameType | None], Any] | Any = before.get(number)
        if callable(handler):
            handler(number, frame)

    for handled in _HANDLED:
        before[handled] = signal.signal(handled, told)
    try:
        yield
    finally:
        for handled in _HANDLED:
            signal.signal(handled, before[handled])
