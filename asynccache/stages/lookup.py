"""Propose the stored answer to this very request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

from asynccache._errors import StageError
from asynccache._lifespan import entered
from asynccache._models import Candidate, Source
from asynccache._protocols import Conditional, Confirming, Feed

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Alias, Entry
    from asynccache._protocols import Backend

__all__ = ["ExactLookup"]


class ExactLookup:
    """Look the key up in a backend; what is found is proposed, not served.

    An alias leads on to the entry it stands for, which is proposed as the semantic candidate it is.

    Over a ``Feed`` it takes the fill token for ``Write`` as well. When the request wants strong consistency
    and the backend is ``Confirming``, only what the store holds at this moment is proposed.

    Args:
        backend: where to look; opened and closed with the pipeline.
        space: the space of the embedder in use, 16 bytes, or None while it is not known. Only aliases that
            it has judged are followed; default: none is.
    """

    def __init__(self, backend: Backend, *, space: Callable[[], bytes | None] = lambda: None) -> None:
        self._backend: Final = backend
        self._feed: Final = backend if isinstance(backend, Feed) else None
        self._confirming: Final = backend if isinstance(backend, Confirming) else None
        self._space: Final = space

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the backend open."""
        return entered(self._backend)

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        request = exchange.request
        if exchange.answer is not None or exchange.uncacheable is not None:
            return exchange
        feed = self._feed
        if request.control.no_cache and feed is None:
            return exchange
        if not request.key:
            raise StageError("ExactLookup needs a key: put Normalize() before it")
        if request.control.no_cache and feed is not None:
            return exchange.looked_up(feed.position(request.key))
        confirming = self._confirming
        if confirming is not None and exchange.strong:
            (entry,) = await confirming.confirmed([request.key])
        else:
            entry = await self._backend.get(request.key)
        candidate = None
        if entry is not None and entry.alias is None:
            candidate = Candidate(entry, Source.EXACT, _age(exchange, entry))
        elif entry is not None and entry.alias is not None:
            candidate = await self._aliased(exchange, entry, entry.alias)
        proposed = () if candidate is None else (candidate,)
        if feed is not None:
            # Taken now: a look that found nothing has told the store's position, and the removal of an alias
            # that led nowhere must not void the answer. What is found may yet be refused.
            return exchange.looked_up(feed.position(request.key), *proposed)
        return exchange.proposing(*proposed) if proposed else exchange

    async def _aliased(self, exchange: Exchange, entry: Entry, alias: Alias) -> Candidate | None:
        """The answer that an alias stands for; None when it is not there."""
        if alias.space != self._space():
            return None
        if self._confirming is not None and exchange.strong:
            (answer,) = await self._confirming.confirmed([alias.of])
        else:
            answer = await self._backend.get(alias.of)
        if answer is None or answer.alias is not None:
            if isinstance(self._backend, Conditional):
                await self._backend.remove(entry)
            return None
        return Candidate(answer, Source.SEMANTIC, _age(exchange, answer), alias.similarity, entry.key)


def _age(exchange: Exchange, entry: Entry) -> float:
    # A clock that was set back must not make ages negative.
    return max(0.0, exchange.driver.clock.now() - entry.created_at)
