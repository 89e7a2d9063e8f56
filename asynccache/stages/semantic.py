"""Propose stored answers to questions that mean the same."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

from asynccache._errors import EmbedderError, EmbedderUnavailable, StageError, TextRefused
from asynccache._events import SemanticTierChanged, StageFailed
from asynccache._lifespan import entered
from asynccache._models import Candidate, Embedding, Source
from asynccache._space import space_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asynccache._exchange import Exchange
    from asynccache._models import Entry, Neighbour, Request
    from asynccache._protocols import Backend, Driver, Embedder, SemanticIndex

__all__ = ["SemanticLookup"]

PAUSE: Final = 30.0
"""Seconds between tries of an embedder that has failed."""


class SemanticLookup:
    """Embed the question, and propose the entries of the same partition whose questions are nearest.

    What is found is proposed, not served: whether a near question has the same answer is for
    ``Validate`` and its decision to say. The vector stays in the exchange, for ``Write`` to store.

    While the embedder cannot work, requests pass with the exact tier alone: it is tried again after
    half a minute, and hooks are told once (``SemanticTierChanged``).

    Args:
        backend: holds the entries; opened and closed with the pipeline.
        index: finds their keys; likewise.
        embedder: likewise.
        candidates: how many are proposed at most; default 3.
        least: cosine below which none is proposed, -1 to 1; default 0.6.
        patience: seconds a request waits for its vector, so also for a model that is still being
            loaded; default 5. Without one it goes on with the exact tier alone.
    """

    def __init__(
        self,
        backend: Backend,
        index: SemanticIndex,
        embedder: Embedder,
        *,
        candidates: int = 3,
        least: float = 0.6,
        patience: float = 5.0,
    ) -> None:
        self._backend: Final = backend
        self._index: Final = index
        self._embedder: Final = embedder
        self._candidates: Final = candidates
        self._least: Final = least
        self._patience: Final = patience
        self._space: bytes | None = None  # known, and final, once a text was embedded
        self._closed_until: float | None = None  # monotonic seconds; None while the embedder works

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold backend, index and embedder open."""
        return entered(self._backend, self._index, self._embedder)

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        request = exchange.request
        if exchange.answer is not None or exchange.uncacheable is not None or request.question is None:
            return exchange
        control = request.control
        if control.no_cache and control.no_store:
            return exchange
        if not request.partition:
            raise StageError("SemanticLookup needs a partition: put Normalize() before it")
        exchange = await self._embedded(exchange, request.question)
        if exchange.embedding is None or control.no_cache:
            return exchange
        try:
            near = await self._index.nearest(request.partition, exchange.embedding, self._candidates)
            near = [each for each in near if each.similarity >= self._least]
            found = await self._read(request, near) if near else []
        except Exception as error:
            # Reported here, so that the vector is not lost on the way to Write.
            if exchange.driver.strict:
                raise
            exchange.driver.emit(StageFailed("SemanticLookup", error))
            return exchange
        now = exchange.driver.clock.now()
        return exchange.proposing(
            *(
                Candidate(entry, Source.SEMANTIC, max(0.0, now - entry.created_at), similarity, via)
                for entry, similarity, via in found
            )
        )

    async def _embedded(self, exchange: Exchange, question: str) -> Exchange:
        driver = exchange.driver
        if self._closed_until is not None and driver.clock.monotonic() < self._closed_until:
            return exchange.rejecting("no semantic lookup: the embedder is unavailable")
        try:
            async with asyncio.timeout(self._patience):
                vectors = await self._embedder.embed([question])
            if self._space is None:
                self._space = space_of(self._embedder)
            embedding = Embedding(self._space, vectors[0].tobytes())
        except TimeoutError:
            return exchange.rejecting("no semantic lookup: the embedder took too long")
        except TextRefused as error:
            return exchange.rejecting(f"no semantic lookup: {error.reason}")
        except EmbedderError as error:
            self._close(driver, error)
            return exchange.rejecting("no semantic lookup: the embedder is unavailable")
        except Exception as error:  # noqa: BLE001  (a border: an embedder may be a user's)
            self._close(driver, EmbedderUnavailable(f"the embedder broke its contract: {error!r}"))
            return exchange.rejecting("no semantic lookup: the embedder is unavailable")
        if self._closed_until is not None:
            self._closed_until = None
            driver.emit(SemanticTierChanged(None))
        return exchange.embedded(embedding)

    def _close(self, driver: Driver, error: EmbedderError) -> None:
        if driver.strict:
            raise error
        if self._closed_until is None:
            driver.emit(SemanticTierChanged(error))
        self._closed_until = driver.clock.monotonic() + PAUSE

    async def _read(
        self, request: Request, near: Sequence[Neighbour]
    ) -> list[tuple[Entry, float, bytes | None]]:
        """The answers that neighbours stand for, each once, with its cosine and the alias that led to it."""
        entries = await self._backend.get_many([each.key for each in near])
        aliases = [entry.alias.of for entry in entries if entry is not None and entry.alias is not None]
        ends = dict(zip(aliases, await self._backend.get_many(aliases), strict=True)) if aliases else {}
        found: dict[bytes, tuple[Entry, float, bytes | None]] = {}
        gone = []
        for (key, similarity), entry in zip(near, entries, strict=True):
            alias = None if entry is None else entry.alias
            end = entry if alias is None else ends[alias.of]
            if end is None or end.alias is not None:
                gone.append(key)
            elif end.key not in found:
                # Through an alias, the weaker of the two steps is what counts.
                found[end.key] = (
                    (end, similarity, None)
                    if alias is None
                    else (end, min(similarity, alias.similarity), key)
                )
        if gone:
            self._index.forget(request.partition, gone)
        return sorted(found.values(), key=lambda each: -each[1])
