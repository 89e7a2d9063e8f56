"""Learn from an answer that was made although another had been proposed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from asynccache._events import StageFailed
from asynccache._lifespan import SharedLifespan, entered
from asynccache._models import Response, Source
from asynccache.stages._behind import Behind
from asynccache.stages._comparing import Comparison

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._judging import Judgement
    from asynccache._protocols import AnswerEquivalence, Learning

__all__ = ["Learn"]

MOST_PENDING: Final = 64
"""Comparisons under way at a time; further ones are left out: they are many, and each teaches little."""


class Learn:
    """After a miss that had a candidate: was the fresh answer the candidate's?

    Such labels cost nothing but a comparison, which is made behind the request. Stands behind the writer,
    inside the single flight, so that an answer teaches once, whoever is still there to read it. A stream
    teaches when it has ended well.

    Args:
        decision: learns; opened and closed with the pipeline.
        judge: compares the answers; likewise.
    """

    def __init__(self, decision: Learning, judge: AnswerEquivalence) -> None:
        self._decision: Final = decision
        self._comparison: Final = Comparison(judge)
        self._behind: Final = Behind(MOST_PENDING)
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold decision and judge open; comparisons under way end with it."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(self._decision, self._comparison.judge), self._behind.lifespan():
            yield

    async def flush(self) -> None:
        """Wait for the comparisons under way."""
        await self._behind.finished()

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        judgement, answer = exchange.judgement, exchange.answer
        if judgement is None or answer is None or exchange.source is not Source.UPSTREAM:
            return exchange
        if isinstance(answer, Response):
            self._start(exchange, judgement, answer)
        else:

            async def ended(frames: tuple[bytes, ...]) -> None:
                with suppress(RuntimeError):  # a stream may be read on when the pipeline has closed
                    self._start(exchange, judgement, Response(b"", frames))

            answer.on_complete(ended)
        return exchange

    def _start(self, exchange: Exchange, judgement: Judgement, fresh: Response) -> None:
        self._behind.begin(lambda: self._learn(exchange, judgement, fresh))

    async def _learn(self, exchange: Exchange, judgement: Judgement, fresh: Response) -> None:
        judge = self._comparison.judge
        try:
            same = await self._comparison(exchange.request, fresh, judgement.candidate.entry)
            if same is not None:
                self._decision.learn(
                    exchange.request,
                    judgement,
                    same=same,
                    kind="miss",
                    missed=judge.missed,
                    accepted=judge.accepted,
                )
        except Exception as error:  # noqa: BLE001  (nobody waits for it; the driver's hooks are told)
            exchange.driver.emit(StageFailed("Learn", error))
