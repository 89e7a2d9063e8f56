"""``asynccache demo``: real questions through the whole cache, over real HTTP."""

from __future__ import annotations

import argparse
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

from asynccache._errors import AsyncCacheError, ConfigurationError
from asynccache._events import Event, SemanticTierChanged, StageFailed
from asynccache._lifespan import entered
from asynccache._models import Control, Request, Scope
from asynccache._pipeline import CachePipeline
from asynccache._protocols import Backend, Embedder, Instant, Measurable
from asynccache._registry import open_backend
from asynccache.cli._demo_embedder import opened
from asynccache.cli._demo_upstream import api_key, stand_in
from asynccache.cli._labels import Labels
from asynccache.cli._output import complain
from asynccache.cli._store import file_of, refuse_foreign
from asynccache.cli._tally import Kind, Tally
from asynccache.cli._workload import Ask, questions, workload
from asynccache.stages import Normalize

if TYPE_CHECKING:
    from asynccache._models import Candidate
    from asynccache._outcome import Outcome
    from asynccache.cli._demo_report import Report
    from asynccache.server.standin import StandIn

__all__ = ["run"]

Shown: TypeAlias = "Callable[[Kind, float, Outcome], None]"
"""Told how a request was answered and how many seconds it took."""

_BACKEND: Final = "sqlite:///demo.sqlite"
_MODEL: Final = "asynccache-stand-in"


def run(given: argparse.Namespace) -> int:
    """Ask, show, and fail when a request failed or nothing was a hit."""
    try:
        from asynccache.cli._demo_report import Report

        if given.upstream is None:
            import asynccache.server.standin  # noqa: F401  (what it lacks is told now)
    except (ImportError, ConfigurationError) as error:
        lacking = error if isinstance(error, ImportError) else error.__cause__
        extras = "cli,server" if given.upstream is None else "cli"
        raise ConfigurationError(
            f'the demo needs {getattr(lacking, "name", "more")}; pip install "asynccache[{extras}]"'
        ) from error
    url = _BACKEND if given.backend is None else given.backend
    backend = open_backend(url)
    file = file_of(url)
    if file is not None:
        refuse_foreign(file)
    demo = _Demo(given, backend, api_key(given.api_key_env), Report(given, url))
    anyio.run(demo.run)
    for problem in demo.problems:
        complain(problem)
    return 1 if demo.problems else 0


class _Demo:
    """One run."""

    def __init__(
        self, given: argparse.Namespace, backend: Backend, api_key: str | None, report: Report
    ) -> None:
        self._given: Final = given
        self._backend: Final = backend
        self._api_key: Final = api_key
        self._report: Final = report
        self._model: Final = _MODEL if given.model is None else given.model
        # The stand-in's address changes with each run; a real server's answers stay apart by theirs.
        self._scope: Final = Scope(namespace=given.upstream)
        self._keys: Final = Normalize().keyring
        self._tally: Final = Tally()
        self._labels: Final = Labels(questions())
        self._failures: Final[list[str]] = []  # of the cache, as the hook is told of them
        self._twins = 0  # answers of near questions in flight
        self.problems: Final[list[str]] = []
        """Why the run has failed; empty when all went well."""

    async def run(self) -> None:
        """Ask everything, show everything."""
        report, asks = self._report, workload(self._given.requests)
        async with self._upstream() as (base_url, server), entered(self._backend):
            report.opening(base_url, asks, entries=await self._entries())
            async with opened(self._given, report) as embedder, self._cache(base_url, embedder) as cache:
                began = time.monotonic()
                if await self._answered(cache, asks[0], show=report.first):
                    await self._ask_concurrently(cache, asks[1:])
                seconds = time.monotonic() - began
                await cache.flush()  # the last answers are to be counted among those it has learnt from
                calls = len(self._tally.seconds[Kind.UPSTREAM]) if server is None else server.stats.requests
                report.closing(
                    self._tally,
                    None if embedder is None else self._labels,
                    cache.stats(),
                    shared=self._twins,
                    seconds=seconds,
                    upstream_calls=calls,
                    counted_by_server=server is not None,
                    entries=await self._entries(),
                )
        self._judge()

    @asynccontextmanager
    async def _upstream(self) -> AsyncIterator[tuple[str, StandIn | None]]:
        if self._given.upstream is not None:
            yield self._given.upstream, None
            return
        async with stand_in(latency=self._given.latency) as server:
            yield server.base_url, server

    def _cache(self, base_url: str, embedder: Embedder | None) -> CachePipeline:
        semantic: dict[str, Any] = {"decision": None}
        if embedder is not None and self._given.threshold is not None:
            semantic = {"decision": "threshold", "threshold": self._given.threshold, "embedder": embedder}
        elif embedder is not None:
            semantic = {"decision": "promise", "max_error": self._given.max_error, "embedder": embedder}
        return CachePipeline(
            base_url,
            backend=self._backend,
            api_key=self._api_key,
            namespace=self._scope.namespace,
            ttl=None,  # whoever runs it again tomorrow shall see hits as well
            hooks=[self._note],
            **semantic,
        )

    def _note(self, event: Event) -> None:
        if isinstance(event, StageFailed):
            self._failures.append(f"{event.stage}: {event.error}")
        elif isinstance(event, SemanticTierChanged) and event.error is not None:
            self._failures.append(f"the semantic tier: {event.error}")

    async def _entries(self) -> int | None:
        return (await self._backend.measure())["entries"] if isinstance(self._backend, Measurable) else None

    async def _ask_concurrently(self, cache: CachePipeline, asks: list[Ask]) -> None:
        # Customers come at a rate, whether or not the earlier ones have been served. Without one, each
        # answer would be timed against a processor that is busy with all the others.
        began = time.monotonic()
        waiting = iter(enumerate(asks))
        with self._report.progress(self._tally, self._labels) as advance:

            async def work() -> None:
                for index, ask in waiting:
                    await anyio.sleep(max(0.0, began + index / self._given.rate - time.monotonic()))
                    if self.problems or not await self._answered(cache, ask, show=advance):
                        return

            async with anyio.create_task_group() as group:
                for _ in range(min(self._given.concurrency, len(asks))):
                    group.start_soon(work)

    async def _answered(self, cache: CachePipeline, ask: Ask, *, show: Shown) -> bool:
        body = {"model": self._model, "messages": [{"role": "user", "content": ask.question}]}
        at_hand, started = self._at_hand(body), time.monotonic()
        try:
            outcome = await _outcome(cache, body, streamed=ask.streamed)
        except AsyncCacheError as error:
            if not self.problems:  # the first tells enough, and the others are not asked any more
                self.problems.append(f"a request failed: {error}")
            return False
        seconds = time.monotonic() - started
        kind = self._tally.count(outcome, seconds, at_hand=at_hand)
        if kind is Kind.SEMANTIC:
            self._labels.count(ask.question, _answered_question(outcome), outcome.similarity or 0.0)
        elif kind is Kind.SHARED and (twin := _twin(outcome)) is not None:
            self._twins += 1
            self._labels.count(ask.question, twin.entry.question, twin.similarity)
        show(kind, seconds, outcome)
        return True

    def _at_hand(self, body: dict[str, Any]) -> bool:
        if not isinstance(self._backend, Instant):
            return False
        key = self._keys.fingerprint(Request(body=body, scope=self._scope, control=Control())).key
        return self._backend.at_hand(key) is not None

    def _judge(self) -> None:
        if self._failures:
            self.problems.append(f"the cache failed {len(self._failures)} times, first {self._failures[0]}")
        if not self._tally.hits and not self.problems:
            self.problems.append("nothing was a hit: with so few requests no question was repeated; ask more")


async def _outcome(cache: CachePipeline, body: dict[str, Any], *, streamed: bool) -> Outcome:
    if not streamed:
        return await cache.fetch(body)
    async with cache.stream(body) as stream:
        return await stream.collect()


def _answered_question(outcome: Outcome) -> str | None:
    """The question whose answer was served."""
    return None if outcome.entry is None else outcome.entry.question


def _twin(outcome: Outcome) -> Candidate | None:
    """The near question in flight whose answer was shared; None when it was the very same question's."""
    judgement = outcome.judgement
    if judgement is None or judgement.calibrated < judgement.limit:  # what was refused before
        return None
    return judgement.candidate
