"""How many questions does a semantic decision answer, and how many of these answers are wrong?

A stream of questions whose answers are known to be equal or not: each looks up the nearest stored ones, a
policy says hit or miss, and a miss is stored. No question stands in it twice, so exact repeats, of which
practice is full, add to no hit rate. **wrong/hits** is what a user feels: the share of answers served from
the cache that are wrong. What was trained on is scored by weights that never saw its class (``--folds``).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from _decision_languages import NAMES, PAIRS
from _decision_peers import guarded, vcache
from _decision_policies import Judge, Outcome, cosine, ours
from _decision_scores import Scores
from _decision_stream import Stream, read
from _report import conditions, save

from asynccache.decision import foreign, prepare

THRESHOLDS: Final = {"max_error=0.01": 2.4, "max_error=0.02": 2.1, "max_error=0.05": 1.6}
BALANCED: Final = "max_error=0.02"
LIMITS: Final = (0.01, 0.02, 0.05)
SCAN: Final = np.arange(0.4, 3.6, 0.1)
COSINES: Final = {
    "cosine 0.60 (GPTCache's default evaluation)": 0.60,
    "cosine 0.70 (LangChain, usual)": 0.70,
    "cosine 0.80 (LangChain, usual)": 0.80,
    "cosine 0.90 (RedisVL's default distance)": 0.90,
    "cosine 0.92": 0.92,
    "cosine 0.95": 0.95,
}
COSINE_SCAN: Final = np.arange(0.60, 1.0, 0.01)
DELTAS: Final = (0.01, 0.02, 0.05)
NOISY: Final = Judge(missed=0.10, accepted=0.02)


def line(name: str, outcome: Outcome, **more: float) -> dict[str, Any]:
    return {
        "policy": name,
        "requests": len(outcome.served),
        "hits": outcome.hits,
        "wrong": outcome.wrong,
        "hit_rate": round(outcome.hit_rate, 5),
        "wrong_rate": round(outcome.wrong_rate, 5),
        **more,
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        print(
            f"  {row['policy']:<52}{row['hit_rate']:>8.1%} hits {row['wrong_rate']:>7.2%} wrong/hits"
            f"   ({row['wrong']:,} of {row['hits']:,})"
        )


def policies(stream: Stream, scores: Scores) -> list[dict[str, Any]]:
    guard = guarded(stream.prompts)
    return [
        *(line(f"ours, {name} (t = {t})", ours(stream, scores, t)) for name, t in THRESHOLDS.items()),
        *(line(name, cosine(stream, least)) for name, least in COSINES.items()),
        *(
            line(f"{name[:11]} with lexical guards", cosine(stream, least, guard))
            for name, least in COSINES.items()
        ),
        *(line(f"vCache, delta {delta}", vcache(stream, delta)) for delta in DELTAS),
    ]


def best(runs: Sequence[tuple[float, Outcome]]) -> list[dict[str, float] | None]:
    """For each limit the highest hit rate that keeps it, and at which threshold."""
    found: list[dict[str, float] | None] = []
    for limit in LIMITS:
        kept = [
            (run.hit_rate, at, run.wrong_rate) for at, run in runs if run.hits and run.wrong_rate <= limit
        ]
        found.append(
            dict(zip(("hit_rate", "threshold", "wrong_rate"), max(kept), strict=True)) if kept else None
        )
    return found


def frontier(stream: Stream, scores: Scores) -> dict[str, list[dict[str, float] | None]]:
    guard = guarded(stream.prompts)
    runs: dict[str, Callable[[float], Outcome]] = {
        "ours": lambda t: ours(stream, scores, t),
        "ours, judge misses 10 % and accepts 2 %": lambda t: ours(stream, scores, t, NOISY),
        "cosine": lambda t: cosine(stream, t),
        "cosine with lexical guards": lambda t: cosine(stream, t, guard),
    }
    return {
        name: best([(float(t), run(float(t))) for t in (SCAN if name.startswith("ours") else COSINE_SCAN)])
        for name, run in runs.items()
    }


def mixes(stream: Stream, scores: Scores) -> list[dict[str, Any]]:
    """The balanced threshold on each source alone, on pairs of them, with and without the minimal edits."""
    edits = [source for source in sorted(set(stream.sources)) if source.startswith("edit_")]
    plain = [source for source in sorted(set(stream.sources)) if source not in edits]
    chosen: dict[str, set[str]] = {name: {name} for name in plain}
    chosen |= {f"{a} + {b}": {a, b} for at, a in enumerate(plain) for b in plain[at + 1 :]}
    chosen["all but edits"] = set(plain)
    chosen |= {f"{name} + edits": {name, *edits} for name in plain}
    chosen["all"] = set(stream.sources)
    rows: list[dict[str, Any]] = []
    for name, sources in chosen.items():
        kept = [at for at, source in enumerate(stream.sources) if source in sources]
        part = stream.part(kept)
        outcome = ours(part, scores.part(kept, part), THRESHOLDS[BALANCED])
        edited = np.array([source in edits for source in part.sources])
        served = int(((outcome.served >= 0) & ~outcome.right & edited).sum())
        rows.append(line(name, outcome, edits=int(edited.sum()), edits_served_wrongly=served))
    return rows


def languages() -> dict[str, int]:
    """How many questions of other languages are left alone, and how many English ones are not."""
    elsewhere = [text for _, *texts in PAIRS for text in texts]
    here = [text for pair in NAMES for text in pair.split("|")]
    return {
        "pairs": len(PAIRS),
        "pairs read": sum(not any(foreign(prepare(text)) for text in texts) for _, *texts in PAIRS),
        "texts": len(elsewhere),
        "texts left alone": sum(foreign(prepare(text)) for text in elsewhere),
        "English texts with foreign names": len(here),
        "of these read": sum(not foreign(prepare(text)) for text in here),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream", type=Path, help="JSON lines (.gz or not): source, prompt, cls")
    parser.add_argument(
        "--folds", type=Path, help="weights for what was trained on (train_decision.py --folds)"
    )
    parser.add_argument("--vectors", type=Path, help="keep the vectors here for the next run")
    parser.add_argument("--quick", action="store_true", help="the first 3,000 questions, no mixes")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results")
    given = parser.parse_args()
    if given.stream is None:
        print(
            "bench_decision: no --stream given. The question sets it needs may not be redistributed here.\n"
            "Give a file of JSON lines with source, prompt and cls (equal where one answer is right), in\n"
            "order; pairs of different classes with one answer may stand in adjudicated.jsonl beside it."
        )
        return
    told = conditions(())
    stream = read(given.stream, given.vectors)
    if given.quick:
        stream = stream.part(range(min(3_000, len(stream))))
    scores = Scores(stream, given.folds, stream.space)
    ideal = 1 - len(set(stream.classes)) / len(stream)
    print(f"{len(stream):,} questions; {ideal:.1%} have an earlier one of their class")
    if given.folds is None:
        print("no --folds: questions of the training sets are scored by weights that know them")
    found: dict[str, Any] = {"questions": len(stream), "ideal": round(ideal, 4)}
    found["policies"] = policies(stream, scores)
    show(found["policies"])
    found["frontier"] = frontier(stream, scores)
    print("\nbest hit rate at wrong/hits of at most 1 / 2 / 5 %, any threshold")
    for name, cells in found["frontier"].items():
        text = " / ".join(
            "none" if c is None else f"{c['hit_rate']:.1%} (t {c['threshold']:.2f})" for c in cells
        )
        print(f"  {name:<52}{text}")
    found["generic"] = [
        line(f"another embedder's weights, t = {t}", ours(stream, Scores(stream, None, b""), t))
        for t in (0.8, *THRESHOLDS.values())
    ]
    show(found["generic"])
    found["noisy judge"] = [
        line(f"judge misses 10 %, accepts 2 %, {name}", ours(stream, scores, t, NOISY))
        for name, t in THRESHOLDS.items()
    ]
    show(found["noisy judge"])
    if not given.quick:
        print(f"\none threshold ({BALANCED}) on every mix")
        found["mixes"] = mixes(stream, scores)
        show(found["mixes"])
        print("  minimal edits served wrongly, of how many:")
        print(
            "   ",
            [
                (row["policy"], row["edits_served_wrongly"], row["edits"])
                for row in found["mixes"]
                if row["edits"]
            ],
        )
    found["languages"] = languages()
    print("\nother languages:", found["languages"])
    if given.save:
        save(__file__, told, found)


if __name__ == "__main__":
    main()
