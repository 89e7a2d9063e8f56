"""What others do with a near question: lexical guards before a cosine, and vCache's policy."""

from __future__ import annotations

from typing import Final

import numpy as np
from _decision_policies import Outcome
from _decision_stream import Stream

from asynccache.decision import Prepared, VCachePolicy, prepare
from asynccache.decision._words import CLASS, UNIT_KIND


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
    """VCache's policy (arXiv 2502.03771), as this library ships it: errors at most delta of the requests.

    As in the paper, a question whose fresh answer equals the stored one is not stored.
    """
    count = len(stream)
    policy = VCachePolicy(delta, seed=seed)
    served, right = np.full(count, -1, np.int64), np.zeros(count, bool)
    stored = np.zeros(count, bool)
    for at in range(count):
        found, cosines = stream.candidates(at, stored)
        same = False
        if len(found):
            best, near = int(found[0]), float(cosines[0])
            key = best.to_bytes(32, "big")
            same = stream.right(at, best)
            if policy.decide(key, near)[0]:
                served[at], right[at] = best, same
                continue
            policy.observe(key, near, same)
        if not same and stream.vectors[at].any():
            stored[at] = True
    return Outcome(served, right)
