"""Notices that a client has gone while its answer is in the making."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import Receive

    from asynccache._lifespan import Nursery

__all__ = ["Watch"]

_LATER: Final = 0.01
"""Seconds until anybody looks: a hit is served by then, and needs no task beside its own."""


class Watch:
    """Cancels the task that made it when the client goes; ``close`` it in the end.

    Args:
        receive: the request's.
        nursery: of the tasks that wait.
    """

    __slots__ = ("_nursery", "_receive", "_task", "_timer", "_watcher", "left")

    def __init__(self, receive: Receive, nursery: Nursery) -> None:
        self._receive: Final = receive
        self._nursery: Final = nursery
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.left = False
        """Whether the client has gone."""

    def begin(self) -> None:
        """Look from now on; the body has been read."""
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_LATER, self._start)

    def _start(self) -> None:
        with suppress(RuntimeError):  # closed: the server ends, and with it every request
            self._watcher = self._nursery.start(self._wait)

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Look no longer. Safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
