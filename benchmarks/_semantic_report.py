"""What bench_semantic has measured, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import _semantic_ours as ours
from _harness import Summary
from _report import print_table, verdict

IDLE: Final = "idle loop"
_MANY: Final = 100_000
"""Entries from which on a hit may take longer, and what the tier takes by itself (some 10 MB: the buffers of
numpy and of threads) is small beside what it takes for them."""


@dataclass
class Figures:
    """What was measured with so many entries, by variant."""

    entries: int
    hits: dict[str, Summary] = field(default_factory=dict)
    crowds: dict[str, Summary] = field(default_factory=dict)
    """Wall clock per hit, 64 tasks asking at once."""
    late: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds by which the ticker was late at worst, in each round."""
    right: dict[str, float] = field(default_factory=dict)
    """Share of all answers that were the intended entry's."""
    built: dict[str, Any] = field(default_factory=dict)
    aliases: Summary | None = None
    parts: dict[str, float] = field(default_factory=dict)
    """Microseconds."""
    fresh: dict[str, dict[str, float]] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    """Bytes of ours; ``built`` has those of the others."""

    @property
    def tier_bytes(self) -> float:
        """What the semantic tier adds to a process that serves this store, for each entry."""
        return (self.fresh["with"]["bytes"] - self.fresh["without"]["bytes"]) / self.entries


def report(found: Figures) -> None:
    print(f"\n== {found.entries:,} entries")
    _print_hits(found)
    _print_costs(found)
    rows = [(name, f"{value:,.1f}") for name, value in found.parts.items()]
    print_table("what a hit of ours is made of, each by itself", ("microseconds", "median"), rows)
    print()
    _judge(found)


def _print_hits(found: Figures) -> None:
    fastest = _fastest(found)
    summaries = list(found.hits.values()) + ([found.aliases] if found.aliases else [])
    rows = [
        (
            each.name,
            f"{each.n:,}",
            *(f"{value:,.1f}" for value in (each.median, each.p90, each.p99, each.max)),
            "" if fastest is None else f"{each.median / fastest:.3f}",
        )
        for each in sorted(summaries, key=lambda each: each.median)
    ]
    columns = ("microseconds", "n", "median", "p90", "p99", "max", "x fastest peer")
    print_table("semantic hit, one caller", columns, rows)
    idle = median(found.late[IDLE])
    lines: list[Sequence[str]] = [(IDLE, "", f"{idle:,.2f}", f"{max(found.late[IDLE]):,.2f}", "", "")]
    for name, crowd in sorted(found.crowds.items(), key=lambda item: item[1].median):
        late = found.late[name]
        figures = (f"{1e6 / crowd.median:,.0f}", f"{median(late):,.2f}", f"{max(late):,.2f}")
        lines.append((name, *figures, f"{median(late) - idle:,.2f}", f"{found.right[name]:.2%}"))
    headings = ("", "hits/s", "ms late", "worst round", "over idle", "right answers")
    print_table("64 tasks at once, and a 1 ms ticker's worst lateness meanwhile", headings, lines)


def _print_costs(found: Figures) -> None:
    rows = []
    for name, built in found.built.items():
        size = sum((found.files if name == ours.NAME else built["files"]).values())
        rows.append((name, f"{built['seconds']:,.1f}", f"{size / found.entries:,.0f}"))
    print_table("storing all, and building the index", ("", "seconds", "bytes on disk per entry"), rows)
    start = found.fresh["start"]
    print_table(
        "ours, in a new process over that store",
        ("", ""),
        [
            ("memory the semantic tier adds, bytes/entry", f"{found.tier_bytes:,.0f}"),
            ("seconds from opening the pipeline to its first semantic hit", f"{start['seconds']:.3f}"),
            ("seconds from the start of the process to the same", f"{start['since_spawned']:.3f}"),
        ],
    )


def _fastest(found: Figures) -> float | None:
    return min((each.median for name, each in found.hits.items() if name != ours.NAME), default=None)


def _judge(found: Figures) -> None:
    hit, crowd = found.hits[ours.NAME].median, found.crowds[ours.NAME].median
    peer = _fastest(found)
    limit = 800 if found.entries < _MANY else 1_000
    verdict("(f)", f"a semantic hit takes {limit} us", hit, limit)
    verdict("(f)", "a semantic hit takes a twentieth of the fastest peer's", hit, peer and peer / 20)
    verdict("(g)", "64 tasks at once: 2,000 hits a second", crowd, 500)
    late, idle = median(found.late[ours.NAME]), median(found.late[IDLE])
    verdict("(g)", "hits stall the loop no longer than idle + 5 ms", late, idle + 5, unit="ms")
    verdict("(h)", "wrong or missed, of 1,000", 1_000 * (1 - found.right[ours.NAME]), 5, unit="questions")
    if found.entries >= _MANY:
        verdict("(i)", "the semantic tier adds 2.2 kB an entry", found.tier_bytes, 2_200, unit="bytes")
        verdict("(j)", "the first semantic hit after 2 s", found.fresh["start"]["seconds"], 2, unit="s")
