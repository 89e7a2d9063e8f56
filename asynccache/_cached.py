"""``@cached``: a function that remembers its results."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

from asynccache._calls.cache import CacheStats, CallCache
from asynccache._calls.key import CallKey
from asynccache._calls.store import CallStore, SharedBackend, shared_backend
from asynccache._calls.wrappers import cached_async, cached_plain
from asynccache._clock import SystemClock
from asynccache._errors import ConfigurationError
from asynccache._protocols import Backend, Clock
from asynccache._url import BackendURL

__all__ = ["AsyncCached", "CacheStats", "Cached", "cached"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class Cached(Protocol[P, R_co]):
    """A cached function."""

    @property
    def __wrapped__(self) -> Callable[P, R_co]:
        """The function itself, not cached."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    # In turn: a classmethod; a function seen on its class; a method; a staticmethod seen on an instance.
    @overload
    def __get__(
        self: Cached[Concatenate[type[S], Q], R_co], instance: S | None, owner: type[S], /
    ) -> Cached[Q, R_co]: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> Cached[P, R_co]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[S, Q], R_co], instance: S, owner: type | None = None, /
    ) -> Cached[Q, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> Cached[P, R_co]: ...

    def cache_clear(self) -> None:
        """Forget all results, of every version, in memory and in the backend.

        A call under way returns its result, which is not kept. Other processes go on serving what they
        have in memory.

        Raises:
            BackendError: the backend's results could not be removed; this process serves none of them.
        """
        ...

    def cache_stats(self) -> CacheStats:
        """What happened so far in this process."""
        ...


class AsyncCached(Protocol[P, R_co]):
    """A cached async function."""

    @property
    def __wrapped__(self) -> Callable[P, Coroutine[Any, Any, R_co]]:
        """The function itself, not cached."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...

    # As in Cached.
    @overload
    def __get__(
        self: AsyncCached[Concatenate[type[S], Q], R_co], instance: S | None, owner: type[S], /
    ) -> AsyncCached[Q, R_co]: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> AsyncCached[P, R_co]: ...
    @overload
    def __get__(
        self: AsyncCached[Concatenate[S, Q], R_co], instance: S, owner: type | None = None, /
    ) -> AsyncCached[Q, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> AsyncCached[P, R_co]: ...

    def cache_clear(self) -> Awaitable[None]:
        """As ``Cached.cache_clear``. At once in memory; await it to wait for the backend, or do not."""
        ...

    def cache_stats(self) -> CacheStats:
        """What happened so far in this process."""
        ...


class CachedOptions(TypedDict, total=False):
    """The options of ``cached``."""

    ttl: float | None
    max_size: int
    backend: str | Backend | None
    key: Callable[..., object] | None
    version: str | None
    clock: Clock | None


class _Decorator(Protocol):
    # Of the two the narrower is tried first, which is what the type checkers are told to accept.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncCached[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Cached[P, R]: ...


# As in _Decorator.
@overload
def cached(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    function: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[CachedOptions]
) -> AsyncCached[P, R]: ...
@overload
def cached(function: Callable[P, R], /, **options: Unpack[CachedOptions]) -> Cached[P, R]: ...
@overload
def cached(**options: Unpack[CachedOptions]) -> _Decorator: ...
def cached(
    function: Callable[..., Any] | None = None,
    /,
    *,
    ttl: float | None = None,
    max_size: int = 1024,
    backend: str | Backend | None = None,
    key: Callable[..., object] | None = None,
    version: str | None = None,
    clock: Clock | None = None,
) -> Any:
    """Remember a function's results: ``@cached``, or ``@cached(ttl=60)``.

    Works on async and plain functions and on methods. Calls with equal arguments, however they are
    passed, have one result: 1, 1.0 and True are three different arguments; a list and a tuple differ;
    NaN equals NaN, and 0.0 is not -0.0. Calls made while an equal one is under way wait for it: in one
    event loop for an async function, among all threads for a plain one. Cancelling a caller harms no
    other; when the last is gone, the call is cancelled. An async function runs in a task of its own, in
    a copy of its first caller's context. Errors reach all who wait and are not kept.

    Arguments may be None, bool, int, float, complex, str, bytes, bytearray, tuples, lists, dicts and
    sets of these, enums, dates and times, UUID, Decimal, paths, types, dataclasses, named tuples and
    pydantic models; for others give ``key``. A method's ``self`` counts by identity, and is not kept
    alive by the cache; with a backend it counts by value, and must be one of these.

    Results are held by reference, like those of ``functools.lru_cache``: who changes a result changes it
    for all. A backend stores those that JSON gives back as they were (None, bool, int of 64 bits, finite
    float, str, list, dict with str keys); others stay in memory. Its entries carry the function's module
    and qualified name: functions made by one ``def`` that enclose different values must be given
    different versions, and so must a function whose meaning has changed. A failing backend is reported
    and passed over: the function is called.

    Args:
        function: what to cache.
        ttl: seconds a result may be served, more than 0; default None: as long as it is held.
        max_size: results held in memory, 1 or more, the least recently used leaving first; default 1024.
        backend: where results are stored beyond memory: a URL such as ``"sqlite:///calls.db"``, or a
            Backend, which from then on belongs to the event loop of all cached functions. It is opened
            at the first call and closed with the program. Default None, like ``"memory://"``: nowhere.
        key: called with the arguments; what it returns is the key in their place.
        version: part of the key; a new value starts afresh.
        clock: time, for tests.

    Raises:
        ConfigurationError: an option cannot work, or this is no function whose result could be kept.
        InvalidRequest: from a call, an argument cannot be part of a key (its ``field`` names it).
    """
    seconds = _seconds(ttl)
    if isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < 1:
        raise ConfigurationError(f"max_size: expected 1 or more results, got {max_size!r}")
    if version is not None and not isinstance(version, str):
        raise ConfigurationError(f"version: expected a string or None, got {type(version).__name__}")
    if key is not None and not callable(key):
        raise ConfigurationError(
            f"key: expected a function of the arguments or None, got {type(key).__name__}"
        )
    home = _home(backend)
    time = SystemClock() if clock is None else clock

    def decorate(function: Callable[..., Any]) -> Any:
        _check_function(function)
        call_key = CallKey(function, version=version, key=key, durable=home is not None)
        store = None if home is None else CallStore(home, call_key.partition)
        cache = CallCache[Any, Any](call_key, ttl=seconds, max_size=max_size, store=store, clock=time)
        wrap = cached_async if inspect.iscoroutinefunction(function) else cached_plain
        return wrap(function, call_key, cache)

    return decorate if function is None else decorate(function)


def _seconds(ttl: object) -> float:
    if ttl is None:
        return float("inf")
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 < ttl < float("inf"):
        raise ConfigurationError(f"ttl: expected more than 0 seconds, or None, got {ttl!r}")
    return ttl


def _home(backend: str | Backend | None) -> SharedBackend | None:
    if isinstance(backend, str) and BackendURL.parse(backend).scheme == "memory":
        url = BackendURL.parse(backend)
        if url.options:
            raise ConfigurationError(
                "backend: the memory:// of cached takes no options; its budget is max_size"
            )
        url.refuse_location()
        return None
    return None if backend is None else shared_backend(backend)


def _check_function(function: object) -> None:
    if isinstance(function, (classmethod, staticmethod, property)):
        kind = type(function).__name__
        raise ConfigurationError(f"cached: put @cached below @{kind}, next to the function")
    if not inspect.isfunction(function):
        raise ConfigurationError(
            f"cached: expected a function, got {_described(function)}; options are given by name"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"cached: {function.__qualname__} is a generator, which can be read only once: return a list"
        )


def _described(thing: object) -> str:
    return f"the class {thing.__qualname__}" if isinstance(thing, type) else f"a {type(thing).__name__}"
