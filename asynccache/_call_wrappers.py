"""The two shapes of a cached function: async, and plain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asynccache._call_flight import LoopFlight, ThreadFlight
from asynccache._errors import BackendError
from asynccache._portal import PORTAL

if TYPE_CHECKING:
    from asynccache._call_cache import CallCache
    from asynccache._call_key import CallKey

__all__ = ["cached_async", "cached_plain"]

_Arguments: TypeAlias = "tuple[tuple[Any, ...], Mapping[str, Any]]"
_Place: TypeAlias = "tuple[asyncio.AbstractEventLoop, bytes]"


class Clearing:
    """Await it to wait for a backend to be cleared, from any event loop; or do not."""

    def __init__(self, future: Future[None]) -> None:
        self._future: Final = future

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded: who stops waiting does not stop the clearing.
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()


class _AsyncCalls:
    """Calls of an async function: one flight for each key and event loop."""

    def __init__(
        self, function: Callable[..., Coroutine[Any, Any, Any]], cache: CallCache[_Place, LoopFlight[Any]]
    ) -> None:
        self._function: Final = function
        self._cache: Final = cache

    async def join(self, key: bytes, arguments: _Arguments) -> Any:
        """The result of a call that was not in memory a moment ago."""
        cache = self._cache
        place = (asyncio.get_running_loop(), key)
        with cache.lock:
            held = cache.find(key)
            if held is not None:
                return held[0]
            flight = cache.flights.get(place)
            first = flight is None
            if flight is None:
                flight = cache.flights[place] = LoopFlight(cache.generation)
            elif not flight.is_around:
                cache.count_shared()
            else:
                flight, alone = None, cache.generation
        if flight is None:
            return await self._run(key, arguments, alone)
        if first:
            self._take_off(flight, place, arguments)
        return await flight.result(lambda: cache.leave(place, flight))
