"""``asynccache demo``: real questions through the whole cache, over real HTTP."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

from asynccache._errors import AsyncCacheError, ConfigurationError
from asynccache._events import Event, StageFailed
from asynccache._pipeline import CachePipeline
from asynccache._protocols import Backend, Measurable
from asynccache._registry import open_backend
from asynccache.cli._output import complain
from asynccache.cli._store import file_of, refuse_foreign
from asynccache.cli._tally import Kind, Tally
from asynccache.cli._workload import Ask, workload

if TYPE_CHECKING:
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
    demo = _Demo(given, backend, _api_key(given.api_key_env), Report(given, url))
    anyio.run(demo.run)
    for problem in demo.problems:
        complain(problem)
    return 1 if demo.problems else 0


def _api_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise ConfigurationError(f"--api-key-env: the environment variable {variable!r} is not set")
    return key


@contextmanager
def _past_proxies() -> Iterator[None]:
    """A proxy of the environment cannot reach a server on this machine's loopback address."""
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = ",".join(filter(None, [before or os.environ.get("NO_PROXY"), "127.0.0.1"]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before


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
        self._passed_over: Final[list[StageFailed]] = []  # failures of the cache, as the hook is told of them
        self.problems: Final[list[str]] = []
        """Why the run has failed; empty when all went well."""

    async def run(self) -> None:
        """Ask everything, show everything."""
        report, asks = self._report, workload(self._given.requests)
        async with self._upstream() as (base_url, server), self._cache(base_url) as cache:
            report.opening(base_url, asks, entries=await self._entries())
            tally = Tally(time.monotonic())
            if await self._answered(cache, tally, asks[0], show=report.first):
                await self._ask_concurrently(cache, tally, asks[1:])
            seconds = time.monotonic() - tally.began
            report.closing(
                tally,
                seconds=seconds,
                upstream_calls=len(tally.seconds[Kind.UPSTREAM]) if server is None else server.stats.requests,
                counted_by_server=server is not None,
                entries=await self._entries(),
            )
        self._judge(tally)

    @asynccontextmanager
    async def _upstream(self) -> AsyncIterator[tuple[str, StandIn | None]]:
        if self._given.upstream is not None:
            yield self._given.upstream, None
            return
        from asynccache.server.standin import StandIn

        with _past_proxies():
            async with StandIn(latency=self._given.latency) as server:
                yield server.base_url, server

    def _cache(self, base_url: str) -> CachePipeline:
        return CachePipeline(
            base_url,
            backend=self._backend,
            api_key=self._api_key,
            # The stand-in's address changes with each run; a real server's answers stay apart by theirs.
            namespace=self._given.upstream,
            ttl=None,  # whoever runs it again tomorrow shall see hits as well
            hooks=[self._note],
        )

    def _note(self, event: Event) -> None:
        if isinstance(event, StageFailed):
            self._passed_over.append(event)

    async def _entries(self) -> int | None:
        return (await self._backend.measure())["entries"] if isinstance(self._backend, Measurable) else None

    async def _ask_concurrently(self, cache: CachePipeline, tally: Tally, asks: list[Ask]) -> None:
        # Customers come at a rate, whether or not the earlier ones have been served. Without one, each
        # answer would be timed against a processor that is busy with all the others.
        began = time.monotonic()
        waiting = iter(enumerate(asks))
        with self._report.progress(tally) as advance:

            async def work() -> None:
                for index, ask in waiting:
                    await anyio.sleep(max(0.0, began + index / self._given.rate - time.monotonic()))
                    if self.problems or not await self._answered(cache, tally, ask, show=advance):
                        return

            async with anyio.create_task_group() as group:
                for _ in range(min(self._given.concurrency, len(asks))):
                    group.start_soon(work)

    async def _answered(self, cache: CachePipeline, tally: Tally, ask: Ask, *, show: Shown) -> bool:
        body = {"model": self._model, "messages": [{"role": "user", "content": ask.question}]}
        known, started = tally.knows(ask.question), time.monotonic()
        try:
            outcome = await _outcome(cache, body, streamed=ask.streamed)
        except AsyncCacheError as error:
            if not self.problems:  # the first tells enough, and the others are not asked any more
                self.problems.append(f"a request failed: {error}")
            return False
        ended = time.monotonic()
        kind = tally.count(ask.question, outcome, started=started, ended=ended, known=known)
        show(kind, ended - started, outcome)
        return True

    def _judge(self, tally: Tally) -> None:
        if self._passed_over:
            first = self._passed_over[0]
            self.problems.append(
                f"the cache failed {len(self._passed_over)} times, first in {first.stage}: {first.error}"
            )
        if not tally.hits and not self.problems:
            self.problems.append("nothing was a hit: with so few requests no question was repeated; ask more")


async def _outcome(cache: CachePipeline, body: dict[str, Any], *, streamed: bool) -> Outcome:
    if not streamed:
        return await cache.fetch(body)
    async with cache.stream(body) as stream:
        return await stream.collect()
