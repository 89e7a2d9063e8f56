"""Is the promise kept? Seeded runs over a stream whose topics change half-way, with a judge that errs.

What runs is what ships: the pair score, the local calibration, ``Knowledge`` and ``Promise``. Only the
search is made beforehand, and each pair is scored once for all runs.

    python benchmarks/bench_promise.py --stream FILE [--folds FILE] [--runs 100] [--save]
"""

from __future__ import annotations

import argparse
import json
import random
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from _decision_scores import Scores
from _decision_stream import Stream, read
from numpy.typing import NDArray

from asynccache._judging import Label
from asynccache.decision._evidence import SEEN
from asynccache.decision._local import around
from asynccache.decision._sentences import says_more
from asynccache.decision.knowledge import Knowledge
from asynccache.decision.promised import LOWEST, NEIGHBOURS, PRIOR

BOUNDS: Final = (0.01, 0.02, 0.05)
FROM: Final = 2000
"""Requests after which the promise is looked at."""
LENGTH: Final = 8000
SCORED: Final = 3
ERRS: Final = 0.05
"""Share of labels the judge gets wrong, either way."""
FAMILY: Final = bytes(16)


class Run(NamedTuple):
    """What came of one run, from request FROM on."""

    hits: int
    wrong: int
    covered: bool
    """Whether the interval reported at the end holds the share of the hits in its window that was wrong."""
    reported: tuple[float, float, float]
    truth: float
    seen: int
    closed: float
    """Share of the requests at which nothing could be served."""

    @property
    def kept(self) -> float:
        return self.wrong / self.hits if self.hits else 0.0


def drifting(stream: Stream, seed: int, length: int) -> list[int]:
    """Questions of some topics, then of others: by class, or (every second seed) by source."""
    drawn = random.Random(seed)
    names = stream.sources if seed % 2 else stream.classes
    kinds = sorted(set(names))
    drawn.shuffle(kinds)
    first = set(kinds[: len(kinds) // 2])
    halves: list[list[int]] = [[], []]
    for at, name in enumerate(names):
        halves[name not in first].append(at)
    for half in halves:
        drawn.shuffle(half)
    sizes = min(length // 2, len(halves[0])), min(length // 2, len(halves[1]))
    return [*halves[0][: sizes[0]], *halves[1][: sizes[1]]]


class Neighbours:
    """The nearest of all questions, so that an order of asking needs no search."""

    DEPTH: Final = 256

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        count = len(vectors)
        self.vectors = vectors
        self.near = np.zeros((count, self.DEPTH), np.int32)
        for start in range(0, count, 512):
            cosines = vectors[start : start + 512] @ vectors.T
            cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -2
            top = np.argpartition(-cosines, self.DEPTH, axis=1)[:, : self.DEPTH]
            order = np.argsort(-np.take_along_axis(cosines, top, axis=1), axis=1)
            self.near[start : start + 512] = np.take_along_axis(top, order, axis=1)

    def stored(self, asked: int, stored: NDArray[np.bool_]) -> tuple[list[int], NDArray[np.float32]]:
        """The nearest that are stored, and their cosines; far ones may be missing."""
        row = self.near[asked]
        found = row[stored[row]][:NEIGHBOURS]
        return found.tolist(), self.vectors[found] @ self.vectors[asked]


def run(
    stream: Stream, near: Neighbours, scores: Scores, *, bound: float, seed: int, audit: float, length: int
) -> Run:
    """One run."""
    drawn = random.Random(f"{seed} {bound}")
    knowledge = Knowledge(PRIOR)
    lessons = knowledge.lessons(scores.version)
    promise = lessons.promise
    stored = np.zeros(len(stream), bool)
    hits = wrong = seen = closed = number = 0
    since = min(FROM, length // 4)
    window: list[bool] = []  # of the hits, whether wrong, and after how many decided questions they came
    decided: list[int] = []
    questions = 0  # decided: those with a candidate
    for number, asked in enumerate(drifting(stream, seed, length)):
        limit = promise.limit(FAMILY, bound)
        served = right = False
        found, cosines = near.stored(asked, stored)
        usable = [n for n in range(min(SCORED, len(found))) if cosines[n] >= LOWEST]
        if usable:
            given = scores(asked, np.array([found[n] for n in usable]))
            best = int(given.argmax())
            other = found[usable[best]]
            known = around(cosines, lessons.known([KEYS[n] for n in found]), usable[best])
            score = float(given[best])
            likely = scores.calibrated(asked, other, score, float(cosines[usable[best]]), known)
            pair = (asked, other)
            if pair not in MORE:
                MORE[pair] = says_more(stream.prompts[asked], scores.texts[other]) or says_more(
                    stream.prompts[other], scores.texts[asked]
                )
            served = likely >= limit and not MORE[pair]
            promise.see(FAMILY, likely, served=served)
            questions += 1
            right = stream.right(asked, other)
            if not served or drawn.random() < audit:
                said = right if drawn.random() >= ERRS else not right
                label = Label(
                    KEYS[other],
                    KEYS[asked],
                    FAMILY,
                    scores.version,
                    score,
                    likely,
                    said,
                    "audit" if served else "miss",
                    ERRS,
                    ERRS,
                    0.0,
                    b"",
                )
                knowledge.take(label)
        if not served:
            stored[asked] = True
        elif number >= since:
            hits += 1
            wrong += not right
        if served:
            window.append(not right)
            decided.append(questions)
        if number >= since:
            seen += 1
            closed += limit == float("inf")
    estimate = promise.estimate()
    recent = [bad for bad, at in zip(window, decided, strict=True) if at > questions - SEEN]
    truth = sum(recent) / len(recent) if recent else 0.0
    covered = estimate is None or not recent or estimate.low <= truth <= estimate.high
    told = (0.0, 0.0, 1.0) if estimate is None else (estimate.rate, estimate.low, estimate.high)
    return Run(hits, wrong, covered, told, truth, seen, closed / max(1, seen))


KEYS: list[bytes] = []
MORE: dict[tuple[int, int], bool] = {}


def main() -> None:
    """Run, print, and save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stream", type=Path, help="JSON lines (.gz or not): source, prompt, cls")
    parser.add_argument(
        "--folds", type=Path, help="score what was trained on by weights that never saw its class"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--vectors", type=Path, help="where the vectors are kept for the next time")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--length", type=int, default=LENGTH)
    parser.add_argument("--audit", type=float, default=0.02)
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    if given.stream is None:
        print("give --stream FILE: JSON lines of source, prompt and cls, as for bench_decision.py")
        return
    stream = read(given.stream, given.vectors)
    KEYS[:] = [sha256(str(at).encode()).digest() for at in range(len(stream))]
    near, scores = Neighbours(stream.vectors), Scores(stream, given.folds, stream.space)
    table = {}
    print(
        f"{given.runs} runs of {given.length:,} requests, topics changing half-way; from request {FROM:,} on"
    )
    print(f"judge wrong {ERRS:.0%} of the time; {given.audit:.0%} of the hits audited")
    print("max_error  kept  covered   hit rate: median (least)   wrong/hits: median, 95 %, worst   closed")
    for bound in BOUNDS:
        runs = [
            run(stream, near, scores, bound=bound, seed=seed, audit=given.audit, length=given.length)
            for seed in range(given.first, given.first + given.runs)
        ]
        rates = sorted(each.hits / each.seen for each in runs)
        errors = sorted(each.kept for each in runs)
        row = {
            "kept": sum(each.kept <= bound for each in runs) / len(runs),
            "covered": sum(each.covered for each in runs) / len(runs),
            "hit_rate_median": rates[len(rates) // 2],
            "hit_rate_least": rates[0],
            "wrong_median": errors[len(errors) // 2],
            "wrong_95": errors[int(len(errors) * 0.95)],
            "wrong_worst": errors[-1],
            "closed": sum(each.closed for each in runs) / len(runs),
        }
        table[str(bound)] = row
        print(
            f"{bound:9}  {row['kept']:4.0%}  {row['covered']:7.0%}   {row['hit_rate_median']:.1%} "
            f"({row['hit_rate_least']:.1%})   {row['wrong_median']:.2%}, {row['wrong_95']:.2%}, "
            f"{row['wrong_worst']:.2%}   {row['closed']:.0%}"
        )
    if given.save:
        kept = {
            "folds": given.folds is not None,
            "runs": given.runs,
            "length": given.length,
            "audit": given.audit,
            "judge_errs": ERRS,
        }
        (Path(__file__).parent / "results" / "bench_promise.json").write_text(
            json.dumps({**kept, "bounds": table}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
