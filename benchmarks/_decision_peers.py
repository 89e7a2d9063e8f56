"""What others do with a near question: lexical guards before a cosine, and vCache's policy."""

from __future__ import annotations

import random
from statistics import NormalDist
from typing import Final

import numpy as np
from _decision_policies import Outcome
from _decision_stream import Stream
from numpy.typing import NDArray

from asynccache.decision import Prepared, prepare
from asynccache.decision._words import CLASS, UNIT_KIND

SURE: Final = 6
"""Observations of an entry, its two made-up ones included, before vCache hits for the first time."""
DOUBTS: Final = np.linspace(0.01, 0.5, 50)
QUANTILES: Final = np.array([NormalDist().inv_cdf(1 - float(doubt)) for doubt in DOUBTS])
APART: Final = 0.21
"""Variance of the middle, times observations, where a cosine parts right from wrong: there the fit has none."""
_STEPS: Final = 25


def guarded(texts: list[str]) -> Guard:
    return Guard({text: prepare(text) for text in texts})


class Guard:
    """Numbers, negation, units, capitalised words and the question word must be the same."""

    def __init__(self, prepared: dict[str, Prepared]) -> None:
        self._prepared: Final = prepared

    def __call__(self, asked: str, stored: str) -> bool:
        a, b = self._prepared[asked], self._prepared[stored]
        return (
            sorted(a.numbers) == sorted(b.numbers)
            and a.negations == b.negations
            and _units(a) == _units(b)
            and a.names == b.names
            and _asked(a) == _asked(b)
        )


def _units(text: Prepared) -> set[str]:
    return {word for word in text.content if word in UNIT_KIND}


def _asked(text: Prepared) -> set[str]:
    return {word for word in text.grammar if CLASS[word] == "wh"}


def vcache(stream: Stream, delta: float, seed: int = 0) -> Outcome:
    """Each entry learns from which cosine on its answer is right (arXiv 2502.03771), errors at most delta a request.

    An answer is asked for as often as the bound needs it: with p the surely reached probability that the stored
    one is right, at least 1 - delta / (1 - p) of the times. A fresh answer equal to the stored one is not stored.
    """
    count = len(stream)
    chance = random.Random(seed)
    served, right = np.full(count, -1, np.int64), np.zeros(count, bool)
    stored = np.zeros(count, bool)
    seen: dict[int, list[tuple[float, bool]]] = {}
    for at in range(count):
        found, cosines = stream.candidates(at, stored)
        same = False
        if len(found):
            best, near = int(found[0]), float(cosines[0])
            marks = seen[best]
            same = stream.right(at, best)
            if len(marks) >= SURE and chance.random() > _explore(marks, near, delta):
                served[at], right[at] = best, same
                continue
            marks.append((near, same))
        if not same and stream.vectors[at].any():
            stored[at] = True
            seen[at] = [(0.0, False), (1.0, True)]
    return Outcome(served, right)


def _explore(marks: list[tuple[float, bool]], cosine: float, delta: float) -> float:
    """The least share of times that the answer must be asked for."""
    near = np.array([mark for mark, _ in marks])
    same = np.array([float(mark) for _, mark in marks])
    limit, slope, spread = _fitted(near, same)
    limits = limit + spread * QUANTILES
    sure = (1 - DOUBTS) / (1 + np.exp(-np.clip(slope * (cosine - limits), -50, 50)))
    return float(np.min(1 - delta / (1 - np.minimum(sure, 1 - 1e-9))))


def _fitted(near: NDArray[np.float64], same: NDArray[np.float64]) -> tuple[float, float, float]:
    """A logistic curve's middle, its slope, and the standard error of the middle."""
    design = np.stack([near, np.ones_like(near)], axis=1)
    ridge = np.diag([1e-3, 1e-3])  # without it separable marks would have no maximum
    weights = np.array([10.0, -5.0])
    hessian = ridge
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -50, 50)))
        hessian = (design * (chance * (1 - chance))[:, None]).T @ design + ridge
        step = np.linalg.solve(hessian, design.T @ (same - chance) - ridge @ weights)
        weights += step
        if float(np.abs(step).max()) < 1e-6:
            break
    slope = max(float(weights[0]), 1e-3)
    limit = -float(weights[1]) / slope
    if near[same == 0].max() < near[same == 1].min():
        return limit, slope, float(np.sqrt(APART / len(near)))
    gradient = np.array([-limit / slope, -1 / slope])
    return limit, slope, float(np.sqrt(gradient @ np.linalg.solve(hessian, gradient)))
