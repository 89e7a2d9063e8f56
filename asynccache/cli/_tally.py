"""What a run of the demo has seen."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from asynccache._models import Source

if TYPE_CHECKING:
    from asynccache._outcome import Outcome

__all__ = ["Kind", "Tally", "percentile"]


class Kind(Enum):
    """How a request was answered, as far as it can be told from outside the store."""

    MEMORY = "memory"
    STORE = "store"
    SHARED = "shared"
    UPSTREAM = "upstream"


@dataclass(slots=True)
class Tally:
    """Filled while the run lasts.

    Args:
        began: monotonic seconds at which the run began.
    """

    began: float
    seconds: dict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    """How long each request took, by how it was answered."""
    saved_seconds: float = 0.0
    saved_tokens: int = 0
    _answered: set[str] = field(default_factory=set)

    def count(self, question: str, outcome: Outcome, *, started: float, ended: float, known: bool) -> Kind:
        """Take in one answer.

        Args:
            question: what was asked.
            outcome: the answer.
            started: monotonic seconds.
            ended: monotonic seconds.
            known: whether this run had an answer to the question when it asked (see ``knows``).
        """
        kind = self._kind(outcome, ended, known=known)
        self.seconds[kind].append(ended - started)
        self.saved_seconds += outcome.saved.seconds
        self.saved_tokens += outcome.saved.tokens
        self._answered.add(question)
        return kind

    def knows(self, question: str) -> bool:
        """Whether this run has had an answer to the question."""
        return question in self._answered

    def _kind(self, outcome: Outcome, ended: float, *, known: bool) -> Kind:
        if not outcome.hit:
            return Kind.SHARED if outcome.source is Source.SHARED else Kind.UPSTREAM
        # The memory in front of the store is empty when the run begins and gets what passes through. So an
        # answer older than the run can only have come from the store when it is asked for the first time.
        older = (outcome.age or 0.0) > ended - self.began
        return Kind.STORE if older and not known else Kind.MEMORY

    @property
    def requests(self) -> int:
        """Answered requests."""
        return sum(map(len, self.seconds.values()))

    @property
    def hits(self) -> int:
        """Requests answered from memory or store."""
        return len(self.seconds[Kind.MEMORY]) + len(self.seconds[Kind.STORE])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of the values do not exceed. At least one value."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
