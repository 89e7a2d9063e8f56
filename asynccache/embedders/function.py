"""The embedder that is an async function of yours."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

import anyio

from asynccache._errors import ConfigurationError, EmbedderError, EmbedderUnavailable, TextRefused
from asynccache._lifespan import Nursery, SharedLifespan
from asynccache.embedders._asking import Asking, EmbeddingFunction
from asynccache.embedders._batches import first
from asynccache.embedders._memo import Memo
from asynccache.embedders._options import checked_number, checked_seconds
from asynccache.embedders._queue import Batch, Queue
from asynccache.embedders._rows import assembled, not_installed, unavailable, unit_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asynccache.embedders._rows import Outcome

__all__ = ["CallableEmbedder", "EmbeddingFunction", "is_async_function"]

_ROOM: Final = 1024
"""Texts waiting or under way at once."""

_ON_LOOP: Final = 8
"""Vectors checked on the event loop; a full batch of long ones, as lists, would hold it for milliseconds."""


def is_async_function(given: object) -> TypeGuard[EmbeddingFunction]:
    """Whether calling it gives something to await."""
    called = getattr(type(given), "__call__", None)  # noqa: B004  (which kind of callable it is)
    return any(inspect.iscoroutinefunction(function) for function in (given, called))


class CallableEmbedder:
    """Asks an async function. Use inside ``lifespan()``; a pipeline does that.

    Texts of several callers go into one call when all calls under way are as many as may be. A caller's
    cancellation ends no call that others wait for.

    Args:
        function: an ``async def``, or an object whose ``__call__`` is one. It is given at most ``batch``
            texts and gives a vector for each, in order; what it raises becomes EmbedderUnavailable, which
            names the kind of error and has it as its cause. It may raise TextRefused for texts one of
            which it cannot embed; they are then asked for in halves until that one is found.
        name: tells the model, with all that shapes its vectors. Vectors of different names are never
            compared.
        dim: length of the vectors; None takes that of the first.
        batch: texts in one call. Default 64.
        timeout: seconds for one call. One that takes longer is cancelled, and not waited for. Default 30.
        calls: under way at once; and as many that were cancelled and do not end. Default 8.
        memo: texts whose vectors are remembered; 0 remembers none. Default 10000.

    Raises:
        ConfigurationError: the function is not async, or an option cannot work.
    """

    def __init__(
        self,
        function: EmbeddingFunction,
        *,
        name: str,
        dim: int | None = None,
        batch: int = 64,
        timeout: float = 30.0,
        calls: int = 8,
        memo: int = 10_000,
    ) -> None:
        if not is_async_function(function):
            raise ConfigurationError(
                f"embedder: {getattr(function, '__qualname__', type(function).__name__)} is not async; "
                "define it with `async def` (a blocking function can be called with anyio.to_thread.run_sync "
                "and a CapacityLimiter of its own)"
            )
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"name: expected what tells the model from others, got {name!r}")
        self._function: Final = function
        self.name: Final = name
        self._dim = 0 if dim is None else checked_number("dim", dim, least=1)  # 0 until the first vector
        self._batch: Final = checked_number("batch", batch, least=1)
        self._timeout: Final = checked_seconds("timeout", timeout)
        self._calls: Final = checked_number("calls", calls, least=1)
        self._memo: Final = checked_number("memo", memo, least=0)
        self._session: tuple[asyncio.AbstractEventLoop, Queue] | None = None  # None while closed
        self._lifespan: Final = SharedLifespan(self._opened)

    @property
    def dim(self) -> int:
        """Length of the vectors; 0 when it was not given and none has been made yet."""
        return self._dim

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Let calls be made; may be entered several times. Calls under way are cancelled at its end."""
        return self._lifespan()

    async def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """float32 array, shape (n, dim), rows of norm 1 in the order of the texts; not to be written to.

        Raises:
            TextRefused: a text is empty, was refused by the function, or has no usable vector.
            EmbedderUnavailable: not open, too slow, or a failure of the function.
        """
        if self._session is None:
            raise EmbedderUnavailable("this embedder is not open; use it inside its lifespan()")
        loop, queue = self._session
        if loop is not asyncio.get_running_loop():
            raise EmbedderUnavailable(
                "this embedder is open in another event loop; give each loop an embedder of its own"
            )
        return assembled(await queue.rows(texts), self._dim)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        nursery = Nursery()
        asking = Asking(self._function, seconds=self._timeout, most=self._calls)
        # Of its own: all of the default limiter's threads may be waiting for these very vectors.
        threads = anyio.CapacityLimiter(2)

        def begin(batch: Batch) -> None:
            nursery.start(partial(self._call, queue, batch, _Making(asking, threads)))

        queue = Queue(
            begin,
            choose=partial(first, most=self._batch),
            lanes=self._calls,
            room=_ROOM,
            memo=Memo(self._memo),
        )
        try:
            async with nursery.lifespan():
                try:
                    # Which takes too long for the loop.
                    await anyio.to_thread.run_sync(import_module, "numpy", limiter=threads)
                    queue.go()
                except ImportError as error:
                    queue.refuse(not_installed(error))
                self._session = asyncio.get_running_loop(), queue
                try:
                    yield
                finally:
                    self._session = None
                    queue.refuse(EmbedderUnavailable("the embedder was closed"))
        finally:
            await asking.close()

    async def _call(self, queue: Queue, batch: Batch, making: _Making) -> None:
        outcomes: list[Outcome] = [EmbedderUnavailable("the embedder's call was cut short")] * len(batch)
        try:
            outcomes = await self._outcomes([flight.text for flight in batch], making)
        finally:  # whatever happens: callers wait for nothing else
            queue.settle(batch, outcomes)

    async def _outcomes(self, texts: list[str], making: _Making) -> list[Outcome]:
        try:
            outcomes = await making.vectors(texts)
            self._check_dim(outcomes)
        except TextRefused as error:
            if len(texts) == 1:
                return [error]
        except EmbedderError as error:
            return [error] * len(texts)
        else:
            return outcomes
        # The function does not say which text it refuses.
        half = len(texts) // 2
        return [*await self._outcomes(texts[:half], making), *await self._outcomes(texts[half:], making)]

    def _check_dim(self, outcomes: list[Outcome]) -> None:
        dims = {outcome.shape[1] for outcome in outcomes if not isinstance(outcome, EmbedderError)}
        for found in dims:  # one at most: a batch is one array
            if not self._dim:
                self._dim = found
            elif found != self._dim:
                raise EmbedderUnavailable(f"the embedder gave vectors of length {found}, not {self._dim}")

    def __repr__(self) -> str:
        return f"<CallableEmbedder {self.name!r}>"


class _Making(NamedTuple):
    """What one lifespan makes vectors with."""

    asking: Asking
    threads: anyio.CapacityLimiter

    async def vectors(self, texts: list[str]) -> list[Outcome]:
        given = await self.asking.answer(list(texts))
        check = partial(_checked, given, len(texts))
        if len(texts) <= _ON_LOOP:
            return check()
        return await anyio.to_thread.run_sync(check, limiter=self.threads)


def _checked(given: Any, count: int) -> list[Outcome]:
    try:
        return unit_rows(given, count)
    except (EmbedderError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the array may be of anybody's making
        raise unavailable(error) from error
