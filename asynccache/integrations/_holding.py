"""A pipeline that nobody opened: held open for a client that may never be closed."""

from __future__ import annotations

import asyncio
from typing import Final

from asynccache._errors import AsyncCacheError, BackendUnavailable, PipelineClosed
from asynccache._pipeline import CachePipeline

__all__ = ["Holding"]

RETRY_AFTER: Final = 1.0
"""Seconds between attempts to open what could not be opened."""


class Holding:
    """Opens a pipeline with its first use, and closes it when told to, or when the event loop ends.

    It is open in one task of its own. Programs that never close their client leave that task behind;
    ``asyncio.run`` cancels it, which closes the pipeline in good order while the loop still runs.

    Args:
        pipeline: not open.
    """

    def __init__(self, pipeline: CachePipeline) -> None:
        self._pipeline: Final = pipeline
        self._stay: _Stay | None = None  # the last one

    @property
    def holds(self) -> bool:
        """Whether the pipeline is open, opening or closing here."""
        return self._stay is not None and not self._stay.task.done()

    async def opened(self) -> None:
        """Wait until the pipeline is open. Cancelling does not stop the opening.

        Raises:
            AsyncCacheError: it cannot be opened; tried at most once a second.
        """
        loop = asyncio.get_running_loop()
        stay = self._stay
        if stay is None or stay.over(loop):
            self._stay = stay = _Stay(self._pipeline)
        if stay.loop is not loop:
            raise PipelineClosed("this pipeline is open in another event loop; open one in each")
        if stay.closing.is_set() and not stay.failed:
            raise PipelineClosed("the pipeline is closing")
        if not stay.opened.done() or stay.failed:
            await asyncio.shield(stay.opened)

    async def aclose(self) -> None:
        """Close the pipeline, if it was opened here and in this loop; cancelled, it closes all the same."""
        stay = self._stay
        if stay is None or stay.task.done() or stay.loop is not asyncio.get_running_loop():
            return
        stay.closing.set()
        await asyncio.wait([stay.task])
        if not stay.task.cancelled():
            stay.task.result()


class _Stay:
    """From one opening to its closing, in one event loop."""

    def __init__(self, pipeline: CachePipeline) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self.opened: Final[asyncio.Future[None]] = self.loop.create_future()
        self.closing: Final = asyncio.Event()
        self.failed = False
        self._retry_at = 0.0
        # No nursery's child: a nursery left open would itself be a generator that the loop's end breaks off.
        # The reference is what keeps the task alive: the loop's own is a weak one.
        self.task: Final = self.loop.create_task(self._hold(pipeline), name="asynccache-pipeline")

    def over(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is time to open anew, in that event loop."""
        at_once = not self.failed or self.loop is not loop
        return self.task.done() and (at_once or loop.time() >= self._retry_at)

    async def _hold(self, pipeline: CachePipeline) -> None:
        try:
            async with pipeline:
                self.opened.set_result(None)
                await self.closing.wait()
        except Exception as error:
            if self.opened.done():
                raise  # to whoever closes
            self._fail(_mapped(error))
        finally:
            if not self.opened.done():
                self._fail(PipelineClosed("the event loop is ending"))

    def _fail(self, error: AsyncCacheError) -> None:
        self.failed = True
        self._retry_at = self.loop.time() + RETRY_AFTER
        self.opened.set_exception(error)
        self.opened.exception()  # perhaps nobody waits any more


def _mapped(error: Exception) -> AsyncCacheError:
    if isinstance(error, AsyncCacheError):
        return error
    mapped = BackendUnavailable(f"the pipeline cannot be opened ({type(error).__name__})")
    mapped.__cause__ = error
    return mapped
