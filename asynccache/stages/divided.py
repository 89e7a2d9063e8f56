"""Answer each part of a request by itself, and ask the upstream only for those that are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from anyio import to_thread

from asynccache._errors import (
    ForeignError,
    NotCached,
    StageError,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
)
from asynccache._events import EntryRefused
from asynccache._lifespan import entered
from asynccache._models import Response, Source
from asynccache._protocols import Divisible
from asynccache._registry import find_dialect
from asynccache._turn import LoopTurn
from asynccache.stages._divided_batch import Batch
from asynccache.stages._divided_calls import Call, Calls, part_key
from asynccache.stages._divided_lookup import BatchLookup
from asynccache.stages._workers import for_each
from asynccache.stages.write import ON_LOOP, refusal

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._protocols import Backend, Stage

__all__ = ["Divided"]

_T = TypeVar("_T")

_inside: Final[ContextVar[bool]] = ContextVar("asynccache_divided_inside", default=False)
"""Whether this code runs in the upstream call of a batch: it must not come to wait for itself."""

ROUNDS: Final = 3
"""Times that others are waited for, when the call of those before came to nothing."""
WRITES: Final = 64
"""Entries written at once, so that a store can commit many together."""


class Divided:
    """Take a request of several inputs apart, as embeddings are asked for in batches.

    Each input is looked up under the key of a request for that input alone, so batches and single requests
    answer each other. What is missing is asked of the upstream in one call, each input once, and stored input
    by input. An input that another batch is being answered waits for that; should the other fail or be
    cancelled, it is asked for anew. What the upstream raises reaches the caller unchanged. When its answer
    is none to those inputs, nothing of it is stored, and the caller gets what it answers to the request as
    it was sent. Where stored answers and new ones do not go together (the model's name has come to mean
    another model meanwhile), all are asked for anew. Requests with ``no_cache`` or ``no_store``, and those
    that want strong consistency, wait for nobody.

    The source is EXACT when every input was stored, UPSTREAM when one was asked for, SHARED otherwise. Where
    the upstream fails, ``stale_if_error`` lets inputs that are too old stand in, if nothing else is missing;
    the source is STALE then. ``usage`` is that of the whole without a cache. Requests of one input, streams
    and dialects that are not ``Divisible`` pass.

    Args:
        backend: where to look; opened and closed with the pipeline.
        normalize: gives each part its key: the chain's own ``Normalize``.
        asking: asks the upstream: ``MissHandler(upstream)``.
        write: stores a part's answer: the ``Write`` that other requests use.

    Raises:
        InvalidRequest: a stream was asked for where the dialect has none.
        NotCached: an input is not stored, and the request allowed no upstream call (``only_if_cached``).
    """

    def __init__(self, backend: Backend, *, normalize: Stage, asking: Stage, write: Stage) -> None:
        self._backend: Final = backend
        self._normalize: Final = normalize
        self._look_up: Final = BatchLookup(backend)
        self._asking: Final = asking
        self._write: Final = write
        self._calls: Final = Calls()
        self._turn: Final = LoopTurn()
        # Of its own: all of the default limiter's threads may be waiting for this very answer.
        self._threads: Final = anyio.CapacityLimiter(2)

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(self._backend, self._asking, self._write):
            try:
                yield
            finally:
                self._calls.clear()

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold backend and inner stages open."""
        return self._opening()

    async def flush(self) -> None:
        """Wait for what the writer does behind its callers."""
        flush = getattr(self._write, "flush", None)
        if flush is not None:
            await flush()

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        if exchange.answer is not None or exchange.uncacheable is not None:
            return exchange
        body = exchange.request.body
        dialect = find_dialect(exchange.request.dialect)
        if not hasattr(dialect, "divide") or not isinstance(dialect, Divisible):  # the former is quick
            return exchange
        if exchange.mode == "stream":
            dialect.check({**body, "stream": True})
            return exchange
        bodies = dialect.divide(body)
        if bodies is None or len(bodies) < 2:  # noqa: PLR2004  (one part is the request itself)
            return exchange
        batch = Batch(exchange, [await self._part(exchange, each) for each in bodies])
        await self._look_up(batch)
        if batch.missing:
            await self._fill_or_stand_in(batch, dialect)
        if batch.as_it_came is not None:
            return batch.answered(batch.as_it_came)
        return batch.answered(await self._merged(batch, dialect) or await self._asked_again(batch, dialect))

    async def _merged(self, batch: Batch, dialect: Divisible) -> Response | None:
        """All answers as one; None when they do not go together."""
        responses = batch.responses()
        size = sum(len(response.body) for response in responses)
        try:
            return await self._off_loop(partial(dialect.merge, responses), size)
        except ValueError as error:
            batch.reasons[f"asked anew: {error}"] = None
            return None

    async def _asked_again(self, batch: Batch, dialect: Divisible) -> Response:
        """The upstream's answer to the whole, which takes the place of what is stored."""
        if batch.exchange.request.control.only_if_cached:
            raise NotCached(
                "the stored answers to the inputs do not go together, and only_if_cached forbids asking the "
                "upstream"
            )
        batch.forget()
        await self._ask(batch, batch.missing, dialect, None)
        if batch.as_it_came is not None:
            return batch.as_it_came
        # Equal inputs were asked for once, so what came is not the answer to the request as it was sent.
        return await self._merged(batch, dialect) or await self._answer(batch, batch.exchange.request.body)

    async def _part(self, exchange: Exchange, body: Any) -> Exchange:
        if self._turn.due():
            await asyncio.sleep(0)
        return await self._normalize(exchange.asking(replace(exchange.request, body=body)))

    async def _off_loop(self, work: Callable[[], _T], size: int) -> _T:
        """Work over so many bytes, in a thread when it would hold the loop."""
        return work() if size <= ON_LOOP else await to_thread.run_sync(work, limiter=self._threads)

    async def _fill_or_stand_in(self, batch: Batch, dialect: Divisible) -> None:
        """As ``StaleIfError`` does for one request."""
        driver = batch.exchange.driver
        generation = driver.generation
        try:
            await self._fill(batch, dialect)
        except (UpstreamBadRequest, UpstreamAuth):
            raise
        except (UpstreamError, ForeignError) as error:
            if driver.generation != generation or not batch.stand_in():
                raise
            name = type(error.error if isinstance(error, ForeignError) else error).__name__
            batch.reasons[f"the upstream failed ({name})"] = None

    async def _fill(self, batch: Batch, dialect: Divisible) -> None:
        """Answer what is missing: by asking the upstream, or by waiting for those who do."""
        exchange = batch.exchange
        control = exchange.request.control
        if control.only_if_cached:
            raise NotCached(
                f"only {batch.stored} of {len(batch.order)} inputs may be served from the store, and "
                "only_if_cached forbids asking the upstream"
            )
        alone = control.no_cache or control.no_store or exchange.strong or _inside.get()
        for _ in range(0 if alone else ROUNDS):
            own: list[int] = []
            others: dict[Call, list[int]] = {}
            for place in batch.missing:
                call = self._calls.find(part_key(batch.parts[place].request), exchange)
                if call is None:
                    own.append(place)
                else:
                    others.setdefault(call, []).append(place)
            # First its own, then those of others: so no two wait for each other.
            if own:
                await self._ask_for_all(batch, own, dialect)
            for call, places in others.items():
                await call.known.wait()
                await self._take(batch, call, places)
            if batch.as_it_came is not None or not batch.missing:
                return
        await self._ask(batch, batch.missing, dialect, None)

    async def _take(self, batch: Batch, call: Call, places: Sequence[int]) -> None:
        """Take what another's call has brought, as far as it may be shared."""
        for place in places:
            request = batch.parts[place].request
            response = call.answers.get(part_key(request))
            if response is not None and refusal(request, response) is None:
                batch.answers[place] = response
            if self._turn.due():
                await asyncio.sleep(0)

    async def _ask_for_all(self, batch: Batch, places: Sequence[int], dialect: Divisible) -> None:
        """Ask, and let others wait for the answers."""
        driver = batch.exchange.driver
        keys = [part_key(batch.parts[place].request) for place in places]
        call = self._calls.begin(keys, driver.generation)
        try:
            await self._ask(batch, places, dialect, call)
        finally:
            self._calls.end(call, keys, driver.clock.monotonic())

    async def _ask(self, batch: Batch, places: Sequence[int], dialect: Divisible, call: Call | None) -> None:
        """One upstream call for the parts at these places; what comes is stored part by part."""
        request, bodies = batch.exchange.request, batch.bodies(places)
        whole = batch.is_whole(places)
        response = await self._answer(batch, request.body if whole else dialect.join(request.body, bodies))
        try:
            answers = await self._off_loop(partial(dialect.distribute, bodies, response), len(response.body))
        except ValueError as error:
            batch.reasons[f"not stored: {error}"] = None
            batch.exchange.driver.emit(EntryRefused(str(error)))
            batch.as_it_came = response if whole else await self._answer(batch, request.body)
            return
        for place, answer in zip(places, answers, strict=True):
            batch.answers[place] = answer
        if whole:
            batch.as_it_came = response
        if call is not None:
            keys = [part_key(batch.parts[place].request) for place in places]
            call.answered(dict(zip(keys, answers, strict=True)))
        if not request.control.no_store:
            await for_each(places, partial(self._store, batch), most=WRITES)

    async def _answer(self, batch: Batch, body: Mapping[str, Any]) -> Response:
        """What the upstream answers to a body."""
        exchange = batch.exchange
        token = _inside.set(True)
        try:
            asking = exchange.asking(replace(exchange.request, body=body))
            after = await exchange.driver.run(asking, (self._asking,))
        finally:
            _inside.reset(token)
        if not isinstance(after.answer, Response):
            raise StageError("Divided needs whole answers from its inner stage")
        batch.asked = after.asked
        return after.answer

    async def _store(self, batch: Batch, place: int) -> None:
        part, answer = batch.parts[place], batch.answers[place]
        if answer is None:
            return
        made = part.answering(answer, Source.UPSTREAM, batch.asked)
        batch.note(made, await made.driver.run(made, (self._write,)))
        if self._turn.due():
            await asyncio.sleep(0)
