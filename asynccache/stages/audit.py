"""Ask the upstream again about some semantic hits, to see whether they were right."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from asynccache._errors import ConfigurationError, ForeignError
from asynccache._events import HitAudited, StageFailed
from asynccache._exchange import Exchange
from asynccache._lifespan import SharedLifespan, entered
from asynccache._models import Response, Source
from asynccache.stages._behind import Behind
from asynccache.stages._comparing import Comparison

if TYPE_CHECKING:
    from asynccache._judging import Judgement
    from asynccache._protocols import AnswerEquivalence, Learning, Stage

__all__ = ["Audit"]

AT_ONCE: Final = 2
"""Audits under way at a time."""


class Audit:
    """Ask the upstream about a share of the semantic hits, behind the caller, and compare the answers.

    It is the only way to see wrong answers among those that are served. A hit that was wrong teaches the
    decision, and its fresh answer is stored as the question's own. What audits cost is bounded by the
    share and by a budget; beyond the budget hits go unaudited.

    Args:
        ask: makes the fresh answer (a ``MissHandler``); opened and closed with the pipeline.
        write: stores it; likewise.
        decision: learns; likewise.
        judge: compares; likewise.
        share: of the semantic hits, 0 to 1.
        per_minute: audits begun within a minute at most; default 60.
        seed: of the draws; None draws a seed.

    Raises:
        ConfigurationError: an option can never work.
    """

    def __init__(
        self,
        ask: Stage,
        write: Stage,
        *,
        decision: Learning,
        judge: AnswerEquivalence,
        share: float,
        per_minute: int = 60,
        seed: int | None = None,
    ) -> None:
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise ConfigurationError(f"audit={share!r}: expected a share of the semantic hits, 0 to 1")
        if not isinstance(per_minute, int) or per_minute < 1:
            raise ConfigurationError(f"audits per_minute={per_minute!r}: expected 1 or more")
        self._ask: Final = ask
        self._write: Final = write
        self._decision: Final = decision
        self._comparison: Final = Comparison(judge)
        self._share: Final = share
        self._per_minute: Final = per_minute
        self._random: Final = random.Random(seed)  # noqa: S311  (which hits are audited is no secret)
        self._begun: list[float] = []  # monotonic seconds of the audits within the last minute
        self._behind: Final = Behind(AT_ONCE)
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold all parts open; audits under way end with it."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        parts = (self._ask, self._write, self._decision, self._comparison.judge)
        async with entered(*parts), self._behind.lifespan():
            yield

    async def flush(self) -> None:
        """Wait for the audits under way."""
        await self._behind.finished()

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        hit, judgement = exchange.accepted, exchange.judgement
        if (
            judgement is not None
            and hit is judgement.candidate
            and exchange.source is Source.SEMANTIC
            and self._share
            and self._random.random() < self._share
            and not exchange.request.control.only_if_cached
            and self._affordable(exchange.driver.clock.monotonic())
        ):
            self._behind.begin(lambda: self._audit(exchange, judgement))
        return exchange

    def _affordable(self, now: float) -> bool:
        self._begun = [at for at in self._begun if at > now - 60.0]
        if len(self._begun) >= self._per_minute or self._behind.full:
            return False
        self._begun.append(now)
        return True

    async def _audit(self, exchange: Exchange, judgement: Judgement) -> None:
        driver, judge = exchange.driver, self._comparison.judge
        asking = Exchange(
            exchange.request,
            "fetch",
            driver,
            driver.clock.monotonic(),
            embedding=exchange.embedding,
            since=exchange.since,
        )
        try:
            asked = await driver.run(asking, [self._ask])
            if not isinstance(asked.answer, Response):
                return
            same = await self._comparison(exchange.request, asked.answer, judgement.candidate.entry)
            driver.emit(HitAudited(same))
            if same is None:
                return
            self._decision.learn(
                exchange.request,
                judgement,
                same=same,
                kind="audit",
                missed=judge.missed,
                accepted=judge.accepted,
            )
            if not same:
                await driver.run(asked, [self._write])
        except Exception as error:  # noqa: BLE001  (nobody waits for it; the driver's hooks are told)
            driver.emit(StageFailed("Audit", error.error if isinstance(error, ForeignError) else error))
