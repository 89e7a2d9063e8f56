"""Ask the upstream."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from asynccache._errors import ConfigurationError, ForeignError, NotCached, UpstreamError
from asynccache._exchange import Asked
from asynccache._lifespan import entered, own_task_cancelled
from asynccache._models import Response, Source

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._protocols import Upstream
    from asynccache._stream import Stream

__all__ = ["MissHandler"]


class MissHandler:
    """Get the answer from the upstream when no earlier stage had one.

    Whatever the upstream raises reaches the caller unchanged. A request may bring an upstream of its own.

    Args:
        upstream: who makes the answers; opened and closed with the pipeline. None: only requests that
            bring their own can be answered.

    Raises:
        NotCached: the request allowed no upstream call (``only_if_cached``).
        ConfigurationError: there is no upstream to ask.
    """

    def __init__(self, upstream: Upstream | None) -> None:
        self._upstream = upstream

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the upstream open."""
        return entered(self._upstream)

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        if exchange.answer is not None:
            return exchange
        request = exchange.request
        if request.control.only_if_cached:
            raise NotCached("no stored answer may be served, and only_if_cached forbids asking the upstream")
        upstream = self._upstream if request.upstream is None else request.upstream
        if upstream is None:
            raise ForeignError(
                ConfigurationError("upstream: this pipeline has none, and the request brought none")
            )
        driver = exchange.driver
        asked = Asked(driver.clock.monotonic(), driver.generation)
        answer: Response | Stream
        try:
            if exchange.mode == "stream":
                answer = await upstream.stream(request)
            else:
                answer = await upstream.fetch(request)
        except UpstreamError:
            raise
        except Exception as error:
            raise ForeignError(error) from error
        except asyncio.CancelledError as error:
            if own_task_cancelled():
                raise
            raise UpstreamError("the upstream cancelled its own call") from error
        return exchange.answering(answer, Source.UPSTREAM, asked)
