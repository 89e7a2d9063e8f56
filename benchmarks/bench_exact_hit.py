"""What does an exact hit cost, and what does a miss add to the upstream's own time?

2,000 requests, each asked before; the time of the whole awaited call, from the request body to the parsed
answer. The same with 64 tasks calling at once, where hand-overs to a thread can be shared. Then new requests
to an upstream that answers at once: what remains is the cost of a miss.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import _ours as ours
import _peers as peers
from _harness import Case, Summary, Variant, crowded, opened, timed, turns, verified
from _report import Options, conditions, options, print_summaries, save, verdict
from _workload import Ask, Upstream, answer_document, request_body

MISSES: Final = 200
"""New requests in one turn of a variant: a miss costs what a hundred hits cost, and fills memory."""
TASKS: Final = 64
EACH: Final = 32  # hits of each task, so that all of them make about as many as there are requests


@asynccontextmanager
async def bare_upstream(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
    yield upstream


ALONE: Final = Variant("upstream alone", "what a miss costs without a cache", bare_upstream)

CALLS: Final = (
    peers.LITELLM,
    peers.GPTCACHE,
    peers.AIOCACHE,
    peers.CASHEWS,
    peers.DISKCACHE,
    peers.LANGCHAIN_SQLITE,
)
BARE: Final = (peers.AIOCACHE_UNTIMED, peers.AIOCACHE_BARE, peers.CASHEWS_BARE, peers.LANGCHAIN_MEMORY)
OFF_LOOP: Final = (
    peers.DISKCACHE_THREAD,
    peers.DISKCACHE_ONE_THREAD,
    peers.CASHEWS_DISK,
    peers.LANGCHAIN_SQLITE,
)
HITS: Final = (
    *(ours.FLOOR, ours.HOP, ours.MEMORY, ours.RESPELLED, ours.SQLITE, ours.COLD),
    *dict.fromkeys((*CALLS, *BARE, *OFF_LOOP)),
)
MISSING: Final = (*CALLS, peers.DISKCACHE_THREAD, peers.CASHEWS_DISK)
ON_MISS: Final = {variant.name for variant in (ours.MEMORY, ours.SQLITE, *MISSING)}


@dataclass(frozen=True)
class Figures:
    """Summaries by variant: of hits one by one, of 64 tasks' hits (wall clock per hit), of misses."""

    hits: dict[str, Summary]
    crowds: dict[str, Summary]
    misses: dict[str, Summary]


async def measure(given: Options) -> Figures:
    fresh = max(1, min(MISSES, given.requests // 2))
    total = given.requests + fresh * given.rounds
    answers = [answer_document(index) for index in range(total)]
    bodies = [request_body(index) for index in range(total)]
    known = bodies[: given.requests]

    async def one_by_one(case: Case, _: int) -> list[int]:
        return await timed(case.ask, known)

    async def together(case: Case, _: int) -> list[int]:
        return [round(await crowded(case.ask, known, tasks=TASKS, each=EACH))]

    async def new_ones(case: Case, number: int) -> list[int]:
        first = given.requests + number * fresh
        return await timed(case.ask, bodies[first : first + fresh])

    async with opened((ALONE, *HITS), lambda: Upstream(answers)) as (alone, *caches):
        cases = await verified(caches, known)
        asked = [case.upstream.calls for case in cases]
        hits = await taking_turns(cases, given.rounds, one_by_one)
        crowds = await taking_turns(cases, given.rounds, together)
        if asked != [case.upstream.calls for case in cases]:
            raise RuntimeError("the upstream was asked again while hits were timed")
        missing = [alone, *(case for case in cases if case.name in ON_MISS)]
        return Figures(hits, crowds, await taking_turns(missing, given.rounds, new_ones))


async def taking_turns(
    cases: Sequence[Case], rounds: int, turn: Callable[[Case, int], Awaitable[list[int]]]
) -> dict[str, Summary]:
    samples: dict[str, list[list[int]]] = {case.name: [] for case in cases}
    for number, case in turns(cases, rounds):
        samples[case.name].append(await turn(case, number))
    return {name: Summary.of(name, rounds) for name, rounds in samples.items()}


def fastest(summaries: dict[str, Summary], variants: Sequence[Variant]) -> float | None:
    return min((summaries[v.name].median for v in variants if v.name in summaries), default=None)


def report(figures: Figures) -> None:
    hits, crowds, misses = figures.hits, figures.crowds, figures.misses

    def show(title: str, of: dict[str, Summary], rivals: Sequence[Variant], *beside: Variant) -> None:
        rows = [of[v.name] for v in (*beside, *rivals) if v.name in of]
        print_summaries(title, rows, floor=of[beside[0].name].median, peer=fastest(of, rivals))

    show("hit", hits, CALLS, ours.FLOOR, ours.MEMORY, ours.RESPELLED, ours.SQLITE)
    show("hit, beside bare stores in memory", hits, BARE, ours.FLOOR, ours.MEMORY)
    show("hit, read from SQLite off the event loop", hits, OFF_LOOP, ours.HOP, ours.COLD)
    show(f"the same, {TASKS} tasks at once: wall clock per hit", crowds, OFF_LOOP, ours.HOP, ours.COLD)
    show(f"hit, {TASKS} tasks at once: wall clock per hit", crowds, CALLS, ours.FLOOR, ours.MEMORY)
    show("miss, upstream of 0 ms", misses, MISSING, ALONE, ours.MEMORY, ours.SQLITE)
    print()
    memory, cold = hits[ours.MEMORY.name].median, hits[ours.COLD.name].median
    call, bare, off_loop = (fastest(hits, rivals) for rivals in (CALLS, BARE, OFF_LOOP))
    together = fastest(crowds, OFF_LOOP)
    added = misses[ours.SQLITE.name].median - misses[ALONE.name].median
    verdict("(a)", "a hit in memory takes 0.6 of the fastest peer's", memory, call and 0.6 * call)
    verdict("(a)", "a hit in memory takes 4 floors", memory, 4 * hits[ours.FLOOR.name].median)
    verdict("(a)", "beside bare stores that decode nothing", memory, bare and 0.6 * bare)
    verdict("(b)", "a hit in SQLite takes 0.5 of the fastest peer's", cold, off_loop and 0.5 * off_loop)
    verdict(
        "(b)", f"the same, {TASKS} tasks at once", crowds[ours.COLD.name].median, together and 0.5 * together
    )
    verdict("(c)", "a miss adds 500 us, its commit included", added, 500)


def main() -> None:
    given = options(__doc__, requests=2_000, rounds=15)
    found = conditions(HITS)
    figures = asyncio.run(measure(given))
    report(figures)
    if given.save:
        save(__file__, found, asdict(figures))


if __name__ == "__main__":
    main()
