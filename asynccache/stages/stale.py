"""Serve an answer that is too old for a request, when the upstream fails."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

from asynccache._errors import ForeignError, UpstreamAuth, UpstreamBadRequest, UpstreamError
from asynccache._lifespan import entered
from asynccache._models import Candidate, Source

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._protocols import Stage

__all__ = ["STALE", "StaleIfError"]

STALE: Final = "stale"
"""The note under which ``Validate`` leaves a candidate that was refused for its age alone."""


class StaleIfError:
    """Run inner stages; where the upstream fails, answer with what ``Validate`` found too old.

    For requests with ``stale_if_error`` (RFC 5861), whose stored answer is older than their ``max_age`` by no
    more than that. An upstream that refuses the request itself (400, 401, 404 …) has not failed. A question
    invalidated while the upstream was asked gets the error.

    Args:
        stages: what may fail, usually ``SingleFlight(…)``.
    """

    def __init__(self, *stages: Stage) -> None:
        self._stages: Final = stages

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the inner stages open."""
        return entered(*self._stages)

    async def flush(self) -> None:
        """Wait until what the inner stages do behind requests is done."""
        for stage in self._stages:
            flush = getattr(stage, "flush", None)
            if flush is not None:
                await flush()

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        driver = exchange.driver
        candidate = exchange.notes.get(STALE)
        if not isinstance(candidate, Candidate) or exchange.answer is not None:
            return await driver.run(exchange, self._stages)
        generation = driver.generation
        try:
            return await driver.run(exchange, self._stages)
        except (UpstreamBadRequest, UpstreamAuth):
            raise
        except (UpstreamError, ForeignError) as error:
            if driver.generation != generation:
                raise
            name = type(error.error if isinstance(error, ForeignError) else error).__name__
            answered = exchange._replace(
                answer=candidate.entry.response, source=Source.STALE, accepted=candidate
            )
            return answered.rejecting(f"the upstream failed ({name})")
