"""Store what may be stored."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import anyio

from asynccache._errors import BackendUnavailable, StageError
from asynccache._events import EntryRefused, EntryStored, StageFailed
from asynccache._lifespan import entered
from asynccache._models import Cost, Entry, Response, Source
from asynccache._registry import find_dialect

if TYPE_CHECKING:
    from asynccache._models import Exchange, Request
    from asynccache._protocols import Backend, Dialect

__all__ = ["Write", "refusal"]


def refusal(request: Request, response: Response) -> str | None:
    """A reason why this answer to this request must be neither stored nor shared, or None."""
    return find_dialect(request.dialect).verdict(request.body, response)


class Write:
    """Store an upstream's complete answer; a stream's once it has ended well.

    Args:
        backend: where to store; opened and closed with the pipeline.
        max_entry_bytes: a larger answer is served and not stored; default 8 MiB.
        patience: seconds a caller waits for the backend to commit; the write itself goes on after that.
    """

    def __init__(self, backend: Backend, *, max_entry_bytes: int = 8 * 2**20, patience: float = 1.0) -> None:
        self._backend = backend
        self._max_entry_bytes = max_entry_bytes
        self._patience = patience

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the backend open."""
        return entered(self._backend)

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        request = exchange.request
        answer = exchange.answer
        if answer is None or exchange.source is not Source.UPSTREAM or exchange.uncacheable is not None:
            return exchange
        if request.control.no_store:
            return exchange
        if not request.key:
            raise StageError("Write needs a key: put Normalize() first")
        if isinstance(answer, Response):
            reason = await self._store(exchange, answer)
            return exchange if reason is None else exchange.rejecting(reason)
        answer.on_complete(lambda frames: self._store_stream(exchange, frames))
        return exchange

    async def _store_stream(self, exchange: Exchange, frames: tuple[bytes, ...]) -> None:
        # Runs at the end of the caller's iteration, outside the driver: its failures are reported here.
        try:
            body = find_dialect(exchange.request.dialect).assemble(frames)
            await self._store(exchange, Response(body, frames))
        except Exception as error:
            if exchange.driver.strict:
                raise
            exchange.driver.emit(StageFailed("Write", error))

    async def _store(self, exchange: Exchange, response: Response) -> str | None:
        driver = exchange.driver
        request = exchange.request
        reason = self._refusal(exchange, response)
        if reason is not None:
            driver.emit(EntryRefused(reason))
            return f"not stored: {reason}"
        entry = self._entry(exchange, response, find_dialect(request.dialect))
        with anyio.move_on_after(self._patience) as scope:
            await self._backend.put(entry)
        if scope.cancelled_caught:
            raise BackendUnavailable(f"the write was not committed within {self._patience} seconds")
        driver.emit(EntryStored(len(response.body) + sum(map(len, response.frames))))
        return None

    def _refusal(self, exchange: Exchange, response: Response) -> str | None:
        control = exchange.request.control
        if (control.ttl if control.ttl is not None else exchange.driver.ttl) == 0:
            return "ttl is 0"
        if exchange.asked is not None and exchange.asked.generation != exchange.driver.generation:
            return "invalidated while the upstream was thinking"
        if len(response.body) + sum(map(len, response.frames)) > self._max_entry_bytes:
            return f"the answer is over {self._max_entry_bytes} bytes (max_entry_bytes)"
        return refusal(exchange.request, response)

    def _entry(self, exchange: Exchange, response: Response, dialect: Dialect) -> Entry:
        request, driver = exchange.request, exchange.driver
        control = request.control
        spent = dialect.cost(response)
        seconds = 0.0 if exchange.asked is None else driver.clock.monotonic() - exchange.asked.at
        return Entry(
            key=request.key,
            partition=request.partition,
            dialect=request.dialect,
            response=response,
            created_at=driver.clock.now(),
            ttl=control.ttl if control.ttl is not None else driver.ttl,
            question=request.question,
            tags=control.tags,
            version=control.version,
            cost=Cost(spent.prompt_tokens, spent.completion_tokens, seconds),
        )
