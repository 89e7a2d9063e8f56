"""A semantic decision and a judge whose minds are an open book."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from asynccache._judging import Judgement, Ruling

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._judging import AnswerPair, LabelKind
    from asynccache._models import Candidate, Request

__all__ = ["FakeDecision", "FakeJudge", "Lesson"]


class Lesson(NamedTuple):
    """What a FakeDecision was taught."""

    asked: str | None
    stored_for: str | None
    same: bool
    kind: LabelKind


class FakeDecision:
    """Accepts the first candidate whose question is, to a function, the one asked; remembers its lessons.

    Args:
        alike: of the question asked and the stored one, whether they have one answer. Default: they are
            the same words in any order.
    """

    def __init__(self, alike: Callable[[str, str], bool] | None = None) -> None:
        self.lowest: Final = -1.0
        self.neighbours: Final = 16
        self._alike: Final = _same_words if alike is None else alike
        self.lessons: list[Lesson] = []
        """In order."""

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        asked = exchange.request.question or ""
        for candidate in candidates:
            if self._alike(asked, candidate.entry.question or ""):
                others = len(candidates) - 1
                return Ruling(candidate, ("another is alike",) * others, _judgement(candidate, 1.0))
        return Ruling(None, ("not alike",) * len(candidates), _judgement(candidates[0], -1.0))

    def nearest(self, vector: bytes, others: Sequence[bytes], k: int) -> list[tuple[int, float]]:
        query = _floats(vector)
        cosines = [sum(a * b for a, b in zip(query, _floats(other), strict=True)) for other in others]
        best = sorted(range(len(others)), key=lambda place: -cosines[place])[:k]
        return [(place, cosines[place]) for place in best]

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
        del missed, accepted
        self.lessons.append(Lesson(request.question, judgement.candidate.entry.question, same, kind))


class FakeJudge:
    """Finds two answers the same when they are, letter for letter.

    Args:
        cannot_tell: of two answers, whether it is at a loss. Default: never.
    """

    def __init__(self, cannot_tell: Callable[[str, str], bool] | None = None) -> None:
        self.missed: Final = 0.0
        self.accepted: Final = 0.0
        self._cannot_tell: Final = cannot_tell
        self.pairs: list[AnswerPair] = []
        """What it was asked about, in order."""

    async def __call__(self, pair: AnswerPair, /) -> bool | None:
        self.pairs.append(pair)
        if self._cannot_tell is not None and self._cannot_tell(pair.fresh, pair.stored):
            return None
        return pair.fresh == pair.stored


def _same_words(one: str, other: str) -> bool:
    return sorted(one.lower().split()) == sorted(other.lower().split())


def _judgement(candidate: Candidate, score: float) -> Judgement:
    return Judgement(candidate, score, score, 0.0, bytes(16))


def _floats(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)
