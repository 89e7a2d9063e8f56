"""Rejections for decisions that do not learn by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

from asynccache._clock import SystemClock
from asynccache._judging import Judgement, Ruling
from asynccache._lifespan import SharedLifespan, entered
from asynccache._protocols import Learning
from asynccache.decision._around import AroundDecision, refusals
from asynccache.decision._label_feed import LabelFeed
from asynccache.decision.knowledge import Rejections

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._judging import LabelKind
    from asynccache._models import Candidate, Request
    from asynccache._protocols import Backend, Clock, Decision

__all__ = ["Remembering"]

REJECTED: Final = "rejected before"
_ANY: Final = float("-inf")
"""The limit of one who tells none."""
_NONE: Final = bytes(16)
"""Stands for "no score": labels made here teach no calibration."""


class Remembering(AroundDecision):
    """Never serves again what a caller has rejected, whatever the decision within says.

    It hands on to the inner one what that can learn.

    Args:
        inner: decides about the rest; opened and closed with the pipeline.
        backend: keeps what was rejected; likewise.
        clock: stamps it.
    """

    def __init__(self, inner: Decision, backend: Backend | None, *, clock: Clock | None = None) -> None:
        super().__init__(inner)
        self.learn = self._learn  # in place of the inner one's, should it have any
        self._clock: Final = SystemClock() if clock is None else clock
        self._rejections: Final = Rejections()
        self._feed: Final = LabelFeed(backend, self._rejections.take)
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Read what was rejected, and hold the inner decision open."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(self.inner, self._feed):
            yield

    async def flush(self) -> None:
        """Wait until what was learnt is stored."""
        await self._feed.flush()

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        if not self._feed.caught_up:
            self._feed.tell_trouble(exchange.driver)
            return Ruling(None, ("what was rejected is still being read",) * len(candidates))
        asked = exchange.request.key
        passed = [each for each in candidates if not self._rejections.holds(asked, each.entry.key)]
        ruling = await self.inner.rule(exchange, passed) if passed else Ruling(None)
        if len(passed) < len(candidates):
            reasons = (theirs or REJECTED for _, theirs in refusals(candidates, ruling, passed))
            ruling = ruling._replace(reasons=tuple(reasons))
        return _judged(ruling)

    def _learn(
        self,
        request: Request,
        judgement: Judgement,
        *,
        same: bool,
        kind: LabelKind,
        missed: float = 0.0,
        accepted: float = 0.0,
    ) -> None:
        if isinstance(self.inner, Learning):
            self.inner.learn(request, judgement, same=same, kind=kind, missed=missed, accepted=accepted)
        if kind not in ("accept", "reject"):  # only what callers say is kept here
            return
        label = self._feed.label(
            request,
            judgement._replace(version=_NONE),
            family=_NONE,
            same=same,
            kind=kind,
            missed=missed,
            accepted=accepted,
            at=self._clock.now(),
        )
        self._rejections.take(label)
        self._feed.publish(label)


def _judged(ruling: Ruling) -> Ruling:
    """The same, so that a caller can say what the answer was worth."""
    hit = ruling.accepted
    if hit is None or ruling.judgement is not None:
        return ruling
    return ruling._replace(judgement=Judgement(hit, hit.similarity, hit.similarity, _ANY, _NONE))
