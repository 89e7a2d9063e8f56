"""A second opinion, where a decision refuses but is not sure: somebody slower is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf, isinf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from asynccache._errors import ConfigurationError
from asynccache._judging import Judgement, Ruling
from asynccache._lifespan import SharedLifespan, entered, to_its_end
from asynccache._registry import find_dialect
from asynccache.decision._around import AroundDecision, refusals
from asynccache.decision._checked import checked_count, checked_number, checked_seconds

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Candidate, Entry
    from asynccache._protocols import Decision

__all__ = ["VerifiedDecision", "Verifier"]

Verifier: TypeAlias = Callable[[str, str, str], Awaitable[bool | None]]
"""Told a question, a stored question and its answer, says whether that answers the question as well; None
when it cannot tell. Its attribute ``trouble``, if it has one, is a short reason why it could not, without
any text of the questions."""

_CLOSING_SECONDS: Final = 1.0
"""How long the end waits for verifiers that were given up. Those that go on end by themselves, unheard."""


class VerifiedDecision(AroundDecision):
    """Asks a verifier about the best candidate when the decision refuses it, but not by much.

    What the decision accepts is served without asking. What is refused stays refused unless the verifier
    says yes, in time: its errors are refusals. Nobody is asked while the decision serves nothing at all
    (its limit is infinite), nor for a request with ``max_error=0``.

    The promise of the inner decision does not cover what a verifier lets pass: how often that is wrong
    is the verifier's affair, and seen by audits only.

    Args:
        inner: decides first. Its ``learn``, ``lifespan()`` and other public attributes are passed on.
        verify: see ``Verifier``. If it has a lifespan, that is held open as well. One that swallows its
            cancellation is left behind.
        grey: (least, limit): asked when ``Judgement.calibrated`` is at least the one and below the other, and
            below the decision's own limit. Default -1 (log odds, for most decisions) and None: up to the
            decision's own limit.
        timeout: seconds to wait for the verifier, above 0; default 2.
        most_pending: verifications on their way at once, 1 or more; beyond them nobody is asked. Default 16.

    Raises:
        ConfigurationError: an option cannot work.
    """

    def __init__(
        self,
        inner: Decision,
        verify: Verifier,
        *,
        grey: tuple[float, float | None] = (-1.0, None),
        timeout: float = 2.0,
        most_pending: int = 16,
    ) -> None:
        super().__init__(inner)
        if not callable(verify):
            raise ConfigurationError(
                f"verify={verify!r}: expected an async function of a question, a stored one and its answer"
            )
        least, limit = grey
        if limit is not None and checked_number("grey", least) >= checked_number("grey", limit):
            raise ConfigurationError(f"grey={grey!r}: expected the least and a larger limit, or None for it")
        self._verify: Final = verify
        self._least: Final = checked_number("grey", least)
        self._limit: Final = inf if limit is None else limit
        self._timeout: Final = checked_seconds("timeout", timeout)
        self._most: Final = checked_count("most_pending", most_pending)
        self._pending: Final[set[asyncio.Task[Any]]] = set()  # each leaves by itself when done
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the inner decision and the verifier open."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(self.inner, self._verify):
            try:
                yield
            finally:
                await to_its_end(self._end())

    async def _end(self) -> None:
        for task in tuple(self._pending):
            task.cancel()
        if self._pending:
            await asyncio.wait(tuple(self._pending), timeout=_CLOSING_SECONDS)

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        ruling = await self.inner.rule(exchange, candidates)
        judgement = ruling.judgement
        asked = exchange.request.question
        if ruling.accepted is not None or judgement is None or asked is None:
            return ruling
        best = judgement.candidate
        stored = best.entry.question
        if stored is None or not self._unsure(judgement) or exchange.request.control.max_error == 0:
            return ruling
        if not any(each is best for each in candidates):
            return ruling
        reason = await self._refusal(asked, stored, best.entry)
        refused = refusals(candidates, ruling, candidates)
        if reason is None:
            kept = (theirs for each, theirs in refused if each is not best)
            return Ruling(best, tuple(each for each in kept if each is not None), judgement)
        return ruling._replace(
            reasons=tuple((reason if each is best else theirs) or reason for each, theirs in refused)
        )

    def _unsure(self, judgement: Judgement) -> bool:
        limit = min(self._limit, judgement.limit)
        return not isinf(judgement.limit) and self._least <= judgement.calibrated < limit

    async def _refusal(self, asked: str, stored: str, entry: Entry) -> str | None:
        """None when the verifier says that the answer is right."""
        if len(self._pending) >= self._most:
            return "the verifier is busy"
        task = asyncio.get_running_loop().create_task(self._verdict(asked, stored, entry))
        self._pending.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait([task], timeout=self._timeout)
        finally:
            task.cancel()  # nothing to one that is done
        if not task.done():
            return "the verifier took too long"
        # Nothing is awaited from here on, so that a CancelledError is the verifier's own.
        try:
            same = task.result()
        except BaseException as error:  # noqa: BLE001  (panics of compiled code are no Exception)
            return f"the verifier failed ({type(error).__name__})"
        if same is True:
            return None
        if same is False:
            return "the verifier refused"
        trouble = getattr(self._verify, "trouble", None)
        return f"the verifier could not tell: {trouble}" if trouble else "the verifier could not tell"

    async def _verdict(self, asked: str, stored: str, entry: Entry) -> bool | None:
        answer = find_dialect(entry.dialect).text(orjson.loads(entry.response.body))
        return await self._verify(asked, stored, answer)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._pending.discard(task)
        if not task.cancelled():
            task.exception()  # else asyncio would print one that nobody waited for: it may quote the text
