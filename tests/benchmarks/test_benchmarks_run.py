"""The benchmarks run from end to end. What they measure is not judged here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVERY_STORE = ("asynccache memory", "asynccache sqlite", "asynccache sqlite, cold")
OURS = {
    "bench_embedding.py": ("asynccache",),
    "bench_exact_hit.py": EVERY_STORE,
    "bench_semantic.py": ("asynccache sqlite",),
    "bench_stampede.py": EVERY_STORE,
}
"""The rows of ours that a benchmark must print."""
SMALL = {"bench_semantic.py": ("--sizes", "60")}
GRAPH = "2500"  # entries: few, and yet too many for every search to compare them all


def run(script: str, *options: str) -> str:
    command = [sys.executable, "-W", "error", f"benchmarks/{script}", "--requests", "3", "--rounds", "1"]
    command += options
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=55, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_every_benchmark_is_known_here() -> None:
    assert sorted(path.name for path in ROOT.glob("benchmarks/bench_*.py")) == sorted(OURS)


@pytest.mark.parametrize("script", OURS)
def test_benchmark_measures_every_variant_of_ours(script: str) -> None:
    printed = run(script, *SMALL.get(script, ()))
    assert "not timed" not in printed
    for variant in OURS[script]:
        assert f"\n  {variant}  " in printed


def test_stampede_of_three_calls_the_upstream_once() -> None:
    assert "PASS  (d) asynccache memory: a stampede calls the upstream once: 1.00 calls" in run(
        "bench_stampede.py"
    )


@pytest.mark.parametrize("entries", ["60", GRAPH])
def test_each_semantic_question_gets_the_answer_it_was_made_for(entries: str) -> None:
    printed = run("bench_semantic.py", "--sizes", entries)
    assert f"== {int(entries):,} entries" in printed
    assert "PASS  (h) wrong or missed, of 1,000: 0.00 questions" in printed


def test_long_semantic_run_goes_from_an_empty_store_to_a_restart_from_its_snapshot() -> None:
    printed = run("bench_semantic.py", "--million", GRAPH)
    assert "right answers: 1.0" in printed
    assert "recall@1, near questions: 1.0" in printed
    assert "'snapshots_loaded': 1" in printed
