"""Propose the stored answer to this very request."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from asynccache._errors import StageError
from asynccache._lifespan import entered
from asynccache._models import Candidate, Source

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._protocols import Backend

__all__ = ["ExactLookup"]


class ExactLookup:
    """Look the key up in a backend; what is found is proposed, not served.

    An alias leads on to the entry it stands for, which is proposed as the semantic candidate it is.

    Args:
        backend: where to look; opened and closed with the pipeline.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the backend open."""
        return entered(self._backend)

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        request = exchange.request
        if exchange.answer is not None or exchange.uncacheable is not None or request.control.no_cache:
            return exchange
        if not request.key:
            raise StageError("ExactLookup needs a key: put Normalize() before it")
        entry = await self._backend.get(request.key)
        if entry is None:
            return exchange
        alias = entry.alias
        if alias is not None:
            entry = await self._backend.get(alias.of)
            if entry is None:
                await self._backend.delete([request.key])
                return exchange
        # A clock that was set back must not make ages negative.
        age = max(0.0, exchange.driver.clock.now() - entry.created_at)
        if alias is None:
            return exchange.proposing(Candidate(entry, Source.EXACT, age))
        return exchange.proposing(Candidate(entry, Source.SEMANTIC, age, alias.similarity, request.key))
