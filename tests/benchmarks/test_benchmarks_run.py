"""The benchmarks run from end to end. What they measure is not judged here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in ROOT.glob("benchmarks/bench_*.py"))


def run(script: str) -> str:
    command = [sys.executable, "-W", "error", f"benchmarks/{script}", "--requests", "3", "--rounds", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=55, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_benchmark_measures_every_variant_of_ours(script: str) -> None:
    printed = run(script)
    assert "not timed" not in printed
    for variant in ("asynccache memory", "asynccache sqlite", "asynccache sqlite, cold"):
        assert f"\n  {variant}  " in printed


def test_stampede_of_three_calls_the_upstream_once() -> None:
    assert "PASS  (d) asynccache memory: a stampede calls the upstream once: 1.00 calls" in run(
        "bench_stampede.py"
    )
