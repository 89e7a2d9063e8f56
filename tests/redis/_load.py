"""Many askers at once, whose answers are checked."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from asynccache import CachePipeline
from asynccache.backends import MemoryBackend, Tiered
from tests.redis._watched import DEADLINE, Heartbeat, Lookup, Watched, no_task_is_left, options_of

ASKERS: Final = 16
REPEATED: Final = 40
"""Questions that are asked again and again; as many others are asked once."""
PAUSE: Final = 0.015
"""Seconds an asker rests between two questions."""


@dataclass
class Load:
    """Askers of two pipelines on one store: one with a memory in front, one without."""

    plain: Watched
    tiered: Watched
    heart: Heartbeat = field(default_factory=Heartbeat)
    errors: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    hits: int = 0

    @property
    def stores(self) -> tuple[Watched, Watched]:
        """Both."""
        return self.plain, self.tiered

    def slowest(self) -> tuple[float, float]:
        """Seconds of the slowest look-up; and the same, less the loop's lag meanwhile."""
        slow = [each for store in self.stores for each in store.lookups if each.ended - each.began > 0.05]
        spans = [(each.ended - each.began, self.heart.lag(each.began, each.ended)) for each in slow]
        return (
            max((span for span, _ in spans), default=0.0),
            max((span - lag for span, lag in spans), default=0.0),
        )

    def unavailable(self) -> int:
        """Look-ups that failed."""
        return sum(each.error is not None for store in self.stores for each in store.lookups)

    def resumed(self, after: float, *, shards: frozenset[int] | None = None) -> float | None:
        """Seconds from a moment to the first hit in the store; None when there is none yet."""
        return _first(self.plain, after, shards, lambda each: each.found)

    def answered(self, after: float, *, shards: frozenset[int] | None = None) -> float | None:
        """The same for the store behind a memory, to the first answer of any kind."""
        return _first(self.tiered, after, shards, lambda each: each.error is None)

    def check(self) -> None:
        """What must hold whatever happens to the servers."""
        span, own = self.slowest()
        assert not self.errors, self.errors
        assert own <= DEADLINE * 1.1, f"a look-up took {span:.3f} s, {own:.3f} s without the loop's lag"


def _first(
    store: Watched, after: float, shards: frozenset[int] | None, wanted: Callable[[Lookup], bool]
) -> float | None:
    times = [
        each.ended - after
        for each in store.lookups[bisect_left(store.lookups, after, key=lambda each: each.ended) :]
        if each.began >= after and wanted(each) and (shards is None or each.shard in shards)
    ]
    return min(times, default=None)


async def echo(body: Mapping[str, Any]) -> str:
    """Answer with the question."""
    await asyncio.sleep(0.001)
    return f"answer to {body['messages'][0]['content']}"


@asynccontextmanager
async def load(url: str, **more: Any) -> AsyncIterator[Load]:
    """Ask from many tasks for as long as the block runs; every answer is checked."""
    tasks_before = asyncio.all_tasks()
    running = Load(
        Watched(**options_of(url, prefix="plain", **more)),
        Watched(**options_of(url, prefix="tiered", **more)),
    )
    numbers = count()

    async def ask(cache: CachePipeline, asker: int) -> None:
        while True:
            number = next(numbers)
            question = f"question {number % REPEATED}" if number % 2 else f"new question {number}"
            try:
                outcome = await cache.ask(question)
            except Exception as error:  # noqa: BLE001  (counted: there must be none)
                running.errors[repr(error)[:200]] += 1
            else:
                running.answers += 1
                running.hits += outcome.hit
                if outcome.text != f"answer to {question}":
                    running.errors["wrong answer"] += 1
            await asyncio.sleep(PAUSE + asker / 10_000)

    async with (
        CachePipeline(echo, backend=running.plain, decision=None) as first,
        CachePipeline(echo, backend=Tiered(MemoryBackend(), running.tiered), decision=None) as second,
    ):
        tasks = [asyncio.ensure_future(ask(second if asker % 2 else first, asker)) for asker in range(ASKERS)]
        beating = asyncio.ensure_future(running.heart.beat())
        try:
            yield running
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=5)
            await asyncio.sleep(0.01)
            beating.cancel()
    await no_task_is_left(tasks_before)
