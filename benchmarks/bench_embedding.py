"""What does batching alike texts give many callers, and what does a lone short question pay for it?

64 callers share texts of 8, 20, 20, 20 and 60 tokens: the wall clock per text, how long a caller waited, how
late the event loop was at worst. Then short questions (8 tokens), one after another, beside onnxruntime and
tokenizers with nothing around them. Every variant runs the model that the package carries on one thread, and
each round has new texts, so that nothing is remembered.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import cycle, islice
from typing import Any, Final

import _embedders as ways
import numpy as np
from _embedders import Embed, Texts
from _harness import Summary
from _report import Options, options, print_summaries, print_table, save, verdict

TOKENS: Final = (8, 20, 20, 20, 60)  # of the texts, in turn; each text's two marks included
SHORT: Final = 8
CALLERS: Final = 64
TICK: Final = 0.005  # seconds between two looks at how late the loop is
AT_ONCE: Final = 1.25  # times the texts per second of one worker without batches
SLACK: Final = 500  # microseconds that a short question may cost more than with nothing around it

OURS: Final = "asynccache"
ONE_BY_ONE: Final = "one worker, no batches"
INLINE: Final = "on the event loop"
BARE: Final = "onnxruntime and tokenizers"
VARIANTS: Final[dict[str, Callable[[], AbstractAsyncContextManager[Embed]]]] = {
    OURS: ways.ours,
    ONE_BY_ONE: ways.one_worker,
    "one worker, naive batches": ways.naive_batches,
    "a thread per call": ways.thread_per_call,
    INLINE: ways.inline,
    BARE: ways.bare,
}
ALONE: Final = (BARE, OURS, ONE_BY_ONE, INLINE)


@dataclass(frozen=True)
class Case:
    """A way to embed a text, opened."""

    name: str
    embed: Embed


@dataclass
class Crowd:
    """A variant's rounds: nanoseconds of wall clock per text, of each wait, of the loop's worst lateness."""

    per_text: list[list[int]] = field(default_factory=list)
    waits: list[list[int]] = field(default_factory=list)
    late: list[list[int]] = field(default_factory=list)


async def crowded(embed: Embed, texts: Sequence[str], found: Crowd) -> None:
    """Embed all the texts by 64 callers, each taking the next one."""
    left, waits, late = deque(texts), list[int](), [0]
    clock = time.perf_counter_ns

    async def call() -> None:
        while left:
            text, began = left.popleft(), clock()
            await embed(text)
            waits.append(clock() - began)

    async def look() -> None:
        while True:
            began = clock()
            await asyncio.sleep(TICK)
            late.append(clock() - began - round(TICK * 1e9))

    looking = asyncio.ensure_future(look())
    began = clock()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    found.per_text.append([(clock() - began) // len(texts)])
    found.waits.append(waits)
    await asyncio.sleep(TICK)  # a stall that lasted until now has yet to be seen
    looking.cancel()
    found.late.append([max(late)])


async def one_by_one(embed: Embed, texts: Sequence[str]) -> list[int]:
    samples = []
    for text in texts:
        began = time.perf_counter_ns()
        await embed(text)
        samples.append(time.perf_counter_ns() - began)
    return samples


def turns(cases: Sequence[Case], number: int) -> Iterator[Case]:
    """Every case once, in an order that each round rotates; the heap is tidied in between."""
    first = number % len(cases)
    for case in (*cases[first:], *cases[:first]):
        gc.collect()
        gc.freeze()
        yield case


async def verified(cases: Sequence[Case], texts: Sequence[str]) -> list[Case]:
    """The cases that give the vectors of onnxruntime itself when long and short texts are asked at once."""
    bare = next(case for case in cases if case.name == BARE)
    expected = [await bare.embed(text) for text in texts]
    kept = []
    for case in cases:
        given = await asyncio.gather(*map(case.embed, texts))
        if np.abs(np.array(given) - np.array(expected)).max() < 1e-5:
            kept.append(case)
        else:
            print(f"not timed: {case.name} (its vectors are other ones)")
    return kept


def mixed(texts: Texts, count: int) -> list[str]:
    return [texts.next(tokens) for tokens in islice(cycle(TOKENS), count)]


async def measure(given: Options) -> tuple[dict[str, Crowd], dict[str, list[list[int]]]]:
    texts = Texts()
    async with AsyncExitStack() as stack:
        opened = [Case(name, await stack.enter_async_context(way())) for name, way in VARIANTS.items()]
        cases = await verified(opened, mixed(texts, CALLERS))
        crowds = {case.name: Crowd() for case in cases if case.name != BARE}
        singles: dict[str, list[list[int]]] = {case.name: [] for case in cases if case.name in ALONE}
        for number in range(given.rounds):
            asked = mixed(texts, given.requests)
            for case in turns([case for case in cases if case.name in crowds], number):
                await crowded(case.embed, asked, crowds[case.name])
            asked = [texts.next(SHORT) for _ in range(max(1, given.requests // 4))]
            for case in turns([case for case in cases if case.name in singles], number):
                singles[case.name].append(await one_by_one(case.embed, asked))
    return crowds, singles


def conditions() -> dict[str, Any]:
    """What the figures are measured with and under; also printed."""
    packages = {name: version(name) for name in ("fastembed", "numpy", "onnxruntime", "tokenizers")}
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "packages": packages,
    }
    print(f"Python {found['python']} on {found['machine']}, {found['cpus']} CPUs, load {found['load']}")
    print(", ".join(f"{name} {number}" for name, number in packages.items()))
    return found


def report(per_text: dict[str, Summary], waits: dict[str, Summary], late: dict[str, Summary]) -> None:
    columns = (
        "milliseconds",
        "texts",
        "texts/s",
        "x no batches",
        "wait: median",
        "p90",
        "p99",
        "max",
        "loop late by",
    )
    reference = per_text[ONE_BY_ONE].median
    rows = [
        (
            name,
            f"{waits[name].n:,}",
            f"{1e6 / found.median:,.0f}",
            f"{reference / found.median:.2f}",
            *(f"{value / 1000:,.0f}" for value in (waits[name].median, waits[name].p90, waits[name].p99)),
            f"{waits[name].max / 1000:,.0f}",
            f"{late[name].median / 1000:,.1f}",
        )
        for name, found in sorted(per_text.items(), key=lambda item: item[1].median)
    ]
    print_table(f"{CALLERS} callers, texts of {', '.join(map(str, TOKENS))} tokens", columns, rows)


def main() -> None:
    given = options(__doc__, requests=256, rounds=9)
    found = conditions()
    crowds, singles = asyncio.run(measure(given))
    per_text, waits, late = (
        {name: Summary.of(name, getattr(crowd, what)) for name, crowd in crowds.items()}
        for what in ("per_text", "waits", "late")
    )
    alone = {name: Summary.of(name, rounds) for name, rounds in singles.items()}
    report(per_text, waits, late)
    floor, peer = alone[BARE].median, alone[ONE_BY_ONE].median
    print_summaries(
        f"a text of {SHORT} tokens, nobody else asking", list(alone.values()), floor=floor, peer=peer
    )
    print()
    limit = per_text[ONE_BY_ONE].median / AT_ONCE
    verdict("(f)", f"{AT_ONCE} times the texts of one worker without batches", per_text[OURS].median, limit)
    verdict("(g)", "a short question costs bare onnxruntime and 500 us", alone[OURS].median, floor + SLACK)
    if given.save:
        figures = {"per_text": per_text, "waits": waits, "late": late, "alone": alone}
        kept = {what: {name: asdict(of) for name, of in by.items()} for what, by in figures.items()}
        save(__file__, found, kept)


if __name__ == "__main__":
    main()
