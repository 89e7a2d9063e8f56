"""The benchmarks run from end to end; what they measure is nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str) -> str:
    command = [sys.executable, "-W", "error", str(BENCHMARKS / script), "--requests", "3", "--rounds", "1"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("script", sorted(path.name for path in BENCHMARKS.glob("bench_*.py")))
def test_benchmark_measures_every_variant_of_ours(script: str) -> None:
    printed = run(script)
    assert "not timed" not in printed
    for variant in ("asynccache memory", "asynccache sqlite", "asynccache sqlite, cold"):
        assert f"\n  {variant}  " in printed


def test_stampede_of_three_calls_the_upstream_once() -> None:
    assert "PASS  (d) asynccache memory: a stampede calls the upstream once: 1.00 calls" in run(
        "bench_stampede.py"
    )
