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
    """How a request was answered."""

    MEMORY = "memory"
    STORE = "store"
    SEMANTIC = "semantic"
    SHARED = "shared"
    UPSTREAM = "upstream"


@dataclass(slots=True)
class Tally:
    """Filled while the run lasts."""

    seconds: dict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    """How long each request took, by how it was answered."""
    saved_seconds: float = 0.0
    saved_tokens: int = 0

    def count(self, outcome: Outcome, seconds: float, *, at_hand: bool) -> Kind:
        """Take in one answer.

        Args:
            outcome: the answer.
            seconds: how long it took.
            at_hand: whether the memory in front of the store had it when it was asked for.
        """
        kind = _kind(outcome, at_hand=at_hand)
        self.seconds[kind].append(seconds)
        self.saved_seconds += outcome.saved.seconds
        self.saved_tokens += outcome.saved.tokens
        return kind

    @property
    def requests(self) -> int:
        """Answered requests."""
        return sum(map(len, self.seconds.values()))

    @property
    def exact(self) -> int:
        """Requests answered with the answer to that very request."""
        return len(self.seconds[Kind.MEMORY]) + len(self.seconds[Kind.STORE])

    @property
    def semantic(self) -> int:
        """Requests answered with the answer to a near question."""
        return len(self.seconds[Kind.SEMANTIC])

    @property
    def hits(self) -> int:
        """Requests answered from what was stored before."""
        return self.exact + self.semantic


def _kind(outcome: Outcome, *, at_hand: bool) -> Kind:
    if outcome.source is Source.SEMANTIC:
        return Kind.SEMANTIC
    if not outcome.hit:
        return Kind.SHARED if outcome.source is Source.SHARED else Kind.UPSTREAM
    return Kind.MEMORY if at_hand else Kind.STORE


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of the values do not exceed. At least one value."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
