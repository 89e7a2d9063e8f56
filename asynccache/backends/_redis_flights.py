"""Flights in Redis: a lease that passes on by itself, and a stream of what its holder has got so far."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from asynccache._models import Boarding, FlightLog
from asynccache.backends._redis_flight_scripts import APPEND, BOARD, LOG, RENEW
from asynccache.backends._redis_lua import FEED_LENGTH
from asynccache.backends._redis_names import tag_digest

if TYPE_CHECKING:
    from asynccache.backends._redis_client import Client

__all__ = ["FlightStore"]

LINGER: Final = 1.0
"""Seconds for which a flight that has the whole answer is still found by those who were looking for it."""
PAGE: Final = 1000
"""Frames read at once."""


class FlightStore:
    """Keeps a flight in the shard of the key it is about."""

    def __init__(self, client: Client) -> None:
        self._client: Final = client
        self._common: Final = (b"%d" % FEED_LENGTH, client.names.channel)

    async def board(self, flight: bytes, *, key: bytes, tags: Collection[str], seconds: float) -> Boarding:
        """Lead or follow."""
        shard = self._client.names.of(flight)
        reply = await self._client.run(
            BOARD, shard, *self._common, flight, _milliseconds(seconds), key, *tag_digest(tags), once=True
        )
        return Boarding(int(reply[1]), leads=reply[2] == 1, alone=reply[3] == 1)

    async def renew(self, flight: bytes, number: int, *, seconds: float) -> bool:
        """Hold the lead a while longer."""
        shard = self._client.names.of(flight)
        reply = await self._client.run(
            RENEW, shard, *self._common, flight, b"%d" % number, _milliseconds(seconds)
        )
        return bool(reply[1])

    async def append(
        self, flight: bytes, number: int, frames: Sequence[bytes], *, end: str | None, alone: float
    ) -> bool:
        """Write down what there is."""
        shard = self._client.names.of(flight)
        linger = _milliseconds(LINGER) if end == "whole" else b"0"
        reply = await self._client.change(
            APPEND,
            shard,
            *self._common,
            flight,
            b"%d" % number,
            (end or "").encode(),
            linger,
            _milliseconds(alone) if alone else b"0",
            *frames,
            once=True,
        )
        return bool(reply[1])

    async def log(self, flight: bytes, number: int, *, after: int) -> FlightLog:
        """What is written down."""
        shard = self._client.names.of(flight)
        reply = await self._client.run(
            LOG, shard, *self._common, flight, b"%d" % number, b"%d" % after, b"%d" % PAGE
        )
        _, leads, items = reply
        frames: list[bytes] = []
        end: str | None = None
        for item in items:
            name, value = item[1]
            if name == b"e":
                end = value.decode()
            else:
                frames.append(value)
        return FlightLog(frames, after + len(frames), end, leads == 1)


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % max(1, round(seconds * 1000))
