"""Store what may be stored."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from asynccache._errors import BackendUnavailable, InvalidRequest, StageError
from asynccache._events import EntryRefused, EntryStored, StageFailed
from asynccache._lifespan import entered
from asynccache._models import Cost, Entry, Response, Source
from asynccache._protocols import Feed
from asynccache._registry import find_dialect
from asynccache.stages.validate import ASKING_FOR_ALL

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Request
    from asynccache._protocols import Backend, SemanticIndex

__all__ = ["Write", "refusal"]

OUTDATED: Final = "invalidated while the upstream was thinking"

ON_LOOP: Final = 128 * 2**10
"""Bytes of an answer judged on the event loop; parsing more would hold it for a millisecond and over."""
REFRESHES: Final = 10_000
"""Keys for which the last refresh is remembered."""


def refusal(request: Request, response: Response) -> str | None:
    """A reason why this answer to this request must be neither stored nor shared, or None."""
    reason = find_dialect(request.dialect).verdict(request.body, response)
    return _replay_fault(request, response) if reason is None and not response.frames else reason


def _replay_fault(request: Request, response: Response) -> str | None:
    """A reason when no stream can be made of a whole answer: whoever asked for one would get the error."""
    try:
        for _ in find_dialect(request.dialect).replay({**request.body, **ASKING_FOR_ALL}, response):
            pass
    except InvalidRequest:  # no stream can be asked for
        return None
    except Exception:  # noqa: BLE001  (whatever it is, it would reach a caller as it reaches us)
        return "the answer cannot be replayed"
    return None


class Write:
    """Store an upstream's complete answer; a stream's once it has ended well.

    Over a ``Feed`` an answer is stored only while neither its key nor one of its tags was invalidated since
    the request's fill token was taken, whoever did it.

    Args:
        backend: where to store; opened and closed with the pipeline.
        index: learns the question of what was stored; opened and closed with the pipeline. Default None.
        max_entry_bytes: a larger answer is served and not stored; default 8 MiB.
        patience: seconds a caller waits for the backend to commit; the write itself goes on after that.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        index: SemanticIndex | None = None,
        max_entry_bytes: int = 8 * 2**20,
        patience: float = 1.0,
    ) -> None:
        self._backend = backend
        self._feed = backend if isinstance(backend, Feed) else None
        self._index = index
        self._max_entry_bytes = max_entry_bytes
        self._patience = patience
        self._refreshed: dict[bytes, float] = {}  # key -> monotonic seconds at which its refresh was asked
        # Of its own: all of the default limiter's threads may be waiting for this very answer.
        self._judges = anyio.CapacityLimiter(2)
        # Accepted and not yet stored, to be learnt from then; each leaves by itself.
        self._pending: set[asyncio.Future[int | None]] = set()

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold backend and index open."""
        return entered(self._backend, self._index)

    async def flush(self) -> None:
        """Wait until what was accepted is stored, and learnt from."""
        if self._pending:
            flush = getattr(self._backend, "flush", None)
            if flush is not None:
                await flush()
        if self._pending:
            await asyncio.wait(self._pending)

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
            return exchange if reason is None else exchange.rejecting(f"not stored: {reason}")
        answer.on_complete(lambda frames: self._store_stream(exchange, frames))
        return exchange

    async def _store_stream(self, exchange: Exchange, frames: tuple[bytes, ...]) -> None:
        # Runs at the end of the caller's iteration, outside the driver: its failures are reported here.
        try:
            await self._store(exchange, Response(b"", frames))
        except Exception as error:
            if exchange.driver.strict:
                raise
            exchange.driver.emit(StageFailed("Write", error))

    async def _store(self, exchange: Exchange, response: Response) -> str | None:
        """Store the answer, or say why not."""
        driver = exchange.driver
        size = len(response.body) + sum(map(len, response.frames))
        reason = self._refusal(exchange, size)
        if reason is None:
            seconds = 0.0 if exchange.asked is None else driver.clock.monotonic() - exchange.asked.at
            judge = partial(_judged, exchange.request, response)
            judged = judge() if size <= ON_LOOP else await to_thread.run_sync(judge, limiter=self._judges)
            reason = judged if isinstance(judged, str) else await self._put(exchange, judged, seconds)
        if reason is not None:
            driver.emit(EntryRefused(reason))
            return reason
        driver.emit(EntryStored(size))
        return None

    async def _put(self, exchange: Exchange, judged: tuple[Response, Cost], seconds: float) -> str | None:
        entry = _entry(exchange, *judged, seconds)
        # Asked again: judging a long answer takes a while, and suspends.
        if outdated := self._outdated(exchange):
            return outdated
        self._note_refresh(exchange)
        stored: asyncio.Future[int | None] | None = None
        patience = asyncio.timeout(self._patience)
        try:
            async with patience:
                if self._feed is None or exchange.since is None:
                    await self._backend.put(entry)
                else:
                    stored = await self._feed.fill(entry, since=exchange.since)
        except TimeoutError:
            if not patience.expired():
                raise
            raise BackendUnavailable(f"the write was not committed within {self._patience} seconds") from None
        if stored is not None and not stored.done():
            self._learn_later(entry, stored)
        elif stored is not None and stored.result() is None:
            return OUTDATED
        elif self._index is not None:
            self._index.learn(entry)
        return None

    def _learn_later(self, entry: Entry, stored: asyncio.Future[int | None]) -> None:
        index = self._index
        if index is None:
            return

        def done(stored: asyncio.Future[int | None]) -> None:
            self._pending.discard(stored)
            if not stored.cancelled() and stored.exception() is None and stored.result() is not None:
                index.learn(entry)

        self._pending.add(stored)
        stored.add_done_callback(done)

    def _refusal(self, exchange: Exchange, size: int) -> str | None:
        if _ttl(exchange) == 0:
            return "ttl is 0"
        if size > self._max_entry_bytes:
            return f"the answer is over {self._max_entry_bytes} bytes (max_entry_bytes)"
        return self._outdated(exchange)

    def _outdated(self, exchange: Exchange) -> str | None:
        asked = exchange.asked
        if asked is None:
            return None
        if asked.generation != exchange.driver.generation:
            return OUTDATED
        if asked.at < self._refreshed.get(exchange.request.key, asked.at):
            return "a fresher answer was stored meanwhile"
        return None

    def _note_refresh(self, exchange: Exchange) -> None:
        """A refresh flies alone, so an answer asked for earlier may come after it and must not undo it."""
        if exchange.request.control.no_cache and exchange.asked is not None:
            if len(self._refreshed) >= REFRESHES:
                del self._refreshed[next(iter(self._refreshed))]
            self._refreshed[exchange.request.key] = exchange.asked.at


def _ttl(exchange: Exchange) -> float | None:
    asked = exchange.request.control.ttl
    return exchange.driver.ttl if asked is None else asked


def _judged(request: Request, response: Response) -> tuple[Response, Cost] | str:
    """The whole answer with what it cost, or why it may not be stored."""
    dialect = find_dialect(request.dialect)
    if response.frames:
        try:
            response = Response(dialect.assemble(response.frames), response.frames)
        except ValueError:
            return "the stream's frames make no answer"
    return refusal(request, response) or (_compact(response), dialect.cost(response))


def _compact(response: Response) -> Response:
    """The same answer in bytes that take what they hold: those orjson makes keep its whole buffer."""
    return Response(
        bytes(memoryview(response.body)), tuple([bytes(memoryview(frame)) for frame in response.frames])
    )


def _entry(exchange: Exchange, response: Response, spent: Cost, seconds: float) -> Entry:
    request = exchange.request
    return Entry(
        key=request.key,
        partition=request.partition,
        dialect=request.dialect,
        response=response,
        created_at=exchange.driver.clock.now(),
        ttl=_ttl(exchange),
        question=request.question,
        # What the entry in its place was known by stays: it answered those requests as well.
        tags=tuple(dict.fromkeys((*request.control.tags, *exchange.notes.get("tags", ())))),
        version=request.control.version,
        cost=Cost(spent.prompt_tokens, spent.completion_tokens, seconds),
        embedding=exchange.embedding,
    )
