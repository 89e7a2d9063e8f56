"""Who says in a replay whether an answer is the one that was recorded."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asynccache._judging import AnswerPair
    from asynccache._protocols import AnswerEquivalence

__all__ = ["LabelJudge", "OnceJudge"]


class LabelJudge:
    """Two answers are the same when they are equal, or their questions were said to have the same answer.

    Args:
        same: pairs of questions, either way round.
    """

    def __init__(self, same: Collection[tuple[str, str]] = ()) -> None:
        self.missed: Final = 0.0
        self.accepted: Final = 0.0
        self._same: Final = frozenset(same)

    async def __call__(self, pair: AnswerPair, /) -> bool | None:
        if pair.fresh == pair.stored:
            return True
        asked, stored_for = pair.asked, pair.stored_for
        return (asked, stored_for) in self._same or (stored_for, asked) in self._same


class OnceJudge:
    """Asks another judge about each pair once: many modes propose the same.

    Args:
        judge: whose verdict depends on nothing but the pair.
    """

    def __init__(self, judge: AnswerEquivalence) -> None:
        self.missed: Final = judge.missed
        self.accepted: Final = judge.accepted
        self._judge: Final = judge
        self._known: Final[dict[AnswerPair, bool | None]] = {}  # one event loop uses it

    async def __call__(self, pair: AnswerPair, /) -> bool | None:
        if pair not in self._known:
            self._known[pair] = await self._judge(pair)
        return self._known[pair]
