"""What happens when many ask at once: how often is the upstream called, and how long does the loop stall?

200 identical requests at the same time, to an upstream that takes 50 ms: its calls, the time until
the last caller has the answer, and the callers that got an error. Then 64 tasks that hit in plain loops of
awaits, while a ticker that wants to run every millisecond notes how late it was at worst; beside that, the
same ticker on an idle loop. A cache that never lets go of the loop shows the time its hits take together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import _ours as ours
import _peers as peers
from _harness import TURN, Case, Variant, crowded, opened, turns, verified
from _report import Options, conditions, options, print_table, save, verdict
from _workload import Ask, Body, Upstream, answer_document, request_body

CALLERS: Final = 200
PAUSE: Final = 0.05  # seconds the upstream takes
TASKS: Final = 64
HITS: Final = 100  # of each task
TICK: Final = 0.001  # seconds


@asynccontextmanager
async def idle(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
    yield upstream


IDLE: Final = Variant("idle loop", "nothing but the ticker", idle)
OURS: Final = (ours.MEMORY, ours.SQLITE, ours.COLD)
PEERS: Final = (
    peers.LITELLM,
    peers.GPTCACHE,
    peers.AIOCACHE,
    peers.AIOCACHE_STAMPEDE,
    peers.CASHEWS,
    peers.CASHEWS_DISK,
    peers.DISKCACHE,
    peers.DISKCACHE_THREAD,
    peers.LANGCHAIN_SQLITE,
)


@dataclass
class Stampedes:
    """What a variant did in each round."""

    calls: list[int]
    milliseconds: list[float]
    errors: list[str]
    wrong: int = 0


async def stampede(case: Case, body: Body, callers: int, result: Stampedes) -> None:
    asked = case.upstream.calls
    began = time.perf_counter()
    answers = await asyncio.gather(*(case.ask(body) for _ in range(callers)), return_exceptions=True)
    result.milliseconds.append(round((time.perf_counter() - began) * 1000, 1))
    result.calls.append(case.upstream.calls - asked)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    result.errors += [type(error).__name__ for error in failed]
    result.wrong += sum(answer != answer_document(body["seed"]) for answer in answers) - len(failed)


async def lateness(work: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds by which a ticker was late at worst, while ``work`` was going on."""
    working = asyncio.ensure_future(work())
    worst = 0.0
    while not working.done():
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        worst = max(worst, time.perf_counter() - due)
    await working
    return worst * 1000


async def stampedes(given: Options) -> dict[str, Stampedes]:
    answers = [answer_document(index) for index in range(given.rounds)]
    results: dict[str, Stampedes] = {}
    async with opened((*OURS, *PEERS), lambda: Upstream(answers, lambda: asyncio.sleep(PAUSE))) as cases:
        for number, case in turns(cases, given.rounds):
            result = results.setdefault(case.name, Stampedes([], [], []))
            await stampede(case, request_body(number), given.requests, result)
    return results


async def stalls(given: Options) -> dict[str, list[float]]:
    """Milliseconds of the ticker's worst lateness in each round, by variant."""
    answers = [answer_document(index) for index in range(TASKS)]
    bodies = [request_body(index) for index in range(TASKS)]
    async with opened((IDLE, *OURS, *PEERS), lambda: Upstream(answers)) as (nothing, *caches):
        cases = [nothing, *await verified(caches, bodies)]
        results: dict[str, list[float]] = {case.name: [] for case in cases}
        for _, case in turns(cases, given.rounds):
            if case is nothing:
                late = await lateness(partial(asyncio.sleep, TURN / 2))
            else:
                late = await lateness(partial(crowded, case.ask, bodies, tasks=TASKS, each=HITS))
            results[case.name].append(round(late, 2))
    return results


def report(crowds: dict[str, Stampedes], late: dict[str, list[float]], callers: int) -> None:
    rows = []
    for name, result in sorted(crowds.items(), key=lambda item: median(item[1].milliseconds)):
        figures = (median(result.calls), median(result.milliseconds), max(result.milliseconds))
        kinds = ", ".join(sorted(set(result.errors)))
        errors = f"{len(result.errors)} ({kinds})" if kinds else "0"
        rows.append((name, *(f"{figure:,.1f}" for figure in figures), errors, str(result.wrong)))
    columns = ("", "upstream calls", "ms", "ms, slowest round", "errors", "wrong answers")
    print_table(f"{callers} identical requests at once, upstream of 50 ms", columns, rows)
    idle_loop = median(late[IDLE.name])
    lines = [
        (name, *(f"{figure:,.2f}" for figure in (median(worst), max(worst), median(worst) - idle_loop)))
        for name, worst in sorted(late.items(), key=lambda item: median(item[1]))
    ]
    print_table(
        f"a 1 ms ticker's worst lateness in ms, {TASKS} tasks making {HITS} hits each",
        ("", "median round", "worst round", "over idle"),
        lines,
    )
    print()
    for variant in OURS:
        calls = max(crowds[variant.name].calls)
        verdict("(d)", f"{variant.name}: a stampede calls the upstream once", calls, 1, unit="calls")
    for variant in OURS:
        claim = f"{variant.name}: hits stall the loop no longer than idle + 5 ms"
        verdict("(e)", claim, median(late[variant.name]), idle_loop + 5, unit="ms")


def main() -> None:
    given = options(__doc__, requests=CALLERS, rounds=15)
    found = conditions((*OURS, *PEERS))
    crowds = asyncio.run(stampedes(given))
    late = asyncio.run(stalls(given))
    report(crowds, late, given.requests)
    if given.save:
        kept = {name: asdict(result) for name, result in crowds.items()}
        save(__file__, found, {"stampedes": kept, "worst_lateness_ms": late})


if __name__ == "__main__":
    main()
