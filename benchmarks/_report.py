"""The benchmarks' command line, their tables and verdicts, and the raw results they keep."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson
from _harness import Summary, Variant
from _workload import answer_document, request_body

_COLUMNS = ("microseconds", "n", "median", "p90", "p99", "max", "x floor", "x fastest peer")


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    requests: int
    rounds: int
    save: bool


def options(question: str | None, *, requests: int, rounds: int) -> Options:
    """Read the command line; the arguments are the full run's sizes."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests, a third of the rounds")
    parser.add_argument("--requests", type=int, help=f"default {requests:,}")
    parser.add_argument("--rounds", type=int, help=f"default {rounds}")
    parser.add_argument("--save", action="store_true", help="keep the raw result in benchmarks/results")
    given = parser.parse_args()
    if given.quick:
        requests, rounds = max(1, requests // 10), max(1, rounds // 3)
    return Options(given.requests or requests, given.rounds or rounds, given.save)


def conditions(variants: Sequence[Variant]) -> dict[str, Any]:
    """What the figures are measured with and under; also printed."""
    versions = {}
    for name in sorted({name for variant in variants for name in variant.distributions}):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "request_bytes": len(orjson.dumps(request_body(0))),
        "answer_bytes": len(orjson.dumps(answer_document(0))),
        "peers": versions,
    }
    print(
        f"Python {found['python']} on {found['machine']}, {found['cpus']} CPUs, load {found['load']}; "
        f"requests of {found['request_bytes']} bytes, answers of {found['answer_bytes']} bytes"
    )
    if versions:
        print("peers: " + ", ".join(f"{name} {number}" for name, number in versions.items()))
    return found


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns, the first flush left and the others flush right."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    print(f"\n{title}")
    for first, *others in (columns, *rows):
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  " + "  ".join((first.ljust(widths[0]), *cells)))


def print_summaries(title: str, summaries: Sequence[Summary], *, floor: float, peer: float | None) -> None:
    """Print summaries, fastest first; ``floor`` and ``peer`` are the medians they are compared with."""
    rows = [
        (
            s.name,
            f"{s.n:,}",
            *(f"{value:,.1f}" for value in (s.median, s.p90, s.p99, s.max)),
            f"{s.median / floor:,.1f}",
            "" if peer is None else f"{s.median / peer:.2f}",
        )
        for s in sorted(summaries, key=lambda summary: summary.median)
    ]
    print_table(title, _COLUMNS, rows)


def verdict(name: str, claim: str, measured: float, limit: float | None, *, unit: str = "us") -> None:
    """Print whether ``measured`` is within ``limit``; without a peer to set the limit, it is neither."""
    if limit is None:
        print(f"N/A   {name} {claim}: {measured:,.2f} {unit}, no peer was measured")
    else:
        word = "PASS" if measured <= limit else "FAIL"
        print(f"{word}  {name} {claim}: {measured:,.2f} {unit}, limit {limit:,.2f} {unit}")


def save(script: str, found: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Keep the raw result beside the benchmarks, in place of the last one kept."""
    path = Path(script).parent / "results" / f"{Path(script).stem}.json"
    document = {"conditions": dict(found), **results}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    print(f"\nkept in {path.parent.name}/{path.name}")
