"""Wake-ups: a hint that there is something to read, which may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asynccache._lifespan import Nursery
from asynccache.backends._redis_link import Link

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

__all__ = ["News"]

FIRST_PAUSE: Final = 0.02
"""Seconds until the next try to listen, when it had worked; longer from failure to failure."""
LONGEST_PAUSE: Final = 0.5
MOST: Final = 10_000
"""Announcements expected at once; more are noticed by those who look by themselves after a while."""
SILENCE: Final = 2.0
"""Seconds after which a server that has said nothing is asked for a sign of life, and then given up."""


class News:
    """Listens to a channel, from the first time somebody expects something.

    Args:
        connect: makes a connection, in the second version of the protocol.
        channel: its name. A message is empty for a change, or names a flight.
        nursery: where it listens.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[AbstractConnection]], channel: bytes, nursery: Nursery
    ) -> None:
        self._link: Final = Link(connect, nursery)
        self._channel: Final = channel
        self._nursery: Final = nursery
        self._listening: asyncio.Task[None] | None = None
        self._heard = False  # since a sign of life was asked for
        self._rung: Final[dict[bytes, bool]] = {}  # what is expected, and whether it was announced
        self._waiting: Final[dict[bytes, set[asyncio.Future[None]]]] = {}  # no empty sets

    def close(self) -> None:
        """Drop the connection. Call it when nothing runs in the nursery any more."""
        self._listening = None
        self._rung.clear()
        self._link.drop()

    def expect(self, what: bytes) -> None:
        """From now on remember whether something new was announced, for the next ``wait``."""
        self._begin()
        if what not in self._rung and len(self._rung) >= MOST:
            del self._rung[next(iter(self._rung))]
        self._rung[what] = False

    async def wait(self, what: bytes, seconds: float) -> None:
        """Return when something new was announced since ``expect``, after so many seconds at the latest."""
        self._begin()
        if self._rung.pop(what, False):
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(what, set()).add(future)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await future
        finally:
            waiting = self._waiting[what]
            waiting.discard(future)
            if not waiting:
                del self._waiting[what]

    def wake(self, what: bytes) -> None:
        """Wake those who wait for it, and those who are about to."""
        if what in self._rung:
            self._rung[what] = True
        for future in self._waiting.get(what, ()):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        """Wake everybody: something may have been missed."""
        for what in {*self._waiting, *self._rung}:
            self.wake(what)

    def _begin(self) -> None:
        if self._listening is None:
            self._listening = self._nursery.start(self._listen)
            self._nursery.start(self._ask_for_signs)

    async def _listen(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._link.tell((b"SUBSCRIBE", self._channel))
                while True:
                    message = await self._link.next_message()
                    self._heard = True
                    match message:
                        case [b"message", _, bytes(what)]:
                            self.wake(what)
                        case [b"pong", *_]:
                            pass
                        case _:
                            self.wake_all()  # subscribed: what came before was not heard
                            pause = FIRST_PAUSE
            except Exception:  # noqa: BLE001  (a border: whoever waits looks by itself after a while)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _ask_for_signs(self) -> None:
        """Begin anew with a server that stays silent: one that has frozen ends no connection."""
        while True:
            await asyncio.sleep(SILENCE)
            if not self._heard:
                self._link.drop()
            self._heard = False
            with suppress(Exception):
                await self._link.poke((b"PING",))
