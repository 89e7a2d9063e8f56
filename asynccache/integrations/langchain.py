"""LangChain's model cache, on any backend of this library: ``set_llm_cache(AsyncCacheLLM())``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final, Self

import anyio.to_thread

try:
    from langchain_core.caches import BaseCache
    from langchain_core.outputs import Generation
except ImportError as lacking:  # pragma: no cover
    raise ImportError(f'AsyncCacheLLM needs {lacking.name}; pip install "asynccache[langchain]"') from lacking

from asynccache._calls.store import CallStore, SharedBackend, shared_backend
from asynccache._clock import SystemClock
from asynccache._errors import BackendError, ConfigurationError, CorruptEntry, InvalidRequest
from asynccache._events import EntryRefused, Event, StageFailed
from asynccache._keys import ON_LOOP
from asynccache._models import Control, Cost, Entry, Response, Scope
from asynccache._portal import PORTAL, PortalClosed
from asynccache._protocols import Backend, Clock
from asynccache._registry import default_backend_url, open_backend
from asynccache._url import BackendURL
from asynccache.integrations._langchain_generations import from_json, to_json
from asynccache.integrations._langchain_key import LangChainKey
from asynccache.integrations._langchain_tally import LLMCacheStats, Tally
from asynccache.integrations._langchain_verdict import verdict

__all__ = ["AsyncCacheLLM", "LLMCacheStats"]

DIALECT: Final = "langchain"


class AsyncCacheLLM(BaseCache):
    """What LangChain's models answered, for any number of event loops and threads.

    Give it to ``langchain_core.globals.set_llm_cache``, or to a model as ``cache=``. A result is found again
    for the same prompt and the same model with the same settings, in LangChain's own spelling of both, in the
    same scope. Incomplete and empty results are not stored, nor those that would not come back from JSON as
    they were. A failing store is reported and passed over: the model is asked.

    The store is opened at the first use and closed with the program. It may be shared with pipelines and
    cached functions, which have keys of their own. From a coroutine, use the methods that begin with an a:
    the plain ones block their thread, for two seconds at most when the store does not answer.

    Args:
        backend: a URL such as ``"sqlite:///cache.sqlite"``, or a Backend, which from then on belongs to an
            event loop of the library's own. ``"memory://"`` is a store of this cache alone. Default None: a
            SQLite file in the user's cache directory.
        ttl: seconds a result may be served, 0 or more; 0 stores nothing. None: for ever. Default 3600.
        scope: whose results these are: a Scope, a mapping of its fields, or None for the empty scope. Caches
            of different scopes never meet.
        tags: labels on what is stored, for a pipeline's ``invalidate(tags=...)``.
        strict: raise failures of the store instead of passing them over. Default False.
        clock: time, for tests.

    Raises:
        ConfigurationError: an option cannot work.
    """

    def __init__(
        self,
        backend: str | Backend | None = None,
        *,
        ttl: float | None = 3600,
        scope: Scope | Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        strict: bool = False,
        clock: Clock | None = None,
    ) -> None:
        try:
            owner = Scope.of(scope)
            control = Control(ttl=ttl, tags=tags)  # type: ignore[arg-type]  # checks, and makes a tuple of it
        except InvalidRequest as error:
            field = error.field.removeprefix("control.")
            raise ConfigurationError(f"AsyncCacheLLM: {field}: {error.problem}") from error
        self._key: Final = LangChainKey(owner)
        self._store: Final = CallStore(_home(backend), self._key.partition, dialect=DIALECT)
        self._ttl: Final = control.ttl
        self._tags: Final = control.tags
        self._strict: Final = strict
        self._clock: Final = SystemClock() if clock is None else clock
        self._tally: Final = Tally()

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """What is stored, or None."""
        if len(prompt) + len(llm_string) > ON_LOOP:
            key = await anyio.to_thread.run_sync(self._key, prompt, llm_string)
        else:
            key = self._key(prompt, llm_string)
        try:
            entry = await PORTAL.run(partial(self._store.get, key))
            body = self._served(entry)
            if body is None or len(body) <= ON_LOOP:
                return self._read(body)
            return await anyio.to_thread.run_sync(self._read, body)
        except BackendError as error:
            self._missed(error)
            return None

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Store, if it may be."""
        storing = await anyio.to_thread.run_sync(self._storing, prompt, llm_string, return_val)
        if storing is not None:
            try:
                await PORTAL.run(storing)
            except BackendError as error:
                self._failed(error)
            else:
                self._tally.count("stored")

    async def aclear(self, **kwargs: Any) -> None:
        """Remove all results of this scope, whichever cache stored them, and nothing else; takes no options.

        Raises:
            BackendError: they could not be removed.
        """
        _take_none(kwargs)
        await PORTAL.run(self._store.clear)

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """As ``alookup``."""
        try:
            entry = PORTAL.run_blocking(partial(self._store.get, self._key(prompt, llm_string)))
            return self._read(self._served(entry))
        except BackendError as error:
            self._missed(error)
            return None

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """As ``aupdate``."""
        storing = self._storing(prompt, llm_string, return_val)
        if storing is not None:
            try:
                PORTAL.run_blocking(storing)
            except BackendError as error:
                self._failed(error)
            else:
                self._tally.count("stored")

    def clear(self, **kwargs: Any) -> None:
        """As ``aclear``."""
        _take_none(kwargs)
        PORTAL.run_blocking(self._store.clear)

    def stats(self) -> LLMCacheStats:
        """What happened so far in this process."""
        return self._tally.stats()

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self  # the store has one home: a model's copy uses the same

    def _served(self, entry: Entry | None) -> bytes | None:
        """The stored document, if it may be served."""
        if entry is None:
            return None
        # This cache may have been given a shorter ttl than the one that stored it.
        until = entry.expires_at if self._ttl is None else min(entry.expires_at, entry.created_at + self._ttl)
        return entry.response.body if self._clock.now() < until else None

    def _read(self, body: bytes | None) -> list[Generation] | None:
        if body is None:
            self._tally.count("misses")
            return None
        try:
            generations = from_json(body)
        except ValueError as error:
            raise CorruptEntry("a stored result is no list of generations") from error
        self._tally.count("hits")
        return generations

    def _storing(
        self, prompt: str, llm_string: str, generations: Sequence[Generation]
    ) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """The work that stores a result, for the portal; None when it must not be stored."""
        if self._ttl == 0:
            return None
        reason = verdict(generations)
        if reason is not None:
            self._tally.count("refused")
            _report(EntryRefused(reason))
            return None
        body = to_json(generations)
        if body is None:
            if self._tally.count("refused") == 1:
                _report(StageFailed(type(self).__name__, BackendError(_unlike(generations))))
            return None
        entry = Entry(
            key=self._key(prompt, llm_string),
            partition=self._key.partition,
            dialect=DIALECT,
            response=Response(body),
            created_at=self._clock.now(),
            ttl=self._ttl,
            tags=self._tags,
            cost=_cost(generations),
        )
        return lambda: self._store.put(entry, lambda: True)

    def _missed(self, error: BackendError) -> None:
        self._tally.count("misses")
        self._failed(error)

    def _failed(self, error: BackendError) -> None:
        self._tally.count("errors")
        if self._strict:
            raise error
        if not isinstance(error, PortalClosed):  # at the end of the program there is nowhere to report to
            _report(StageFailed(type(self).__name__, error))


def _home(backend: str | Backend | None) -> SharedBackend:
    if isinstance(backend, str) and BackendURL.parse(backend).scheme == "memory":
        open_backend(backend)  # a mistake in the URL should show at once
        return SharedBackend(partial(open_backend, backend))
    return shared_backend(default_backend_url() if backend is None else backend)


def _cost(generations: Sequence[Generation]) -> Cost:
    usages = [getattr(getattr(each, "message", None), "usage_metadata", None) or {} for each in generations]
    return Cost(
        prompt_tokens=sum(usage.get("input_tokens", 0) for usage in usages),
        completion_tokens=sum(usage.get("output_tokens", 0) for usage in usages),
    )


def _unlike(generations: Sequence[Generation]) -> str:
    kinds = sorted({type(getattr(each, "message", each)).__name__ for each in generations})
    return f"a result ({', '.join(kinds)}) would not come back from JSON as it is; not stored"


def _take_none(options: Mapping[str, Any]) -> None:
    if options:
        raise TypeError(f"AsyncCacheLLM clears its whole scope; it takes no {', '.join(sorted(options))}")


def _report(event: Event) -> None:
    # structlog is imported when there is something to say.
    import_module("asynccache.instrumentation.structlog").default_hook(event)
