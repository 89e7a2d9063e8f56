"""The two shapes of a cached function: async, and plain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asynccache._calls.flight import LoopFlight, ThreadFlight
from asynccache._errors import BackendError
from asynccache._portal import PORTAL

if TYPE_CHECKING:
    from asynccache._calls.cache import CallCache
    from asynccache._calls.key import CallKey

__all__ = ["cached_async", "cached_plain"]

_Place: TypeAlias = "tuple[asyncio.AbstractEventLoop, bytes]"
"""Where callers of an async function meet: a loop cannot wait for a task of another one."""
_LoopCache: TypeAlias = "CallCache[_Place, LoopFlight[Any]]"
_ThreadCache: TypeAlias = "CallCache[bytes, ThreadFlight[Any]]"


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
        call = partial(function, *args, **kwargs)
        place = (asyncio.get_running_loop(), key)
        flight, leads = cache.board(place, LoopFlight[Any])
        if leads:
            flight.take_off(partial(_fly_async, cache, place, flight, call))
        elif flight.is_around:  # the call has come back to itself, and must not wait for itself
            cache.begin()
            return await call()
        return await flight.result(abandon=partial(cache.leave, place, flight))

    wrapper.cache_clear = lambda: _Clearing(cache.clear())  # type: ignore[attr-defined]  # see AsyncCached
    wrapper.cache_stats = cache.stats  # type: ignore[attr-defined]
    return wrapper


async def _fly_async(
    cache: _LoopCache, place: _Place, flight: LoopFlight[Any], call: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    key, generation = place[1], flight.generation
    try:
        held = cache.find(key)  # another loop may have been quicker
        if held is None and (recall := cache.recalling(key)) is not None:
            try:
                held = cache.recalled(await PORTAL.run(recall), generation)
            except BackendError as error:
                cache.failed(error)
        if held is not None:
            return held[0]
        cache.begin()
        value = await call()
        cache.keep(key, value, generation)
    finally:
        cache.leave(place, flight)
    storing = cache.storing(key, value, generation)
    if storing is not None:
        try:
            await PORTAL.run(storing)
        except BackendError as error:
            cache.failed(error)
    return value


class _Clearing:
    """Await it to wait until the backend is cleared, from any event loop; or do not."""

    def __init__(self, future: Future[None]) -> None:
        self._future: Final = future

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded: who stops waiting does not stop the clearing.
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()


def cached_plain(function: Callable[..., Any], key_of: CallKey, cache: _ThreadCache) -> Callable[..., Any]:
    """A plain function that asks the cache first."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = key_of(args, kwargs)
        if key is None:
            return function(*args, **kwargs)  # raises the TypeError its caller expects
        call = partial(function, *args, **kwargs)
        while True:
            held = cache.find(key)
            if held is not None:
                return held[0]
            flight, leads = cache.board(key, ThreadFlight[Any])
            if leads:
                return _fly_plain(cache, key, flight, call)
            if flight.is_around:  # the call has come back to itself, and must not wait for itself
                cache.begin()
                return call()
            held = flight.result()
            if held is not None:
                return held[0]

    wrapper.cache_clear = lambda: cache.clear().result()  # type: ignore[attr-defined]  # see Cached
    wrapper.cache_stats = cache.stats  # type: ignore[attr-defined]
    return wrapper


def _fly_plain(cache: _ThreadCache, key: bytes, flight: ThreadFlight[Any], call: Callable[[], Any]) -> Any:
    generation = flight.generation

    def fly() -> Any:
        held = cache.find(key)  # another thread may have been quicker
        if held is None and (recall := cache.recalling(key)) is not None:
            try:
                held = cache.recalled(PORTAL.run_blocking(recall), generation)
            except BackendError as error:
                cache.failed(error)
        if held is not None:
            return held[0]
        cache.begin()
        value = call()
        cache.keep(key, value, generation)
        cache.leave(key, flight)
        storing = cache.storing(key, value, generation)
        if storing is not None:
            try:
                PORTAL.run_blocking(storing)
            except BackendError as error:
                cache.failed(error)
        return value

    try:
        return flight.fly(fly)
    finally:
        cache.leave(key, flight)
