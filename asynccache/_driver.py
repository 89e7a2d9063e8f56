"""Runs stages: owns time, events, counters and the failure policy."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from asynccache._errors import (
    ForeignError,
    InvalidRequest,
    NotCached,
    PipelineClosed,
    StageError,
    UpstreamError,
)
from asynccache._events import (
    CandidateRejected,
    EntryRefused,
    EntryStored,
    Event,
    HitAudited,
    PromiseChanged,
    RequestFailed,
    RequestServed,
    SemanticTierChanged,
    StageFailed,
)
from asynccache._exchange import Exchange
from asynccache._lifespan import own_task_cancelled, to_its_end
from asynccache._models import Source
from asynccache._stream import Stream

if TYPE_CHECKING:
    from asynccache._models import Consistency, Mode
    from asynccache._outcome import Outcome
    from asynccache._protocols import Clock, Hook, Stage

__all__ = ["Counts", "StageDriver", "stage_name"]

_CALLERS: Final = (UpstreamError, ForeignError, InvalidRequest, NotCached, PipelineClosed)
"""Errors that are the caller's to see; every other one is a failure of the cache."""


MOST_WORDS: Final = 100
"""Reasons told apart in the counters."""


def stage_name(stage: object) -> str:
    """A stage's class or function name, for events."""
    return getattr(stage, "__name__", None) or type(stage).__name__


def _failure_log() -> Hook:
    """The default hook: structlog is imported when the first failure happens."""
    made: list[Hook] = []

    def hook(event: Event) -> None:
        if isinstance(event, (StageFailed, SemanticTierChanged, PromiseChanged)):
            if not made:
                made.append(import_module("asynccache.instrumentation.structlog").log_failures())
            made[0](event)

    return hook


_AUDITED: Final = {True: "right", False: "wrong", None: "unclear"}


class Counts:
    """Plain counters, changed only by the driver and the pipeline that own them."""

    def __init__(self) -> None:
        # Answered requests by source. Counter, a class with a __delitem__ of its own, counts half as fast.
        self.sources: defaultdict[str, int] = defaultdict(int)
        self.rejected: Counter[str] = Counter()  # candidates by the reason they were refused
        self.refused: Counter[str] = Counter()  # answers by the reason they were not stored
        self.audited: Counter[str] = Counter()  # semantic hits asked upstream again, by what came out
        self.failed: Counter[str] = Counter()  # passed-over failures by stage
        self.stored = 0
        self.errors = 0  # requests that ended in an error


def _count(counter: Counter[str], word: str) -> None:
    """Count under ``word``; a check of a user may make up ever new ones."""
    counter[word if word in counter or len(counter) < MOST_WORDS else "other"] += 1


class StageDriver:
    """The Driver a pipeline gives its stages.

    Args:
        clock: time.
        ttl: default seconds an answer may be served; None never expires.
        strict: True lets failures of stages reach the caller.
        hooks: called for every event; without any, failures of the cache are logged through structlog.
        consistency: of requests that ask for none.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ttl: float | None,
        strict: bool,
        hooks: tuple[Hook, ...],
        consistency: Consistency = "eventual",
    ) -> None:
        self.clock = clock
        self.ttl = ttl
        self.strict = strict
        self.generation = 0
        self.consistency: Consistency = consistency
        self.counts: Final = Counts()
        self._hooks: Final = hooks or (_failure_log(),)
        self.watched: Final = bool(hooks)  # whether anyone wants an event for each answered request

    async def run(self, exchange: Exchange, stages: Sequence[Stage]) -> Exchange:
        """Let the exchange walk through the stages in order."""
        try:
            for stage in stages:
                exchange = await self._past(stage, exchange)
        except BaseException:
            # Nobody will get the stream that an earlier stage has opened.
            if isinstance(exchange.answer, Stream):
                await to_its_end(exchange.answer.aclose())
            raise
        return exchange

    async def _past(self, stage: Stage, exchange: Exchange) -> Exchange:
        try:
            after = await stage(exchange)
        except _CALLERS:
            raise
        except Exception as error:  # noqa: BLE001  (law: a failure of the cache is not the caller's)
            self.stage_failed(stage, error)
        except asyncio.CancelledError:
            if own_task_cancelled():
                raise
            self.stage_failed(stage, StageError("something it waited for was cancelled"))
        else:
            if type(after) is Exchange:
                return after
            self.stage_failed(stage, StageError(f"returned {type(after).__name__}, not an Exchange"))
        return exchange

    def stage_failed(self, stage: object, error: Exception) -> None:
        """Report a failure of the cache; in strict mode, raise it."""
        self.emit(StageFailed(stage_name(stage), error))
        if self.strict:
            raise error

    def served(self, answered: Exchange | Outcome, mode: Mode, started: float) -> None:
        """Count an answered request, and tell it to those who listen."""
        source = answered.source or Source.UPSTREAM
        self.counts.sources[source.value] += 1
        if not self.watched:
            return
        accepted = answered.accepted
        self.emit(
            RequestServed(
                source=source,
                mode=mode,
                seconds=self.clock.monotonic() - started,
                similarity=None if accepted is None else accepted.similarity,
                reasons=answered.reasons,
                partition=answered.request.partition.hex()[:8],
            )
        )

    def failed(self, error: Exception, mode: Mode, started: float) -> None:
        """Count a request that ended in an error its caller sees."""
        self.counts.errors += 1
        self.emit(RequestFailed(error, mode, self.clock.monotonic() - started))

    def emit(self, event: Event) -> None:
        """Count an event and hand it to the hooks; a failing hook harms nobody."""
        counts = self.counts
        match event:
            case StageFailed(stage=stage):
                _count(counts.failed, stage)
            case CandidateRejected(reason=reason):
                _count(counts.rejected, reason)
            case EntryRefused(reason=reason):
                _count(counts.refused, reason)
            case EntryStored():
                counts.stored += 1
            case HitAudited(same=same):
                counts.audited[_AUDITED[same]] += 1
            case _:
                pass
        for hook in self._hooks:
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001  (a hook must not cost anyone an answer)
                context = {"message": "a hook of asynccache failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
