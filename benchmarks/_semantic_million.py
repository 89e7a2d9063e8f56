"""One long run of ours alone: many entries stored, indexed while served, saved, and opened again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

import _semantic_fresh as fresh
import _semantic_ours as ours
import numpy as np
from _harness import TURN, Summary, crowded, timed
from _semantic_workload import (
    NEAR,
    Judge,
    Model,
    Questions,
    Rows,
    Table,
    clustered,
    entry_text,
    file_sizes,
    resident_bytes,
)
from _workload import Ask, Body
from bench_stampede import lateness

from asynccache import Embedding

TASKS: Final = 64
EACH: Final = 32
TURNS: Final = 5
LONE: Final = 500  # questions of the lone caller in a turn
SAMPLED: Final = 500
RECALL: Final = {"near questions": NEAR, "far questions": 0.8}
"""Cosine of a question to an entry. At 0.8 it would be no hit, and another entry may well be nearer."""
_GLANCE: Final = 20  # hits timed now and then while the index is being built
_GLANCES: Final = 200  # at most, which are what this many questions are kept for
_CHUNK: Final = 50_000  # entries compared with the sample at a time


async def run(entries: int, directory: Path) -> dict[str, Any]:
    """All of it; the figures by step, which are also printed as they come."""
    rows = clustered(entries, seed=entries)
    count = _GLANCES * _GLANCE + 2 * TURNS * TASKS * EACH + (TURNS + 1) * LONE + fresh.ASKED + 2
    asked = Questions.about(rows, count, cosine=NEAR, seed=1)
    table, feed = Table(asked), asked.bodies()
    found: dict[str, Any] = {"entries": entries}
    before = resident_bytes()

    def tell(step: str, figures: Any) -> None:
        found[step] = figures
        print(f"{step}: {figures}", flush=True)

    tell("storing, seconds", round(await ours.fill(directory, rows), 1))
    tell("files, stored", file_sizes(directory))
    tell("resident bytes, stored", resident_bytes() - before)
    opened = time.perf_counter()
    async with ours.semantic(Model(), directory, table, strict=False) as cache:
        tell("opened, seconds to the first hit", await ours.first_hit(cache.ask, asked, next(feed)))
        tell("while building", await _glances(cache, feed, entries))
        tell("index", dict(await ours.settled(cache.index)))
        tell("opened, seconds to the finished index", round(time.perf_counter() - opened - ours.IDLE, 1))
        tell("resident bytes, indexed", resident_bytes() - before)
        for step, figures in (await _served(cache.ask, asked, feed)).items():
            tell(step, figures)
        for name, cosine in RECALL.items():
            sample = Questions.about(rows, SAMPLED, cosine=cosine, seed=3)
            tell(f"recall@1, {name}", await _recall(cache, rows, sample))
        began = time.perf_counter()
        late = await lateness(cache.index.save)
        tell("saving", {"seconds": round(time.perf_counter() - began, 2), "ms_late": round(late, 1)})
        began = time.perf_counter()
    tell("closing, seconds", round(time.perf_counter() - began, 2))
    tell("files, saved", file_sizes(directory))
    tell("resident bytes, closed", resident_bytes() - before)
    async with ours.semantic(Model(), directory, table, strict=False) as cache:
        tell("restarted, seconds to the first hit", await ours.first_hit(cache.ask, asked, next(feed)))
        samples = await timed(cache.ask, list(islice(feed, LONE)))
        tell("restarted, one caller, us", asdict(Summary.of(ours.NAME, [samples])))
        tell("restarted, index", dict(await cache.index.measure()))
    for mode in fresh.MODES:
        tell(f"new process, {mode}", fresh.measured(mode, directory, asked.part(-fresh.ASKED, None)))
    return found


async def _glances(cache: ours.Cache, feed: Iterator[Body], entries: int) -> list[dict[str, float]]:
    """A few hits now and then, until all vectors are in the graph."""
    looks: list[dict[str, float]] = []
    began = time.perf_counter()
    while (state := await cache.index.measure())["in_tails"] and len(looks) < _GLANCES:
        samples: list[int] = []
        late = await lateness(partial(_noted, cache.ask, list(islice(feed, _GLANCE)), samples))
        looks.append(
            {
                "seconds": round(time.perf_counter() - began, 1),
                "in_graph": state["in_graphs"],
                "median_us": round(median(samples) / 1000),
                "max_us": round(max(samples) / 1000),
                "ms_late": round(late, 1),
            }
        )
        print(looks[-1], flush=True)
        await asyncio.sleep(entries / 50_000)
    return looks


async def _noted(ask: Ask, bodies: list[Body], samples: list[int]) -> None:
    samples += await timed(ask, bodies)


async def _served(ask: Ask, asked: Questions, feed: Iterator[Body]) -> dict[str, Any]:
    judge = Judge(asked)
    ask = judge.around(ask)

    def many() -> Awaitable[float]:
        return crowded(ask, list(islice(feed, TASKS * EACH)), tasks=TASKS, each=EACH)

    async def lates(work: Callable[[], Awaitable[object]]) -> list[float]:
        return [round(await lateness(work), 2) for _ in range(TURNS)]

    alone = [await timed(ask, list(islice(feed, LONE))) for _ in range(TURNS)]
    return {
        "one caller, us": asdict(Summary.of(ours.NAME, alone)),
        f"{TASKS} tasks, hits a second": [round(1e9 / await many()) for _ in range(TURNS)],
        f"{TASKS} tasks, ms late": await lates(many),
        "idle, ms late": await lates(partial(asyncio.sleep, TURN)),
        "right answers": judge.share,
    }


async def _recall(cache: ours.Cache, entries: Rows, sample: Questions) -> float:
    """Share of questions whose nearest entry, found by comparing all, is the one the index finds."""
    best, nearest = np.full(len(sample.rows), -2.0), np.zeros(len(sample.rows), dtype=np.int64)
    for first in range(0, len(entries), _CHUNK):
        cosines = sample.rows @ entries[first : first + _CHUNK].T
        places = cosines.argmax(axis=1)
        highest = cosines[np.arange(len(places)), places]
        nearest = np.where(highest > best, first + places, nearest)
        best = np.maximum(highest, best)
    right = 0
    for row, place in zip(sample.rows, nearest.tolist(), strict=True):
        identity = ours.identity_of(entry_text(place))
        found = await cache.index.nearest(identity.partition, Embedding(Table.fingerprint, row.tobytes()), 1)
        right += [each.key for each in found] == [identity.key]
    return right / len(sample.rows)
