"""Whether semantic hits were right, as far as the labels of the questions can tell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Final, NamedTuple

__all__ = ["Labels", "Pair", "interval", "spread"]

_CONFIDENCE: Final = 0.95


class Pair(NamedTuple):
    """A question that was answered with the answer to another one."""

    asked: str
    answered: str
    """The question whose answer was served."""
    similarity: float
    """Cosine of the two."""


class Labels:
    """Takes in semantic hits and judges them: right means that both questions carry the same label.

    Args:
        intents: question to label.
    """

    def __init__(self, intents: Mapping[str, str]) -> None:
        self._intents: Final = intents
        self._hits: Final[Counter[tuple[str, str]]] = Counter()  # requests by asked and answered question
        self._similarities: Final[dict[tuple[str, str], float]] = {}
        self.unknown = 0
        """Hits on questions that carry no label: somebody else's, in a store that was not empty."""

    def count(self, asked: str, answered: str | None, similarity: float) -> None:
        """Take in one semantic hit."""
        if answered is not None and asked in self._intents and answered in self._intents:
            self._hits[asked, answered] += 1
            self._similarities.setdefault((asked, answered), similarity)
        else:
            self.unknown += 1

    @property
    def judged(self) -> int:
        """Hits that could be judged."""
        return self._hits.total()

    @property
    def wrong(self) -> int:
        """Hits that served the answer to a question with another label."""
        return sum(times for pair, times in self._hits.items() if not self._is_right(*pair))

    def pairs(self, *, right: bool) -> list[Pair]:
        """The different pairs that were right, or those that were wrong, the least similar first."""
        found = [
            Pair(*pair, similarity)
            for pair, similarity in self._similarities.items()
            if self._is_right(*pair) is right
        ]
        return sorted(found, key=lambda pair: (pair.similarity, pair))

    def _is_right(self, asked: str, answered: str) -> bool:
        return self._intents[asked] == self._intents[answered]


def interval(count: int, total: int) -> tuple[float, float]:
    """Where the true share lies, with a confidence of 95 %, when ``count`` of ``total`` were seen.

    Wilson's score interval (JASA 22, 1927), which holds for small counts too, none included.
    """
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    share, weight = count / total, z * z / total
    middle = share + weight / 2
    reach = z * math.sqrt((share * (1 - share) + weight / 4) / total)
    return max(0.0, (middle - reach) / (1 + weight)), min(1.0, (middle + reach) / (1 + weight))


def spread(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At most so many (2 or more) of the pairs, evenly from the first to the last."""
    if len(pairs) <= most:
        return list(pairs)
    step = (len(pairs) - 1) / (most - 1)
    return [pairs[round(place * step)] for place in range(most)]
