"""The decision of vCache: a boundary for each stored question, learnt from its own labels."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np

from asynccache._judging import Judgement, Ruling
from asynccache._lru import LRU
from asynccache.decision._boundaries import Boundary, explored, fitted
from asynccache.decision._checked import checked_count, checked_share

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._judging import LabelKind
    from asynccache._models import Candidate, Request

__all__ = ["VCacheDecision", "VCachePolicy"]

VERSION: Final = sha256(b"asynccache vcache 1").digest()[:16]

_FIRST: Final = 4
"""Labels a stored question must have before its answer is served."""
_MOST: Final = 100
"""Labels kept of a stored question; a new one then takes the place of the oldest."""


class _Known:
    """What is known of one stored question."""

    __slots__ = ("boundary", "right", "similarities")

    def __init__(self) -> None:
        # With two that hold for every question before anything is known of it: what has nothing in common
        # with it is not answered by its answer, and it is itself.
        self.similarities: Final = array("f", (0.0, 1.0))
        self.right: Final = bytearray((0, 1))
        self.boundary: Boundary | None = None
        """None until asked for, after every new label."""

    def add(self, similarity: float, *, right: bool) -> None:
        if len(self.right) == _MOST + 2:
            del self.similarities[2], self.right[2]
        self.similarities.append(min(max(similarity, 0.0), 1.0))
        self.right.append(right)
        self.boundary = None

    def surely_right(self, similarity: float) -> float | None:
        """None before there are enough labels."""
        if len(self.right) < _FIRST + 2:
            return None
        if self.boundary is None:
            # Copies: an array that is looked at cannot grow.
            labels = np.array(self.right, np.uint8) != 0
            self.boundary = fitted(np.array(self.similarities, np.float64), labels)
        return self.boundary.surely_right(similarity)


class VCachePolicy:
    """Explore or exploit: the algorithm of vCache (arXiv 2502.03771), without any I/O.

    Each stored question has labels: how similar a question was for which it was the nearest, and whether
    its answer was right. A logistic model of them, with a confidence bound, says how often its answer may
    be served at a similarity so that wrong answers stay below ``delta`` of all *requests*. That is not
    ``delta`` of the *hits*: with few hits, a large share of them may be wrong within the bound.

    Beyond the paper, the confidence bound is never narrower than the number of labels warrants: few are
    mostly separable, and their likelihood knows no doubt then.

    Not safe for threads.

    Args:
        delta: share of requests that may be answered wrongly, 0 to 1; at 0 nothing is ever served.
        seed: of the draws; None draws differently each time.
        questions: how many stored questions it knows labels of, 1 or more; of more, those that were not
            asked about for longest are forgotten, and begin anew. Default 10000, half a KiB to one each.

    Raises:
        ConfigurationError: a number out of its range.
    """

    def __init__(self, delta: float, *, seed: int | None = None, questions: int = 10_000) -> None:
        checked_count("questions", questions)
        self.delta: Final = checked_share("delta", delta)
        self._draws: Final = random.Random(seed)  # noqa: S311  (a fair coin, not a secret)
        self._known: Final[LRU[bytes, _Known]] = LRU(max_items=questions, max_weight=questions)

    def __len__(self) -> int:
        """Stored questions it knows labels of."""
        return len(self._known)

    def decide(self, key: bytes, similarity: float, *, delta: float | None = None) -> tuple[bool, float]:
        """Whether to serve the answer stored under a key, and how likely it was not to be.

        Args:
            key: of the nearest stored question.
            similarity: cosine to it.
            delta: for this request; None takes the policy's.

        Returns:
            ``(exploit, tau)``: True serves it. ``tau`` is the probability of asking anew, 0 to 1; it was
            compared with a uniform draw.
        """
        known = self._known.get(key, 0.0)
        right = None if known is None else known.surely_right(similarity)
        tau = 1.0 if right is None else explored(right, self.delta if delta is None else delta)
        return self._draws.random() > tau, tau

    def observe(self, key: bytes, similarity: float, correct: bool) -> None:  # noqa: FBT001  (as in the paper)
        """Take up whether the answer stored under a key was right for a question that similar to its own."""
        known = self._known.get(key, 0.0)
        if known is None:
            known = _Known()
            self._known.put(key, known, weight=1, until=float("inf"), now=0.0)
        known.add(similarity, right=correct)


class VCacheDecision:
    """Decides about the nearest stored question alone, by ``VCachePolicy``.

    It bounds wrong answers as a share of all requests with a near question, not of the hits: ``max_error``
    means less here than it does for the other decisions. Every stored question has to earn its first
    hit by four labels of its own, so that paraphrases of what is rarely asked get next to nothing: on a
    stream with ordinary hard negatives, 0.02 served 2.8 % of the requests, 9 % of these wrongly.

    Labels are taken as they come, as if nobody who judges answers erred. They are kept in memory only.

    Args:
        max_error: share of requests that may be answered wrongly, 0 to 1. ``Control.max_error`` may lower
            it for one request.
        seed: of the draws; None draws differently each time.
        questions: see ``VCachePolicy``.

    Raises:
        ConfigurationError: a number out of its range.
    """

    def __init__(self, max_error: float = 0.02, *, seed: int | None = None, questions: int = 10_000) -> None:
        self.lowest: Final = 0.0
        self.neighbours: Final = 0
        self.policy: Final = VCachePolicy(max_error, seed=seed, questions=questions)
        """What was learnt, and what it says."""

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        nearest, *others = candidates
        asked = exchange.request.control.max_error
        delta = self.policy.delta if asked is None else min(asked, self.policy.delta)
        exploit, tau = self.policy.decide(nearest.entry.key, nearest.similarity, delta=delta)
        # From 1 on it serves always; below, as often as ``calibrated`` says.
        judgement = Judgement(nearest, nearest.similarity, 1.0 - tau, 1.0, VERSION)
        if exploit:
            return Ruling(nearest, ("not the nearest",) * len(others), judgement)
        return Ruling(None, ("asked anew, to learn", *("not the nearest" for _ in others)), judgement)

    def learn(
        self,
        request: Request,
        judgement: Judgement,
        *,
        same: bool,
        kind: LabelKind,
        missed: float = 0.0,
        accepted: float = 0.0,
    ) -> None:
        del request, kind, missed, accepted
        if judgement.version == VERSION:
            self.policy.observe(judgement.candidate.entry.key, judgement.score, same)

    def __repr__(self) -> str:
        return f"<VCacheDecision max_error={self.policy.delta:g} questions={len(self.policy)}>"
