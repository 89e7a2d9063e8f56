"""One run of recorded requests through a pipeline of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asynccache._errors import AsyncCacheError
from asynccache._events import Event, SemanticTierChanged, StageFailed
from asynccache._models import Source
from asynccache._pipeline import CachePipeline
from asynccache.backends.memory import MemoryBackend
from asynccache.stages._comparing import Comparison

if TYPE_CHECKING:
    from asynccache._judging import Account
    from asynccache._models import Candidate, Entry
    from asynccache._outcome import Outcome
    from asynccache._protocols import AnswerEquivalence, Embedder
    from asynccache._stats import Stats
    from asynccache.cli._replay_forms import Recorded
    from asynccache.cli._replay_modes import Mode

__all__ = ["Example", "Played", "Player"]

_ROOM: Final = 2**40
"""Bytes: what is replayed is in memory already, so no run shall lose what it has stored."""
_AUDITS: Final = 10**6
"""A minute: a replay has a day's hits in one."""


class Example(NamedTuple):
    """A wrong hit."""

    asked: str
    answered: str
    """The question whose answer was served."""
    similarity: float
    """Cosine of the two."""


@dataclass(slots=True)
class Played:
    """What came of a mode; of ``shadow`` what it would have served. Filled while the run lasts."""

    mode: Mode
    requests: int = 0
    exact: int = 0
    right: int = 0
    wrong: int = 0
    undecided: int = 0
    """Semantic hits that the judge could tell nothing of."""
    audited: int = 0
    account: Account | None = None
    """What the decision says of itself at the end; None for one that measures nothing."""
    examples: list[Example] = field(default_factory=list)

    @property
    def semantic(self) -> int:
        """Semantic hits."""
        return self.right + self.wrong + self.undecided

    @property
    def hit_rate(self) -> float:
        """Share of the requests that were hits, of either kind, 0 to 1."""
        return (self.exact + self.semantic) / self.requests if self.requests else 0.0


class Player:
    """Plays recorded requests, one after the other, as often as it is asked to.

    Args:
        requests: with their answers, which stand for the upstream's.
        embedder: makes no vector twice; opened and closed by whoever made it.
        judge: says which hits were right, and teaches the decisions.
        audit: share of the semantic hits that are compared with the answer recorded, for the decision to see.
        history: as the pipeline takes it.
        examples: how many wrong hits are kept of each run.
    """

    def __init__(
        self,
        requests: Sequence[Recorded],
        *,
        embedder: Embedder,
        judge: AnswerEquivalence,
        audit: float,
        history: str,
        examples: int,
    ) -> None:
        self._requests: Final = requests
        self._embedder: Final = embedder
        self._judge: Final = judge
        self._comparison: Final = Comparison(judge)
        self._audit: Final = audit
        self._history: Final = history
        self._examples: Final = examples

    def __len__(self) -> int:
        """Requests."""
        return len(self._requests)

    @property
    def questions(self) -> list[str]:
        """What the semantic tier compares, each once."""
        return list(dict.fromkeys(each.question for each in self._requests if each.question is not None))

    async def play(self, mode: Mode, advance: Callable[[int], object]) -> Played:
        """Play all of them through an empty cache.

        Args:
            mode: who decides.
            advance: called after each request, with 1.

        Raises:
            AsyncCacheError: the cache failed, so that the figures would be of something else.
        """
        played = Played(mode)
        failures: list[BaseException] = []

        def note(event: Event) -> None:
            if isinstance(event, (StageFailed, SemanticTierChanged)) and event.error is not None:
                failures.append(event.error)

        now = self._requests[0]

        async def answer(_: Mapping[str, Any]) -> bytes:
            return now.response.body

        async with self._cache(mode, answer, note) as cache:
            for now in self._requests:
                outcome = await cache.fetch(now.request)
                hit = outcome.source is Source.SEMANTIC
                if not outcome.hit or (hit and self._audit):
                    # In life a miss has taught, and can be found, long before the next request.
                    await cache.flush()
                if failures:
                    raise AsyncCacheError(f"{mode}: the cache failed: {failures[0]}") from failures[0]
                await self._count(played, outcome, now)
                advance(1)
            stats = cache.stats()
        played.audited, played.account = _audited(stats), stats.learnt
        return played

    def _cache(
        self,
        mode: Mode,
        answer: Callable[[Mapping[str, Any]], Awaitable[bytes]],
        hook: Callable[[Event], None],
    ) -> CachePipeline:
        options: dict[str, Any] = {"decision": mode.decision}
        if mode.decision == "threshold":
            options["threshold"] = mode.setting
        elif mode.decision == "vcache":
            from asynccache.decision.vcache import VCacheDecision

            options["decision"] = VCacheDecision(mode.setting, seed=0)  # the same figures each time
        elif mode.decision is not None:
            options["max_error"] = mode.setting
        return CachePipeline(
            answer,
            # Beside every answer there may be an alias of it.
            backend=MemoryBackend(max_entries=2 * len(self._requests), max_bytes=_ROOM),
            max_index_bytes=_ROOM,
            embedder=self._embedder,
            judge=self._judge,
            audit=self._audit,
            audits_per_minute=_AUDITS,
            history=self._history,
            ttl=None,
            hooks=[hook],
            **options,
        )

    async def _count(self, played: Played, outcome: Outcome, recorded: Recorded) -> None:
        played.requests += 1
        if outcome.source is Source.EXACT:
            played.exact += 1
            return
        served = _served(outcome, shadow=played.mode.decision == "shadow")
        if served is None:
            return
        entry, similarity = served
        same = await self._comparison(outcome.request, recorded.response, entry)
        if same is None:
            played.undecided += 1
        elif same:
            played.right += 1
        else:
            played.wrong += 1
            if len(played.examples) < self._examples:
                asked, answered = outcome.request.question or "", entry.question or ""
                played.examples.append(Example(asked, answered, similarity))


def _served(outcome: Outcome, *, shadow: bool) -> tuple[Entry, float] | None:
    """The entry whose answer was served to a near question, or would have been, and the cosine."""
    if outcome.source is Source.SEMANTIC and outcome.entry is not None:
        return outcome.entry, outcome.similarity or 0.0
    judgement = outcome.judgement if shadow else None
    if judgement is None or outcome.hit or judgement.calibrated < judgement.limit:
        return None
    candidate: Candidate = judgement.candidate
    return candidate.entry, candidate.similarity


def _audited(stats: Stats) -> int:
    return sum(stats.audited.values())
