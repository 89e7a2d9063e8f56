"""Numbers about a pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asynccache._protocols import Accountable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asynccache._driver import Counts
    from asynccache._judging import Account
    from asynccache._protocols import Decision

__all__ = ["Stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """A pipeline's counters since it was made.

    Args:
        sources: answered requests by source (``"exact"``, ``"shared"``, ``"upstream"``, …).
        errors: requests that ended in an error their caller saw.
        stored: answers stored.
        refused: answers not stored, by reason.
        rejected: stored answers found and not served, by reason.
        failed: failures of the cache that were passed over, by stage.
        audited: semantic hits that the upstream was asked about again: ``"right"``, ``"wrong"`` or
            ``"unclear"``.
        learnt: how the semantic decision keeps its promise; None for one that measures nothing.
    """

    sources: Mapping[str, int]
    errors: int
    stored: int
    refused: Mapping[str, int]
    rejected: Mapping[str, int]
    failed: Mapping[str, int]
    audited: Mapping[str, int]
    learnt: Account | None

    @classmethod
    def of(cls, counts: Counts, decision: Decision | None) -> Stats:
        """A snapshot."""
        return cls(
            sources=dict(counts.sources),
            errors=counts.errors,
            stored=counts.stored,
            refused=dict(counts.refused),
            rejected=dict(counts.rejected),
            failed=dict(counts.failed),
            audited=dict(counts.audited),
            learnt=decision.account() if isinstance(decision, Accountable) else None,
        )

    @property
    def requests(self) -> int:
        """Answered requests."""
        return sum(self.sources.values())

    @property
    def hits(self) -> int:
        """Requests answered from the store."""
        return self.requests - self.misses

    @property
    def misses(self) -> int:
        """Requests the upstream answered, those that shared an answer in flight included."""
        return self.sources.get("upstream", 0) + self.sources.get("shared", 0)

    @property
    def semantic_hits(self) -> int:
        """Requests answered by the stored answer to a near question."""
        return self.sources.get("semantic", 0)

    @property
    def hit_rate(self) -> float:
        """Share of answered requests that were hits, 0 to 1; 0.0 before the first.

        Every hit of the exact tier is the answer to that very question; how many of the semantic ones
        were wrong, ``wrong_hit_rate`` estimates.
        """
        return self.hits / self.requests if self.requests else 0.0

    @property
    def wrong_hit_rate(self) -> float | None:
        """Estimated share of the semantic hits of late that were wrong, 0 to 1; 0.0 when there were none.

        None: nobody knows. ``decision="threshold"`` measures nothing.
        """
        wrong = None if self.learnt is None else self.learnt.wrong
        if wrong is not None:
            return wrong.rate
        return None if self.semantic_hits else 0.0

    @property
    def wrong_hit_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of ``wrong_hit_rate``; None where nobody knows, or there were no such hits."""
        wrong = None if self.learnt is None else self.learnt.wrong
        return None if wrong is None else (wrong.low, wrong.high)
