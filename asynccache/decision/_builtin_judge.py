"""The judge of answers that asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from anyio import CapacityLimiter, to_thread

from asynccache._errors import ConfigurationError, EmbedderError
from asynccache.decision._answer_case import OpenCase, open_case
from asynccache.decision._answer_nearness import Nearness, nearness
from asynccache.decision._answer_score import verdict

if TYPE_CHECKING:
    from asynccache._judging import AnswerPair
    from asynccache._protocols import Embedder

__all__ = ["BuiltinJudge", "checked_share"]

MISSED: Final = 0.04
ACCEPTED: Final = 0.02
"""With the bundled embedder, of pairs that it was not fitted to and decided: 7.6 % of 223, and 0.3 % of 292
(``tools/measure_judge.py``). These are the ends at 95 % that are safe, rounded: how often it errs against a
right answer is taken off what it finds wrong, so that the least is counted; 25 % stayed undecided."""
MISSED_WITHOUT: Final = 0.07
ACCEPTED_WITHOUT: Final = 0.03
"""The same without an embedder: 11.0 % of 173, and 0.9 % of 225; 42 % stayed undecided."""
DOUBT: Final = 10.0
"""Pairs found the same before it is taken for granted that they come in other words each time."""
FADES: Final = 0.995
"""What a pair counts after the next: some 200 are remembered."""


class BuiltinJudge:
    """Tells whether two answers say the same from what is in them, asking no model but an embedder.

    Equal but for case, white space and markdown: the same. Two JSON documents: by structure and values.
    A yes against a no, or the same words in another order: different. All else is weighed: words,
    numbers with their units, dates, names, denials, opposites, code and addresses in both or in one of
    them, what an answer repeats of its own question, and the vectors of answers and questions. What is
    neither likely the same nor likely different stays undecided, and so do refusals ("I don't know"),
    empty answers, and answers in other alphabets than the Latin one, unless they are equal.

    It was fitted to, and measured on, pairs in English, with some in German, Spanish and French, which
    were written for that; another kind of answers, or another embedder than the bundled one, may bring
    more errors. Give your own figures where you have them.

    The work is done in one worker thread.

    Args:
        embedder: makes the vectors, up to ten a pair; opened and closed by whoever made it. None, and
            for a pair it has no vectors for: the words alone decide, and more stays undecided.
        missed: least share of equal answers it calls different, of those it decides, 0 to 1. None starts at 0
            and goes up to the lower bound (95 %, one-sided) of what was measured, 0.04, or 0.07 without an
            embedder, as far as equal answers turn out to come in other words.
        accepted: largest share of different answers it calls equal. None takes the upper bound: 0.02, or
            0.03.

    Raises:
        ConfigurationError: a share is not between 0 and 1.
    """

    def __init__(
        self,
        embedder: Embedder | None = None,
        *,
        missed: float | None = None,
        accepted: float | None = None,
    ) -> None:
        usual = (MISSED_WITHOUT, ACCEPTED_WITHOUT) if embedder is None else (MISSED, ACCEPTED)
        self._fixed: Final = None if missed is None else checked_share("missed", missed)
        self._most_missed: Final = usual[0]
        # Pairs found the same, lately: letter for letter (or nearly), and after weighing.
        self._equal = 0.0
        self._weighed = 0.0
        self.accepted: Final = usual[1] if accepted is None else checked_share("accepted", accepted)
        self._embedder: Final = embedder
        self._threads: Final = CapacityLimiter(1)

    @property
    def missed(self) -> float:
        """Least share of equal answers it calls different.

        Where equal answers come word for word, as from a fixed set, none is missed; what was measured holds
        where they come in other words each time. So it grows with the share that had to be weighed.
        """
        if self._fixed is not None:
            return self._fixed
        return self._most_missed * self._weighed / (self._equal + self._weighed + DOUBT)

    async def __call__(self, pair: AnswerPair, /) -> bool | None:
        case = await to_thread.run_sync(open_case, pair, limiter=self._threads)
        same = verdict(case.evidence, await self.nearness(case)) if isinstance(case, OpenCase) else case
        if same:
            weighed = isinstance(case, OpenCase)
            self._equal = self._equal * FADES + (not weighed)
            self._weighed = self._weighed * FADES + weighed
        return same

    async def nearness(self, case: OpenCase) -> Nearness | None:
        """What the vectors say; None when there are none."""
        if self._embedder is None or not case.fresh or not case.stored:
            return None
        try:
            vectors = await self._embedder.embed([*case.questions, *case.fresh, *case.stored])
        except EmbedderError:  # TextRefused among them
            return None
        middle = 2 + len(case.fresh)
        return nearness(vectors[0], vectors[1], vectors[2:middle], vectors[middle:])


def checked_share(name: str, given: float) -> float:
    """A share from 0 to 1."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 1:
        raise ConfigurationError(f"{name}={given!r}: expected a share from 0 to 1")
    return given
