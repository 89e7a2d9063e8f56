"""The benchmarks run from end to end. What they measure is not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from asynccache.cli._workload import questions

ROOT = Path(__file__).parents[2]
EVERY_STORE = ("asynccache memory", "asynccache sqlite", "asynccache sqlite, cold")
OURS = {
    "bench_embedding.py": ("asynccache",),
    "bench_exact_hit.py": EVERY_STORE,
    "bench_prefix.py": ("as written", "tools sorted, time moved", "PrefixRouter"),
    "bench_proxy.py": ("asynccache memory", "asynccache sqlite", "asynccache redis", "alone", "in company"),
    "bench_redis.py": (
        *("asynccache redis", "asynccache redis, memory before it", "asynccache memory"),
        *("asynccache redis, pipeline", "asynccache redis, memory before it, pipeline"),
    ),
    "bench_semantic.py": ("asynccache sqlite",),
    "bench_stampede.py": EVERY_STORE,
}
"""The rows of ours that a benchmark must print."""
DECISIONS = ("bench_attack.py", "bench_decision.py", "bench_decision_cost.py", "bench_promise.py")
"""Those about the semantic decision, which time nothing but the cost."""
SMALL = {"bench_semantic.py": ("--sizes", "60")}
GRAPH = "2500"  # entries: few, and yet too many for every search to compare them all


@cache
def run(script: str, *options: str) -> str:
    """What it prints, which is looked at by more than one test."""
    return started(script, "--requests", "3", "--rounds", "1", *options)


def started(script: str, *options: str) -> str:
    command = [sys.executable, "-W", "error", f"benchmarks/{script}", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=55, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_every_benchmark_is_known_here() -> None:
    assert sorted(path.name for path in ROOT.glob("benchmarks/bench_*.py")) == sorted({*OURS, *DECISIONS})


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


@pytest.fixture
def stream(tmp_path: Path) -> str:
    """A stream of questions whose answers are known, from the demo's sample."""
    rows = [
        json.dumps({"source": intent[:1], "prompt": question, "cls": intent})
        for question, intent in list(questions().items())[::2]
    ]
    path = tmp_path / "stream.jsonl"
    path.write_text("\n".join(rows))
    return str(path)


@pytest.mark.parametrize("script", ["bench_decision.py", "bench_promise.py"])
def test_a_benchmark_of_decisions_says_what_it_needs(script: str) -> None:
    assert "--stream" in started(script)


def test_decisions_are_compared_on_any_stream(stream: str) -> None:
    printed = started("bench_decision.py", "--stream", stream, "--quick")
    for policy in ("ours, max_error=0.02", "cosine 0.95", "vCache, delta 0.02"):
        assert policy in printed


def test_a_promise_is_watched_on_any_stream(stream: str) -> None:
    printed = started("bench_promise.py", "--stream", stream, "--runs", "1", "--length", "200")
    assert "1 runs of 200 requests" in printed


def test_the_cost_of_a_decision_is_measured() -> None:
    assert "as shipped, bundled model" in started("bench_decision_cost.py", "--quick")


def test_attacks_are_found_and_tried() -> None:
    printed = started("bench_attack.py", "--climbs", "1", "--cold")
    assert " attacks with a cosine of 0.95 or more" in printed
