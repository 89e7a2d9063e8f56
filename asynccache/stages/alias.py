"""Remember that a question was answered by the answer to another one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from asynccache._errors import ConfigurationError
from asynccache._events import StageFailed
from asynccache._lifespan import SharedLifespan, entered
from asynccache._models import Alias, Entry, Response, Source
from asynccache._protocols import Conditional
from asynccache.stages._behind import Behind

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Candidate, Embedding
    from asynccache._protocols import Backend, Driver, SemanticIndex

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
        margin: log odds by which a decision that tells its score must have been above its limit; default 1.

    Raises:
        ConfigurationError: ``least`` is no such cosine.
    """

    def __init__(
        self, backend: Backend, index: SemanticIndex, *, least: float = 0.98, margin: float = 1.0
    ) -> None:
        if not isinstance(least, (int, float)) or not 0 <= least <= 1:
            raise ConfigurationError(f"least={least!r}: expected a cosine from 0 to 1")
        self._backend: Final = backend
        self._index: Final = index
        self._least: Final = least
        self._margin: Final = margin
        self._behind: Final = Behind(MOST_PENDING)
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold backend and index open; the writings under way end with it."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(self._backend, self._index), self._behind.lifespan():
            yield

    async def flush(self) -> None:
        """Wait for the aliases that are being written."""
        await self._behind.finished()

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        hit, judgement = exchange.accepted, exchange.judgement
        control = exchange.request.control
        if (
            hit is not None
            and hit.source is Source.SEMANTIC
            and hit.via is None
            and hit.similarity >= self._least
            and (judgement is None or judgement.calibrated >= judgement.limit + self._margin)
            and exchange.embedding is not None
            and not control.no_store
            and 0 not in (control.ttl, exchange.driver.ttl)
        ):
            alias = _alias(exchange, hit, exchange.embedding)
            generation = exchange.driver.generation
            self._behind.begin(lambda: self._write(alias, exchange.driver, generation))
        return exchange

    async def _write(self, alias: Entry, driver: Driver, generation: int) -> None:
        try:
            if driver.generation != generation:  # the answer may have been invalidated
                return
            if await self._added(alias):
                self._index.learn(alias)
        except Exception as error:  # noqa: BLE001  (nobody waits for it; the driver's hooks are told)
            driver.emit(StageFailed("WriteAlias", error))

    async def _added(self, alias: Entry) -> bool:
        """Store it unless the question has an answer of its own; whether it was stored."""
        if isinstance(self._backend, Conditional):
            return await self._backend.add(alias)
        if await self._backend.get(alias.key) is not None:
            return False
        await self._backend.put(alias)
        return True


def _alias(exchange: Exchange, hit: Candidate, embedding: Embedding) -> Entry:
    request, answer = exchange.request, hit.entry
    ttl, asked = answer.ttl, request.control.ttl
    if asked is not None:  # seconds from now, where an entry's count from its creation
        ttl = hit.age + asked if ttl is None else min(ttl, hit.age + asked)
    return Entry(
        key=request.key,
        partition=request.partition,
        dialect=request.dialect,
        response=Response(b""),
        created_at=answer.created_at,
        ttl=ttl,
        question=request.question,
        tags=answer.tags,
        version=request.control.version,
        embedding=embedding,
        alias=Alias(answer.key, hit.similarity, embedding.space),
    )
