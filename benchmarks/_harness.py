"""How variants are opened, checked, timed in turn and summed up.

All variants live in one process and take turns, round by round and in rotated order, so that whatever
else the machine is doing hits all of them alike. A variant's figure is the median of its rounds' medians.
The garbage collector stays on, as in a service; before each turn the heap is collected and frozen, so
that no variant pays for what another one left behind.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final, TypeAlias

from _workload import Ask, Body, Upstream, answer_document

Open: TypeAlias = Callable[[Ask, Path], AbstractAsyncContextManager[Ask]]
"""Puts a cache that may keep files in a directory before an upstream; gives the cached call."""

TURN: Final = 0.5
"""Seconds after which a variant's turn ends, so that a slow one costs a round no more than this."""


@dataclass(frozen=True)
class Variant:
    """One way to have an answer cached. ``how`` says what its call does: keying, reading, decoding."""

    name: str
    how: str
    opened: Open
    distributions: tuple[str, ...] = ()
    """The packages it needs; none for the floor and for ours."""


@dataclass(frozen=True)
class Case:
    """A variant, opened."""

    name: str
    ask: Ask
    upstream: Upstream


@asynccontextmanager
async def opened(variants: Sequence[Variant], make: Callable[[], Upstream]) -> AsyncIterator[list[Case]]:
    """Open every variant whose packages are installed, each before an upstream and a directory of its own."""
    with TemporaryDirectory(prefix="asynccache-bench-") as directory:
        async with AsyncExitStack() as stack:
            cases = []
            for variant in variants:
                try:
                    for distribution in variant.distributions:
                        version(distribution)
                except PackageNotFoundError as missing:
                    print(f"skipped: {variant.name} (package {missing.name} is not installed)")
                    continue
                upstream = make()
                ask = await stack.enter_async_context(variant.opened(upstream, Path(mkdtemp(dir=directory))))
                cases.append(Case(variant.name, ask, upstream))
            yield cases


async def verified(cases: Sequence[Case], bodies: Sequence[Body]) -> list[Case]:
    """Fill every case, and keep those that afterwards answer each request rightly and by themselves.

    What a case gives out in a form of its own is made an answer by the ``parse`` its ``ask`` has, if any.
    """
    kept = []
    for case in cases:
        for body in bodies:
            await case.ask(body)
        asked = case.upstream.calls
        wrong = 0
        parse = getattr(case.ask, "parse", _as_it_is)
        for body in bodies:
            wrong += parse(await case.ask(body)) != answer_document(body["seed"])
        again = case.upstream.calls - asked
        if wrong or again:
            print(f"not timed: {case.name} (of {len(bodies)} hits, {wrong} were wrong and {again} misses)")
        else:
            kept.append(case)
    return kept


def _as_it_is(answer: Any) -> Any:
    return answer


async def timed(ask: Ask, bodies: Sequence[Body]) -> list[int]:
    """Nanoseconds of each call, one after the other, until all are made or the turn is over."""
    clock = time.perf_counter_ns
    samples = []
    end = clock() + int(TURN * 1e9)
    for body in bodies:
        began = clock()
        await ask(body)
        done = clock()
        samples.append(done - began)
        if done > end:
            break
    return samples


async def crowded(ask: Ask, bodies: Sequence[Body], *, tasks: int, each: int) -> float:
    """Nanoseconds of wall clock per call, many tasks calling at once, each in a plain loop of awaits."""
    made = 0
    began = time.perf_counter()

    async def one(first: int) -> None:
        nonlocal made
        for number in range(first, first + each):
            await ask(bodies[number % len(bodies)])
            made += 1
            if time.perf_counter() - began > TURN:
                break

    async with asyncio.TaskGroup() as group:
        for number in range(tasks):
            group.create_task(one(number * each))
    return (time.perf_counter() - began) / made * 1e9


def turns(cases: Sequence[Case], rounds: int) -> Iterator[tuple[int, Case]]:
    """Every case once per round; each round begins with the next one. The heap is tidied in between."""
    for number in range(rounds):
        first = number % len(cases)
        for case in (*cases[first:], *cases[:first]):
            gc.collect()
            gc.freeze()
            yield number, case


@dataclass(frozen=True)
class Summary:
    """A variant's result; every figure in microseconds."""

    name: str
    n: int
    median: float
    p90: float
    p99: float
    max: float
    round_medians: list[float]

    @classmethod
    def of(cls, name: str, rounds: Sequence[Sequence[int]]) -> Summary:
        """Medians over the rounds of what each round measured (nanoseconds); of ``max``, the largest."""
        ordered = [sorted(samples) for samples in rounds]

        def over_rounds(share: float) -> float:
            return round(median(samples[int(share * (len(samples) - 1))] for samples in ordered) / 1000, 2)

        return cls(
            name=name,
            n=sum(map(len, ordered)),
            median=over_rounds(0.5),
            p90=over_rounds(0.9),
            p99=over_rounds(0.99),
            max=round(max(samples[-1] for samples in ordered) / 1000, 1),
            round_medians=[round(median(samples) / 1000, 2) for samples in ordered],
        )
