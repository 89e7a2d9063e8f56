"""How often is the built-in judge of answers wrong, and how often can it not tell?

    python tools/measure_judge.py          print the rates
    python tools/measure_judge.py --fit    print weights for asynccache/decision/_answer_score.py as well

The pairs are in tests/decision/data/answer_pairs.jsonl. By a hash of their family they fall into a half for
tuning, which weights and limits were fitted to, and a half held out. Families marked "later" were written
after that, and belong to neither. Of these two, together, the rates are that the judge ships: their upper
bounds (Clopper-Pearson, one-sided, 95 %), as if pairs of one family were independent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from math import comb
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asynccache._judging import AnswerPair
from asynccache.decision._answer_case import OpenCase, open_case
from asynccache.decision._answer_score import features
from asynccache.decision.equivalence import BuiltinJudge
from asynccache.embedders import FastEmbedEmbedder

PAIRS: Final = Path(__file__).parent.parent / "tests" / "decision" / "data" / "answer_pairs.jsonl"
PARTS: Final = ("tuning", "held out", "later")
SHRINKAGE: Final = 3.0
"""L2 penalty on weights of standardised features."""


class Row(NamedTuple):
    """A labelled pair."""

    pair: AnswerPair
    same: bool
    family: str
    part: str
    """One of ``PARTS``."""


class Rates(NamedTuple):
    """Of pairs judged: counts, and rates among the decided."""

    pairs: int
    undecided: int
    same: int
    missed: int
    different: int
    accepted: int

    def __str__(self) -> str:
        return (
            f"{self.pairs:4d} pairs  "
            f"missed {self.missed:2d}/{self.same:3d} = {_share(self.missed, self.same)}  "
            f"accepted {self.accepted:2d}/{self.different:3d} = {_share(self.accepted, self.different)}  "
            f"undecided {self.undecided / self.pairs:6.1%}"
        )


def read_rows() -> list[Row]:
    rows: list[Row] = []
    for line in PAIRS.read_text(encoding="utf-8").splitlines():
        given = json.loads(line)
        pair = AnswerPair(given["asked"], given["stored_for"], given["fresh"], given["stored"])
        half = hashlib.sha256(given["family"].encode()).digest()[1] & 1
        part = "later" if given.get("later") else ("held out" if half else "tuning")
        rows.append(Row(pair, given["same"], given["family"], part))
    return rows


def rates(judged: Iterable[tuple[bool, bool | None]]) -> Rates:
    """From truths and verdicts."""
    found = list(judged)
    decided = [(same, verdict) for same, verdict in found if verdict is not None]
    return Rates(
        pairs=len(found),
        undecided=len(found) - len(decided),
        same=sum(same for same, _ in decided),
        missed=sum(same and not verdict for same, verdict in decided),
        different=sum(not same for same, _ in decided),
        accepted=sum(bool(verdict) and not same for same, verdict in decided),
    )


def at_most(wrong: int, of: int, *, confidence: float = 0.95) -> float:
    """The one-sided upper Clopper-Pearson bound of a share: the greatest that leaves so few a chance."""
    low, high = wrong / max(1, of), 1.0
    for _ in range(50):
        middle = (low + high) / 2
        chance = sum(comb(of, k) * middle**k * (1 - middle) ** (of - k) for k in range(wrong + 1))
        low, high = (middle, high) if chance > 1 - confidence else (low, middle)
    return high


def at_least(wrong: int, of: int, *, confidence: float = 0.95) -> float:
    """The one-sided lower Clopper-Pearson bound of a share."""
    return 1.0 - at_most(of - wrong, of, confidence=confidence)


def _share(wrong: int, of: int) -> str:
    return f"{wrong / max(1, of):5.1%} ({at_least(wrong, of):5.1%} to {at_most(wrong, of):5.1%})"


async def judged(rows: Sequence[Row], judge: BuiltinJudge) -> list[tuple[bool, bool | None]]:
    return [(row.same, await judge(row.pair)) for row in rows]


async def fit(rows: Sequence[Row], judge: BuiltinJudge, *, vectors: bool) -> dict[str, float]:
    """Weights of a logistic regression on the tuning half, of features as they are."""
    values: list[list[float]] = []
    same: list[float] = []
    names: list[str] = []
    for row in rows:
        case = open_case(row.pair)
        if row.part != "tuning" or not isinstance(case, OpenCase):
            continue
        near = await judge.nearness(case) if vectors else None
        if vectors and near is None:
            continue
        named = features(case.evidence, near)
        names = list(named)
        values.append(list(named.values()))
        same.append(float(row.same))
    spread = np.asarray(values).std(axis=0) + 1e-6
    weights = logistic(np.asarray(values) / spread, np.asarray(same))
    weights[1:] /= spread
    return dict(zip(["always", *names], (round(float(each), 2) for each in weights), strict=True))


def logistic(values: NDArray[Any], same: NDArray[Any]) -> NDArray[Any]:
    """By Newton's method; the constant comes first and is not shrunk."""
    rows = np.column_stack([np.ones(len(values)), values])
    penalty = np.diag([1e-6, *[SHRINKAGE] * values.shape[1]])
    weights = np.zeros(rows.shape[1])
    for _ in range(30):
        likely = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (same - likely) - penalty @ weights
        weights += np.linalg.solve((rows.T * (likely * (1 - likely))) @ rows + penalty, slope)
    return weights


async def main() -> None:
    rows = read_rows()
    embedder = FastEmbedEmbedder()
    async with embedder.lifespan():
        with_vectors, without = BuiltinJudge(embedder), BuiltinJudge()
        if "--fit" in sys.argv:
            print("_WITH_VECTORS", await fit(rows, with_vectors, vectors=True))
            print("_WITHOUT", await fit(rows, without, vectors=False))
        for name, judge in (("with vectors", with_vectors), ("without", without)):
            print(f"{name}: ships missed {judge.missed:.3f}, accepted {judge.accepted:.3f}")
            found = {part: await judged([row for row in rows if row.part == part], judge) for part in PARTS}
            found["unseen"] = found["held out"] + found["later"]
            for part, verdicts in found.items():
                print(f"  {part:9s} {rates(verdicts)}")


if __name__ == "__main__":
    asyncio.run(main())
