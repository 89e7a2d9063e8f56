"""What does deciding cost: a question read, three candidates scored, and what an entry keeps for it?

All in one thread and without an event loop. The candidates' texts are read beforehand and kept, or read with
every question. The questions are made from the lists of the training questions' kind: a dozen words each.
"""

from __future__ import annotations

import argparse
import random
import sys
import tracemalloc
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, Final

import numpy as np
from _harness import Summary
from _report import conditions, print_table, save, verdict
from numpy.typing import NDArray

from asynccache.decision import PairScore, Prepared, prepare
from asynccache.decision._local import around
from asynccache.decision.records import Known
from asynccache.embedders import FastEmbedEmbedder

CANDIDATES: Final = 3
NEAREST: Final = 16
DIM: Final = 384
LIMIT: Final = 300.0  # microseconds
_PARTS: Final = (
    ("How do I", "What is the best way to", "How can I", "Please tell me how to"),
    ("transfer", "withdraw", "send", "move", "exchange", "deposit"),
    ("500 euros", "some money", "20 dollars", "my salary", "1,000 pounds"),
    ("from my savings account", "from the joint account", "from an old credit card"),
    ("to another bank in Spain?", "to my brother in Canada?", "before the end of the week?"),
)

Candidates = list[tuple[Prepared, NDArray[np.float32] | None, float]]


def questions(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choice(part) for part in _PARTS) for _ in range(count)]


def timed(call: Callable[[int], object], count: int) -> list[int]:
    taken: list[int] = []
    for at in range(count):
        start = perf_counter_ns()
        call(at)
        taken.append(perf_counter_ns() - start)
    return taken


def kept_bytes(texts: list[str]) -> float:
    """What keeping one text read costs, on average; the lexicon is there already."""
    prepare("so that the lexicon is read")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = [prepare(text) for text in texts]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return grown / len(held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the questions")
    parser.add_argument("--save", action="store_true", help="keep the raw result in benchmarks/results")
    given = parser.parse_args()
    count = 500 if given.quick else 5_000
    told = conditions(())
    asked, stored = questions(count, 1), questions(count * CANDIDATES, 2)
    random_numbers = np.random.default_rng(3)
    vector = random_numbers.standard_normal(DIM).astype(np.float32)
    near = [float(cosine) for cosine in random_numbers.uniform(0.7, 0.98, len(stored))]
    cosines = np.sort(random_numbers.uniform(0.4, 0.98, NEAREST))[::-1]
    known = Known(
        random_numbers.uniform(-1, 1, NEAREST),
        random_numbers.uniform(0, 1, NEAREST),
        random_numbers.integers(0, 4, NEAREST, np.uint32),
    )
    read = [prepare(text) for text in stored]
    scores = {"as shipped, bundled model": PairScore.load(_space()), "another model": PairScore.load(None)}

    def pairs(at: int, texts: list[Prepared]) -> Candidates:
        return [(text, vector, near[at * CANDIDATES + place]) for place, text in enumerate(texts)]

    def decided(score: PairScore, found: NDArray[np.float64]) -> float:
        best = int(found.argmax())
        return score.calibrated(float(found[best]), float(cosines[best]), around(cosines, known, best))

    summaries: list[Summary] = []
    for name, score in scores.items():

        def kept(at: int, score: PairScore = score) -> float:
            found = score(
                prepare(asked[at]), vector, pairs(at, read[at * CANDIDATES : (at + 1) * CANDIDATES])
            )
            return decided(score, found)

        def fresh(at: int, score: PairScore = score) -> float:
            texts = [prepare(text) for text in stored[at * CANDIDATES : (at + 1) * CANDIDATES]]
            found = score(prepare(asked[at]), vector, pairs(at, texts))
            return decided(score, found)

        for variant, call in (("candidates kept read", kept), ("candidates read anew", fresh)):
            timed(call, count // 10)
            summaries.append(Summary.of(f"{name}, {variant}", [timed(call, count)]))
    summaries.append(Summary.of("a question read", [timed(lambda at: prepare(asked[at]), count)]))
    nearby = timed(lambda _: around(cosines, known, 0).shift, count)
    summaries.append(Summary.of("the labels nearby", [nearby]))
    rows = [
        (s.name, f"{s.n:,}", *(f"{value:,.1f}" for value in (s.median, s.p90, s.p99, s.max)))
        for s in summaries
    ]
    print_table("one decision", ("microseconds", "n", "median", "p90", "p99", "max"), rows)
    memory = {
        "bytes of a text kept read": round(kept_bytes(stored[:2_000])),
        "bytes of a reference": _pointer(),
    }
    print(memory)
    for s in summaries[:2]:
        verdict(s.name, "p50", s.median, LIMIT)
    if given.save:
        found: dict[str, Any] = {
            s.name: {"n": s.n, "p50": s.median, "p90": s.p90, "p99": s.p99} for s in summaries
        }
        save(__file__, told, {"microseconds": found, "memory": memory})


def _pointer() -> int:
    return sys.getsizeof((None,)) - sys.getsizeof(())


def _space() -> bytes:
    """The bundled model's fingerprint."""
    import asyncio

    async def ask() -> bytes:
        embedder = FastEmbedEmbedder()
        async with embedder.lifespan():
            await embedder.embed(["which model is this"])
            return embedder.fingerprint

    return asyncio.run(ask())


if __name__ == "__main__":
    main()
