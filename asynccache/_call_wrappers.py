"""The two shapes of a cached function: async, and plain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asynccache._call_flight import LoopFlight, ThreadFlight
from asynccache._errors import BackendError
from asynccache._portal import PORTAL

if TYPE_CHECKING:
    from asynccache._call_cache import CallCache
    from asynccache._call_key import CallKey

__all__ = ["cached_async", "cached_plain"]

_Place: TypeAlias = "tuple[asyncio.AbstractEventLoop, bytes]"
"""Where callers of an async function meet: a loop cannot wait for a task of another one."""
_LoopCache: TypeAlias = "CallCache[Any, _Place, LoopFlight[Any]]"
_ThreadCache: TypeAlias = "CallCache[Any, bytes, ThreadFlight[Any]]"


class _Clearing:
    """Await it to wait until the backend is cleared, from any event loop; or do not."""

    def __init__(self, future: Future[None]) -> None:
        self._future: Final = future

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded: who stops waiting does not stop the clearing.
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()


def cached_async(
    function: Callable[..., Coroutine[Any, Any, Any]], key_of: CallKey, cache: _LoopCache
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """An async function that asks the cache first."""

    @wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = key_of(args, kwargs)
        if key is None:
            return await function(*args, **kwargs)  # raises the TypeError its caller expects
        held = cache.find(key)
        if held is not None:
            return held[0]
        place = (asyncio.get_running_loop(), key)
        boarded = cache.board(place, key, LoopFlight[Any])
        if isinstance(boarded, tuple):
            return boarded[0]
        flight, leads = boarded.flight, boarded.leads
        call = partial(function, *args, **kwargs)
        if flight.is_around:
            return await call()
        if leads:
            flight.take_off(partial(_fly, cache, place, flight, call))
        return await flight.result(abandon=partial(cache.leave, place, flight))

    return wrapper
