"""Runs stages: owns time, events, counters and the failure policy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from time import perf_counter
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
    RequestFailed,
    RequestServed,
    StageFailed,
)
from asynccache._models import Exchange, Source

if TYPE_CHECKING:
    from asynccache._models import Mode
    from asynccache._protocols import Clock, Hook, Stage

__all__ = ["Counts", "LoopTurn", "StageDriver", "stage_name"]

_CALLERS: Final = (UpstreamError, ForeignError, InvalidRequest, NotCached, PipelineClosed)
"""Errors that are the caller's to see; every other one is a failure of the cache."""


def stage_name(stage: object) -> str:
    """A stage's class or function name, for events."""
    return getattr(stage, "__name__", None) or type(stage).__name__


def _failure_log() -> Hook:
    """The default hook: structlog is imported when the first failure happens."""
    made: list[Hook] = []

    def hook(event: Event) -> None:
        if isinstance(event, StageFailed):
            if not made:
                made.append(import_module("asynccache.instrumentation.structlog").log_failures())
            made[0](event)

    return hook


class Counts:
    """Plain counters, changed only by the driver and the pipeline that own them."""

    def __init__(self) -> None:
        self.sources: Counter[str] = Counter()  # answered requests by source
        self.rejected: Counter[str] = Counter()  # candidates by the reason they were refused
        self.refused: Counter[str] = Counter()  # answers by the reason they were not stored
        self.failed: Counter[str] = Counter()  # passed-over failures by stage
        self.stored = 0
        self.errors = 0  # requests that ended in an error


class StageDriver:
    """The Driver a pipeline gives its stages.

    Args:
        clock: time.
        ttl: default seconds an answer may be served; None never expires.
        strict: True lets failures of stages reach the caller.
        hooks: called for every event; without any, failures of the cache are logged through structlog.
    """

    def __init__(self, *, clock: Clock, ttl: float | None, strict: bool, hooks: tuple[Hook, ...]) -> None:
        self.clock = clock
        self.ttl = ttl
        self.strict = strict
        self.generation = 0
        self.counts: Final = Counts()
        self._hooks: Final = hooks or (_failure_log(),)
        self._watched: Final = bool(hooks)  # whether anyone wants an event for each answered request

    async def run(self, exchange: Exchange, stages: Sequence[Stage]) -> Exchange:
        """Let the exchange walk through the stages in order."""
        for stage in stages:
            try:
                after = await stage(exchange)
            except _CALLERS:
                raise
            except Exception as error:  # noqa: BLE001  (law: a failure of the cache is not the caller's)
                self._stage_failed(stage, error)
            else:
                if after is exchange:
                    continue
                if type(after) is Exchange:
                    exchange = after
                else:
                    self._stage_failed(stage, StageError(f"returned {type(after).__name__}, not an Exchange"))
        return exchange

    def _stage_failed(self, stage: object, error: Exception) -> None:
        self.emit(StageFailed(stage_name(stage), error))
        if self.strict:
            raise error

    def served(self, exchange: Exchange) -> None:
        """Count an answered request, and tell it to those who listen."""
        source = exchange.source or Source.UPSTREAM
        self.counts.sources[source._value_] += 1  # `.value` is a slow descriptor on a path of microseconds
        if self._watched:
            accepted = exchange.accepted
            self.emit(
                RequestServed(
                    source=source,
                    mode=exchange.mode,
                    seconds=self.clock.monotonic() - exchange.started,
                    similarity=None if accepted is None else accepted.similarity,
                    reasons=exchange.reasons,
                    partition=exchange.request.partition.hex()[:8],
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
                counts.failed[stage] += 1
            case CandidateRejected(reason=reason):
                counts.rejected[reason] += 1
            case EntryRefused(reason=reason):
                counts.refused[reason] += 1
            case EntryStored():
                counts.stored += 1
            case _:
                pass
        for hook in self._hooks:
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001  (a hook must not cost anyone an answer)
                context = {"message": "a hook of asynccache failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)


class LoopTurn:
    """Keeps tasks that only ever hit from starving the event loop.

    A hit from memory needs no suspension, so a task that hits in a row would never let others run. After
    ``budget`` seconds of one turn of the loop, every further hit of that turn yields once. Between, a hit
    pays one comparison.

    Args:
        budget: seconds of one turn; default 0.2 ms, some twenty hits.
    """

    def __init__(self, budget: float = 0.0002, clock: Callable[[], float] = perf_counter) -> None:
        self._budget: Final = budget
        self._clock: Final = clock
        self._began: float | None = None  # when this turn's first request came; None at the turn's start

    def due(self) -> bool:
        """Whether the caller should ``await asyncio.sleep(0)`` now."""
        if self._began is None:
            self._began = self._clock()
            asyncio.get_running_loop().call_soon(self._turned)
            return False
        return self._clock() - self._began > self._budget

    def _turned(self) -> None:
        self._began = None
