"""Remember that a question was answered by the answer to another one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from asynccache._events import StageFailed
from asynccache._lifespan import Nursery, SharedLifespan, entered
from asynccache._models import Alias, Entry, Response, Source

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Candidate
    from asynccache._protocols import Backend, SemanticIndex

__all__ = ["WriteAlias"]

MOST_PENDING: Final = 64
"""Aliases being written at a time; further ones are left out, and made when the question comes again."""


class WriteAlias:
    """After a semantic hit that was beyond doubt, make its question an alias of the answer.

    The same words then find the answer by key, without an embedding, and words near to these by the
    alias's vector. An alias lives as long as its answer and carries its tags. Only a hit on an answer's
    own question makes one, so that a row of small steps never leads far away. Written behind the
    request; an alias that cannot be written is missing and nothing else.

    Args:
        backend: where to store; opened and closed with the pipeline.
        index: learns the alias; likewise.
        least: cosine from which a hit is beyond doubt, 0 to 1; default 0.98.
    """

    def __init__(self, backend: Backend, index: SemanticIndex, *, least: float = 0.98) -> None:
        self._backend: Final = backend
        self._index: Final = index
        self._least: Final = least
        self._pending = 0  # changed by __call__ and by each writing at its end
        self._nursery: Final = Nursery()
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold backend and index open; the writings under way end with it."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(self._backend, self._index), self._nursery.lifespan():
            yield

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        hit = exchange.accepted
        if (
            hit is not None
            and hit.source is Source.SEMANTIC
            and hit.via is None
            and hit.similarity >= self._least
            and exchange.embedding is not None
            and not exchange.request.control.no_store
            and self._pending < MOST_PENDING
        ):
            generation = exchange.driver.generation
            self._pending += 1
            task = self._nursery.start(lambda: self._write(exchange, hit, generation))
            task.add_done_callback(self._written)
        return exchange

    def _written(self, _: object) -> None:
        self._pending -= 1

    async def _write(self, exchange: Exchange, hit: Candidate, generation: int) -> None:
        request, answer, driver = exchange.request, hit.entry, exchange.driver
        alias = Entry(
            key=request.key,
            partition=request.partition,
            dialect=request.dialect,
            response=Response(b""),
            created_at=answer.created_at,
            ttl=answer.ttl,
            question=request.question,
            tags=answer.tags,
            version=request.control.version,
            embedding=exchange.embedding,
            alias=Alias(answer.key, hit.similarity),
        )
        try:
            # Neither in place of an answer of its own, nor once the answer may have been invalidated.
            if await self._backend.get(request.key) is None and driver.generation == generation:
                await self._backend.put(alias)
                self._index.learn(alias)
        except Exception as error:  # noqa: BLE001  (nobody waits for it; the driver's hooks are told)
            driver.emit(StageFailed("WriteAlias", error))
