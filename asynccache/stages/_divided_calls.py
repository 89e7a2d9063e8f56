"""Which parts are being asked for at this moment, and in whose upstream call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Request, Response

__all__ = ["Call", "Calls", "PartKey", "part_key"]

PartKey: TypeAlias = "tuple[bytes, float | None, tuple[str, ...]]"
"""Exact key, ttl and tags: the latter two are part of what is stored, so only those that agree share."""

LINGER: Final = 1.0
"""Seconds an ended call is kept for requests that began before it ended and have looked in vain."""


def part_key(request: Request) -> PartKey:
    """What a part is known by while it is being made."""
    return request.key, request.control.ttl, request.control.tags


class Call:
    """One upstream call for several parts; touched on the event loop only.

    Args:
        generation: the driver's at the start; requests of a newer one must not share.
    """

    def __init__(self, generation: int) -> None:
        self.generation: Final = generation
        self.answers: Mapping[PartKey, Response] = {}
        """Set once, before ``known``; empty when the call failed."""
        self.known: Final = asyncio.Event()
        """Set when the answers are known, or that there will be none."""
        self.ended_at: float | None = None
        """Monotonic seconds at which all was stored that may be; None before."""

    def answered(self, answers: Mapping[PartKey, Response]) -> None:
        """Hand the answers to all who wait."""
        self.answers = answers
        self.known.set()


class Calls:
    """The calls under way and those just ended, by what they ask for."""

    def __init__(self) -> None:
        self._calls: Final[dict[PartKey, Call]] = {}

    def find(self, key: PartKey, exchange: Exchange) -> Call | None:
        """The call that a request may have a part's answer from."""
        call = self._calls.get(key)
        if call is None or call.generation != exchange.driver.generation:
            return None
        return call if call.ended_at is None or exchange.started <= call.ended_at else None

    def begin(self, keys: Iterable[PartKey], generation: int) -> Call:
        """Tell others of a call that is about to be made."""
        call = Call(generation)
        self._calls.update(dict.fromkeys(keys, call))
        return call

    def end(self, call: Call, keys: Iterable[PartKey], at: float) -> None:
        """All is done that can be, or it failed: a call without answers is forgotten at once."""
        call.ended_at = at
        call.known.set()
        if call.answers:
            asyncio.get_running_loop().call_later(LINGER, self._forget, call, tuple(keys))
        else:
            self._forget(call, keys)

    def _forget(self, call: Call, keys: Iterable[PartKey]) -> None:
        for key in keys:
            if self._calls.get(key) is call:
                del self._calls[key]

    def clear(self) -> None:
        """Forget all."""
        self._calls.clear()
