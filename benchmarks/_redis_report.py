"""The tables and verdicts of the Redis benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import _redis_ours as ours
import _redis_peers as peers
from _harness import Summary, Variant
from _report import print_summaries, print_table, verdict

TASKS: Final = 64
"""At once, where the goals are set."""
_COLUMNS: Final = ("hits", "per second", "us each", "us of CPU", "x floor", "x fastest peer")


@dataclass(frozen=True)
class Level:
    """With so many tasks at once, by variant: a hit's time, and the CPU its process takes for it (us).

    ``missed`` are calls that should have been hits: a store may give up on a server that is slow to answer.
    """

    tasks: int
    hits: dict[str, Summary]
    cpu: dict[str, float]
    missed: dict[str, int]

    def fastest(self, names: Iterable[str]) -> float | None:
        return min((self.hits[name].median for name in names if name in self.hits), default=None)

    def show(self, title: str, rows: Sequence[str], floor: str, rivals: Sequence[str]) -> None:
        """Print a table, fastest first; ratios are of times, against the floor and the fastest rival."""
        measured = [self.hits[name] for name in (*rows, *rivals) if name in self.hits]
        base, peer = self.hits[floor].median, self.fastest(rivals)
        if self.tasks == 1:
            print_summaries(f"{title}, one task", measured, floor=base, peer=peer)
            return
        lines = [
            (
                s.name,
                f"{1e6 / s.median:,.0f}",
                f"{s.median:,.1f}",
                f"{self.cpu[s.name]:,.1f}",
                f"{s.median / base:.2f}",
                "" if peer is None else f"{s.median / peer:.2f}",
            )
            for s in sorted(measured, key=lambda summary: summary.median)
        ]
        print_table(f"{title}, {self.tasks} tasks at once", _COLUMNS, lines)


def report(levels: Sequence[Level]) -> None:
    floor = peers.floor(0).name
    for level in levels:
        level.show("from Redis", [floor, *_names(ours.in_redis(0))], floor, _names(peers.in_redis(0)))
    for level in levels:
        rows, rivals = _names(ours.in_memory_first(0)), _names(peers.in_memory_first(0))
        level.show("memory before Redis; the floor is memory alone", rows, ours.MEMORY, rivals)
    print()
    for level in levels:
        for name, count in level.missed.items():
            print(f"missed: {count} calls of {name}, tasks at once: {level.tasks}")
    _judge(next(level for level in levels if level.tasks == TASKS))


def _judge(level: Level) -> None:
    peer = level.fastest(_names(peers.in_redis(0)))
    if cold := level.hits.get(ours.REDIS):
        claim = f"{TASKS} tasks: a hit in Redis takes a quarter of the fastest peer's"
        verdict("(r)", claim, cold.median, peer and peer / 4)
    for ending in ("", ours.WHOLE):
        tiered, memory = level.hits.get(ours.TIERED + ending), level.hits.get(ours.MEMORY + ending)
        if tiered and memory:
            claim = f"{TASKS} tasks: memory before Redis takes 1.5 of memory alone{ending}"
            verdict("(r)", claim, tiered.median, 1.5 * memory.median)


def _names(variants: Iterable[Variant]) -> list[str]:
    return [variant.name for variant in variants]
