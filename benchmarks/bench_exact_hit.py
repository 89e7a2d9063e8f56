"""What does an exact hit cost, and what does a miss add to the upstream's own time?

2,000 requests, each asked before; the time of the whole awaited call, from the request body to the parsed
answer. Then new requests to an upstream that answers at once: what remains is the cost of a miss.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import _ours as ours
import _peers as peers
from _harness import Case, Summary, Variant, opened, timed, turns, verified
from _report import Options, conditions, options, print_summaries, save, verdict
from _workload import Ask, Body, Upstream, answer_document, request_body

MISSES: Final = 200
"""New requests in one turn of a variant: a miss costs what a hundred hits cost, and fills memory."""


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
ON_MISS: Final = {
    variant.name
    for variant in (
        *(ours.MEMORY, ours.SQLITE, *CALLS),
        *(peers.DISKCACHE_THREAD, peers.CASHEWS_DISK),
    )
}


async def measure(given: Options) -> tuple[dict[str, Summary], dict[str, Summary]]:
    """Summaries of hits and of misses, by variant."""
    misses = max(1, min(MISSES, given.requests // 2))
    total = given.requests + misses * given.rounds
    answers = [answer_document(index) for index in range(total)]
    bodies = [request_body(index) for index in range(total)]
    known = bodies[: given.requests]
    async with opened((ALONE, *HITS), lambda: Upstream(answers)) as (alone, *caches):
        cases = await verified(caches, known)
        hits = await hitting(cases, known, given.rounds)
        missing = [alone, *(case for case in cases if case.name in ON_MISS)]
        missed: dict[str, list[list[int]]] = {case.name: [] for case in missing}
        for number, case in turns(missing, given.rounds):
            first = given.requests + number * misses
            missed[case.name].append(await timed(case.ask, bodies[first : first + misses]))
    return hits, {name: Summary.of(name, rounds) for name, rounds in missed.items()}


async def hitting(cases: Sequence[Case], known: Sequence[Body], rounds: int) -> dict[str, Summary]:
    samples: dict[str, list[list[int]]] = {case.name: [] for case in cases}
    for _, case in turns(cases, rounds):
        asked = case.upstream.calls
        samples[case.name].append(await timed(case.ask, known))
        if case.upstream.calls != asked:
            raise RuntimeError(f"{case.name} asked the upstream again while its hits were timed")
    return {name: Summary.of(name, rounds) for name, rounds in samples.items()}


def fastest(summaries: dict[str, Summary], variants: Sequence[Variant]) -> float | None:
    return min((summaries[v.name].median for v in variants if v.name in summaries), default=None)


def report(hits: dict[str, Summary], misses: dict[str, Summary]) -> None:
    def of(*variants: Variant) -> list[Summary]:
        return [hits[variant.name] for variant in variants if variant.name in hits]

    floor = hits[ours.FLOOR.name].median
    memory = hits[ours.MEMORY.name].median
    cold = hits[ours.COLD.name].median
    call, bare, off_loop = fastest(hits, CALLS), fastest(hits, BARE), fastest(hits, OFF_LOOP)
    in_memory = (ours.FLOOR, ours.MEMORY, ours.RESPELLED, ours.SQLITE, *CALLS)
    beside_bare = (ours.FLOOR, ours.MEMORY, *BARE)
    from_sqlite = (ours.HOP, ours.COLD, *OFF_LOOP)
    print_summaries("hit", of(*in_memory), floor=floor, peer=call)
    print_summaries("hit, beside bare stores in memory", of(*beside_bare), floor=floor, peer=bare)
    print_summaries("hit, read from SQLite off the event loop", of(*from_sqlite), floor=floor, peer=off_loop)
    alone = misses[ALONE.name].median
    print_summaries(
        "miss, upstream of 0 ms (x floor: of the upstream alone)",
        list(misses.values()),
        floor=alone,
        peer=fastest(misses, CALLS),
    )
    print()
    verdict("(a)", "a hit in memory takes 0.6 of the fastest peer's", memory, call and 0.6 * call)
    verdict("(a)", "a hit in memory takes 4 floors", memory, 4 * floor)
    verdict("(a)", "the same, bare stores that decode nothing included", memory, bare and 0.6 * bare)
    half = off_loop and 0.5 * off_loop
    verdict("(b)", "a hit in SQLite takes 0.5 of the fastest peer's off the loop", cold, half)
    added = misses[ours.SQLITE.name].median - alone
    verdict("(c)", "a miss adds 500 us, its commit included", added, 500)


def main() -> None:
    given = options(__doc__, requests=2_000, rounds=15)
    found = conditions(HITS)
    hits, misses = asyncio.run(measure(given))
    report(hits, misses)
    if given.save:
        save(
            __file__,
            found,
            {
                "hits": [asdict(summary) for summary in hits.values()],
                "misses": [asdict(summary) for summary in misses.values()],
            },
        )


if __name__ == "__main__":
    main()
