"""What is asked of the stream, request by request: ours, and the peers' rules."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

import numpy as np
from _decision_stream import Stream
from numpy.typing import NDArray

from asynccache._judging import Label
from asynccache.decision import prepare
from asynccache.decision._local import Around, around
from asynccache.decision._sentences import says_more
from asynccache.decision.knowledge import Knowledge
from asynccache.decision.promised import PRIOR

SCORED: Final = 3
LEAST: Final = 0.6  # cosine of a candidate that is scored
VERSION: Final = bytes(16)


class Scorer(Protocol):
    """What a score is, of stored questions for one asked, and what it means."""

    def __call__(self, asked: int, stored: NDArray[np.int64], /) -> NDArray[np.float64]:
        """Log odds of each."""
        ...

    def calibrated(self, asked: int, stored: int, score: float, cosine: float, known: Around) -> float:
        """Log odds of one, with what is known of the questions around."""
        ...


class Outcome(NamedTuple):
    """What became of a stream: one place for each request."""

    served: NDArray[np.int64]
    """The stored question whose answer was served, -1 for a miss."""
    right: NDArray[np.bool_]

    @property
    def hits(self) -> int:
        return int((self.served >= 0).sum())

    @property
    def wrong(self) -> int:
        return int(((self.served >= 0) & ~self.right).sum())

    @property
    def hit_rate(self) -> float:
        return self.hits / max(1, len(self.served))

    @property
    def wrong_rate(self) -> float:
        return self.wrong / max(1, self.hits)


class Judge(NamedTuple):
    """Who compares a fresh answer with the stored one."""

    missed: float = 0.0
    """Share of equal answers taken for different ones."""
    accepted: float = 0.0
    """Share of different answers taken for equal ones."""
    seed: int = 0


RIGHT: Final = Judge()


def ours(
    stream: Stream, score: Scorer, threshold: float, judge: Judge = RIGHT, audit: float = 0.0
) -> Outcome:
    """The best score of three, calibrated by the labels nearby, against a threshold.

    Args:
        stream: in its order; a miss is stored, a hit is not.
        score: gives log odds of stored candidates for a question.
        threshold: of the calibrated score.
        judge: who says whether a miss's fresh answer is the one stored with its best candidate.
        audit: share of hits whose fresh answer is asked for all the same, and recorded.
    """
    count = len(stream)
    chance = random.Random(judge.seed)
    served, right = np.full(count, -1, np.int64), np.zeros(count, bool)
    stored = np.zeros(count, bool)
    lessons = Knowledge(PRIOR).lessons(VERSION)
    keys = [sha256(b"%d" % at).digest() for at in range(count)]

    for at in range(count):
        found, cosines = stream.candidates(at, stored)
        best, best_score, moved = -1, 0.0, -np.inf
        near = found[:SCORED][cosines[:SCORED] >= LEAST]
        if len(near):
            scores = score(at, near)
            top = int(np.argmax(scores))
            best, best_score = int(near[top]), float(scores[top])
            known = around(cosines, lessons.known([keys[each] for each in found]), top)
            moved = score.calibrated(at, best, best_score, float(cosines[top]), known)
        hit = moved >= threshold and not (
            says_more(stream.prompts[at], prepare(stream.prompts[best]))
            or says_more(stream.prompts[best], prepare(stream.prompts[at]))
        )
        if hit:
            served[at], right[at] = best, stream.right(at, best)
        if best >= 0 and (not hit or (audit and chance.random() < audit)):
            same = stream.right(at, best)
            same = chance.random() >= judge.missed if same else chance.random() < judge.accepted
            lessons.take(
                Label(
                    key=keys[best],
                    asked=keys[at],
                    family=VERSION,
                    version=VERSION,
                    score=best_score,
                    calibrated=moved,
                    same=same,
                    kind="audit" if hit else "miss",
                    missed=judge.missed,
                    accepted=judge.accepted,
                    at=0.0,
                    origin=VERSION,
                )
            )
        if not hit and stream.vectors[at].any():
            stored[at] = True
    return Outcome(served, right)


def cosine(stream: Stream, threshold: float, guard: Callable[[str, str], bool] | None = None) -> Outcome:
    """The nearest stored question answers, if near enough and the guard has nothing against it."""
    count = len(stream)
    served, right = np.full(count, -1, np.int64), np.zeros(count, bool)
    stored = np.zeros(count, bool)
    for at in range(count):
        found, cosines = stream.candidates(at, stored)
        hit = len(found) > 0 and float(cosines[0]) >= threshold
        if hit and (guard is None or guard(stream.prompts[at], stream.prompts[int(found[0])])):
            served[at], right[at] = found[0], stream.right(at, int(found[0]))
        elif stream.vectors[at].any():
            stored[at] = True
    return Outcome(served, right)
