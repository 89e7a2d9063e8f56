"""What does a semantic hit cost, the embedding not counted?

Entries with vectors of 384 numbers in clusters of 50. Each question is new, and near to one entry: the time
of the whole awaited call, from the request body to the parsed answer, its vector looked up in a dict. The
same with 64 tasks calling at once, and how long that stalls the loop. Then what it takes besides: memory,
files, time to build, and time to start in a new process.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import _semantic_fresh as fresh
import _semantic_million as million
import _semantic_ours as ours
import _semantic_peers as peers
from _harness import TURN, Case, Summary, crowded, opened, timed, turns
from _report import conditions, save
from _semantic_report import IDLE, Figures, report
from _semantic_workload import NEAR, NEARER, Judge, Model, Questions, Table, clustered, file_sizes
from _workload import Body
from bench_stampede import lateness

SIZES: Final = (1_000, 10_000)
"""Numbers of entries. A peer takes minutes to store 100,000, so these must be asked for."""
GRAPH: Final = 2_000  # entries from which on ours builds a graph
TASKS: Final = 64
EACH: Final = 32  # questions of each task in a turn; a turn may end before all are asked
PARTS: Final = 500  # questions for each part of a hit
ALIASES: Final = 500  # questions whose hits write an alias


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    sizes: tuple[int, ...]
    requests: int
    rounds: int
    save: bool
    million: int | None


def options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 entries, a third of the rounds")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of entries")
    parser.add_argument("--requests", type=int, default=2_000, help="questions of the lone caller")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--save", action="store_true", help="keep the raw result in benchmarks/results")
    parser.add_argument(
        "--million",
        type=int,
        nargs="?",
        const=1_000_000,
        help="ours alone with so many entries, default 1,000,000: takes half an hour",
    )
    given = parser.parse_args()
    if given.million is not None and given.million <= GRAPH:
        parser.error(f"--million: with up to {GRAPH:,} entries there is nothing to build")
    if given.quick:
        given.sizes, given.rounds = SIZES[:1], max(1, given.rounds // 3)
    return Options(tuple(given.sizes), given.requests, given.rounds, given.save, given.million)


async def measure(entries: int, given: Options, directory: Path) -> Figures:
    """Everything with so many entries; our store stays in the directory."""
    rows = clustered(entries, seed=entries)
    crowd_rounds = max(1, given.rounds // 3)
    each = max(1, min(EACH, given.requests // TASKS))
    per_round = max(1, given.requests // given.rounds)
    parts = min(PARTS, given.requests)
    count = 1 + per_round * given.rounds + 2 * crowd_rounds * TASKS * each + parts + fresh.ASKED
    asked = Questions.about(rows, count, cosine=NEAR, seed=1)
    nearer = Questions.about(rows, min(ALIASES, given.requests), cosine=NEARER, seed=2)
    table, feed = Table(asked, nearer), islice(asked.bodies(), 1, None)  # the first is asked at the start
    found = Figures(entries)
    variants = (
        ours.sqlite(directory, rows, asked, table, found.built),
        *(peers.gptcache(base, rows, table, found.built) for base in peers.BASES),
    )
    async with opened(variants, Model) as cases:
        judges = {case.name: Judge(asked, nearer) for case in cases}
        judged = [replace(case, ask=judges[case.name].around(case.ask)) for case in cases]
        found.hits = await alone(judged, feed, rounds=given.rounds, each=per_round)
        found.crowds = await together(judged, feed, rounds=crowd_rounds, each=each)
        found.late = await stalls(judged, feed, rounds=crowd_rounds, each=each)
        mine = next(case for case in judged if case.name == ours.NAME)
        samples = await timed(mine.ask, list(nearer.bodies()))
        found.aliases = Summary.of(f"{ours.NAME}, each writes an alias", [samples])
        found.right = {name: judge.share for name, judge in judges.items()}
    found.files = file_sizes(directory)
    found.parts = await ours.parts(directory, rows, asked.part(-parts - fresh.ASKED, -fresh.ASKED), table)
    for mode in fresh.MODES:
        found.fresh[mode] = fresh.measured(mode, directory, asked.part(-fresh.ASKED, None))
    return found


async def alone(cases: Sequence[Case], feed: Iterator[Body], *, rounds: int, each: int) -> dict[str, Summary]:
    samples: dict[str, list[list[int]]] = {case.name: [] for case in cases}
    bodies = [list(islice(feed, each)) for _ in range(rounds)]
    for number, case in turns(cases, rounds):
        samples[case.name].append(await timed(case.ask, bodies[number]))
    return {name: Summary.of(name, taken) for name, taken in samples.items()}


async def together(
    cases: Sequence[Case], feed: Iterator[Body], *, rounds: int, each: int
) -> dict[str, Summary]:
    samples: dict[str, list[list[int]]] = {case.name: [] for case in cases}
    bodies = [list(islice(feed, TASKS * each)) for _ in range(rounds)]
    for number, case in turns(cases, rounds):
        samples[case.name].append([round(await crowded(case.ask, bodies[number], tasks=TASKS, each=each))])
    return {name: Summary.of(name, taken) for name, taken in samples.items()}


async def stalls(
    cases: Sequence[Case], feed: Iterator[Body], *, rounds: int, each: int
) -> dict[str, list[float]]:
    nothing = Case(IDLE, Model(), Model())
    late: dict[str, list[float]] = {case.name: [] for case in (nothing, *cases)}
    bodies = [list(islice(feed, TASKS * each)) for _ in range(rounds)]
    for number, case in turns((nothing, *cases), rounds):
        if case is nothing:
            worst = await lateness(partial(asyncio.sleep, TURN / 2))
        else:
            worst = await lateness(partial(crowded, case.ask, bodies[number], tasks=TASKS, each=each))
        late[case.name].append(round(worst, 2))
    return late


def run_million(entries: int, *, keep: bool) -> None:
    found = conditions([])
    with TemporaryDirectory(prefix="asynccache-bench-") as directory:
        results = asyncio.run(million.run(entries, Path(directory)))
    if keep:
        save(str(Path(__file__).with_name("bench_semantic_million.py")), found, results)


def main() -> None:
    given = options()
    if given.million:
        run_million(given.million, keep=given.save)
        return
    nobody = clustered(0, seed=0)
    found = conditions([peers.gptcache(base, nobody, Table(), {}) for base in peers.BASES])
    results = []
    for entries in given.sizes:
        with TemporaryDirectory(prefix="asynccache-bench-") as directory:
            figures = asyncio.run(measure(entries, given, Path(directory)))
        report(figures)
        results.append(asdict(figures))
    if given.save:
        save(__file__, found, {"sizes": results})


if __name__ == "__main__":
    main()
