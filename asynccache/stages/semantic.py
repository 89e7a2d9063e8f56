"""Propose stored answers to questions that mean the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import sqrt
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from asynccache._errors import ConfigurationError, StageError
from asynccache._events import StageFailed
from asynccache._lifespan import SharedLifespan, entered
from asynccache._models import Candidate, Source
from asynccache._protocols import Conditional, Confirming
from asynccache.stages._questions import Questions

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Embedding, Entry, Neighbour, Request
    from asynccache._protocols import Backend, Embedder, SemanticIndex

__all__ = ["SemanticLookup"]

_Reading: TypeAlias = "Callable[[Sequence[bytes]], Awaitable[list[Entry | None]]]"

ROUNDS: Final = 3
"""Searches made for one request, when all that was found had left the store."""


class _Found(NamedTuple):
    entry: Entry
    similarity: float
    via: bytes | None


class SemanticLookup:
    """Embed the question, and propose the entries of the same partition whose questions are nearest.

    What is found is proposed, not served: whether a near question has the same answer is for
    ``Validate`` and its decision to say. The vector stays in the exchange, for ``Write`` to store.

    While the embedder cannot work, or not in time, requests pass with the exact tier alone: it is tried
    again after a while, and hooks are told once (``SemanticTierChanged``).

    When the request wants strong consistency and the backend is ``Confirming``, only entries that the store
    holds at this moment are proposed.

    Args:
        backend: holds the entries; opened and closed with the pipeline.
        index: finds their keys; likewise.
        embedder: likewise.
        candidates: how many are proposed at most, 1 or more; default 3.
        neighbours: how many stored questions are looked for, for the decision to see what is around; default
            0 looks for the candidates alone.
        least: cosine below which none is proposed, -1 to 1; default 0.6.
        patience: seconds a request waits for its vector, and as many for the search, above 0; default 2.
            Without them it goes on with the exact tier alone. For the first vector, before which a model
            may have to be loaded, it waits five times as long.

    Raises:
        ConfigurationError: an option can never work.
    """

    def __init__(
        self,
        backend: Backend,
        index: SemanticIndex,
        embedder: Embedder,
        *,
        candidates: int = 3,
        neighbours: int = 0,
        least: float = 0.6,
        patience: float = 2.0,
    ) -> None:
        if not isinstance(candidates, int) or candidates < 1:
            raise ConfigurationError(f"candidates={candidates!r}: expected 1 or more")
        if not isinstance(least, (int, float)) or not -1 <= least <= 1:
            raise ConfigurationError(f"least={least!r}: expected a cosine from -1 to 1")
        if not isinstance(patience, (int, float)) or not 0 < patience < float("inf"):
            raise ConfigurationError(f"patience={patience!r}: expected a positive number of seconds")
        self._backend: Final = backend
        self._confirming: Final = backend if isinstance(backend, Confirming) else None
        self._index: Final = index
        self._questions: Final = Questions(embedder, patience=patience)
        self._candidates: Final = candidates
        self._neighbours: Final = neighbours
        self._least: Final = least
        self._patience: Final = patience
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold backend, index and embedder open."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        self._questions.reset()
        async with entered(self._backend, self._index, self._questions.embedder):
            yield

    def space(self) -> bytes | None:
        """The space of the embedder's vectors, 16 bytes; None until it has made one."""
        return self._questions.space

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        request = exchange.request
        if exchange.answer is not None or exchange.uncacheable is not None or request.question is None:
            return exchange
        control = request.control
        if control.no_cache and control.no_store:
            return exchange
        if not request.partition:
            raise StageError("SemanticLookup needs a partition: put Normalize() before it")
        embedding = await self._questions.embedded(request.question, exchange.driver)
        if isinstance(embedding, str):
            return exchange.rejecting(f"no semantic lookup: {embedding}")
        exchange = exchange.embedded(embedding)
        if control.no_cache or control.max_error == 0:
            return exchange
        timer = asyncio.timeout(self._patience)
        try:
            async with timer:
                near, found = await self._found(exchange, embedding)
        except Exception as error:
            if isinstance(error, TimeoutError) and timer.expired():
                return exchange.rejecting("no semantic lookup: the index took too long")
            # Reported here, so that the vector is not lost on the way to Write.
            if exchange.driver.strict:
                raise
            exchange.driver.emit(StageFailed("SemanticLookup", error))
            return exchange
        if self._neighbours:
            exchange = exchange._replace(neighbours=tuple(near))
        now = exchange.driver.clock.now()
        return exchange.proposing(
            *(
                Candidate(entry, Source.SEMANTIC, max(0.0, now - entry.created_at), similarity, via)
                for entry, similarity, via in found
            )
        )

    async def _found(self, exchange: Exchange, embedding: Embedding) -> tuple[list[Neighbour], list[_Found]]:
        """What is around the question, and the answers to propose."""
        count, request = self._candidates, exchange.request
        read = self._backend.get_many
        if self._confirming is not None and exchange.strong:
            read = self._confirming.confirmed
        for _ in range(ROUNDS):
            around = await self._index.nearest(
                request.partition,
                embedding,
                max(count, self._neighbours),
                vectors=count if self._neighbours else 0,
            )
            # Of the request's own key the exact tier has judged already.
            near = [each for each in around if each.similarity >= self._least and each.key != request.key]
            found = await self._read(read, request, near[:count], embedding.space) if near else []
            if found or not near:
                return around, found
        return [], []

    async def _read(
        self, read: _Reading, request: Request, near: Sequence[Neighbour], space: bytes
    ) -> list[_Found]:
        """The answers that neighbours stand for, each once; what stands for none is forgotten."""
        entries = await read([each.key for each in near])
        aliases = [entry.alias.of for entry in entries if entry is not None and entry.alias is not None]
        ends = dict(zip(aliases, await read(aliases), strict=True)) if aliases else {}
        found: dict[bytes, _Found] = {}
        gone: list[bytes] = []
        for (key, similarity, _), entry in zip(near, entries, strict=True):
            alias = None if entry is None else entry.alias
            end = entry if alias is None else ends[alias.of]
            if end is None or end.alias is not None or (alias is not None and alias.space != space):
                gone.append(key)
                if entry is not None and isinstance(self._backend, Conditional):
                    await self._backend.remove(entry)
                continue
            if alias is None:
                step = _Found(end, similarity, None)
            else:
                step = _Found(end, _over_two_steps(similarity, alias.similarity), key)
            known = found.get(end.key)
            if step.similarity >= self._least and (known is None or known.similarity < step.similarity):
                found[end.key] = step
        if gone:
            self._index.forget(request.partition, gone)
        return sorted(found.values(), key=lambda each: -each.similarity)


def _over_two_steps(one: float, other: float) -> float:
    """The least cosine that two vectors can have, given both their cosines to a third."""
    one, other = min(one, 1.0), min(other, 1.0)
    return one * other - sqrt((1.0 - one * one) * (1.0 - other * other))
