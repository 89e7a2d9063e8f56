"""Propose the stored answer to this very request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

from asynccache._errors import StageError
from asynccache._lifespan import entered
from asynccache._models import Candidate, Source
from asynccache._protocols import Conditional

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Entry
    from asynccache._protocols import Backend

__all__ = ["ExactLookup"]


class ExactLookup:
    """Look the key up in a backend; what is found is proposed, not served.

    An alias leads on to the entry it stands for, which is proposed as the semantic candidate it is.

    Args:
        backend: where to look; opened and closed with the pipeline.
        space: the space of the embedder in use, 16 bytes, or None while it is not known. Only aliases that
            it has judged are followed; default: none is.
    """

    def __init__(self, backend: Backend, *, space: Callable[[], bytes | None] = lambda: None) -> None:
        self._backend: Final = backend
        self._space: Final = space

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
        if entry.alias is None:
            return exchange.proposing(Candidate(entry, Source.EXACT, _age(exchange, entry)))
        alias = entry.alias
        if alias.space != self._space():
            return exchange
        answer = await self._backend.get(alias.of)
        if answer is None or answer.alias is not None:
            if isinstance(self._backend, Conditional):
                await self._backend.remove(entry)
            return exchange
        age = _age(exchange, answer)
        return exchange.proposing(Candidate(answer, Source.SEMANTIC, age, alias.similarity, request.key))


def _age(exchange: Exchange, entry: Entry) -> float:
    # A clock that was set back must not make ages negative.
    return max(0.0, exchange.driver.clock.now() - entry.created_at)
