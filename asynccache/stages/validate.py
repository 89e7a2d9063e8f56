"""Decide which proposed candidate, if any, is the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from asynccache._errors import StageError
from asynccache._events import CandidateRejected
from asynccache._lifespan import entered
from asynccache._models import Source
from asynccache._registry import find_dialect
from asynccache.stages._deciding import AnyCheck, as_decision
from asynccache.stages.stale import STALE

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Candidate, Request, Response
    from asynccache._protocols import Check, Decision

__all__ = [
    "ASKING_FOR_ALL",
    "ENTRY_CHECKS",
    "Validate",
    "belongs",
    "fresh",
    "harmless",
    "lacking",
    "refusal",
    "replayable",
    "tagged",
]

ASKING_FOR_ALL: Final[Mapping[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}
"""A body that asks of a stream all that an unstreamed answer tells."""


def belongs(request: Request, candidate: Candidate) -> str | None:
    """The entry is this question's: its key for an exact match, its partition (so its scope) otherwise."""
    entry = candidate.entry
    if entry.alias is not None:
        return "an alias, which holds no answer"
    if candidate.source is Source.EXACT:
        return None if entry.key == request.key else "foreign key"
    return None if entry.partition == request.partition else "foreign partition"


def fresh(request: Request, candidate: Candidate) -> str | None:
    """The entry is within its own lifetime and no older than the request allows."""
    ttl = candidate.entry.ttl
    if ttl is not None and candidate.age >= ttl:
        return "expired"
    max_age = request.control.max_age
    return None if max_age is None or candidate.age <= max_age else "older than max_age"


def tagged(request: Request, candidate: Candidate) -> str | None:
    """The entry carries every tag of the request: else invalidating that tag would leave it be."""
    tags = request.control.tags
    return None if not tags or set(tags) <= set(candidate.entry.tags) else "not stored under these tags"


def replayable(request: Request, candidate: Candidate) -> str | None:
    """The entry tells all that ``lacking`` looks for."""
    if request.upstream is None and "stream_options" not in request.body:
        return None
    return lacking(request, candidate.entry.response)


def lacking(request: Request, response: Response) -> str | None:
    """What the answer does not tell though the request's upstream would have, or None.

    That is usage, which a stream carries only if it was asked to. One answer serves whole and streamed
    requests alike; but a whole request with an upstream of its own stands for a client that takes the usage
    of every unstreamed answer for granted.
    """
    body = request.body
    if request.upstream is not None and body.get("stream") is not True:
        if not response.frames:
            return None
        body = ASKING_FOR_ALL
    elif "stream_options" not in body:
        return None
    return find_dialect(request.dialect).replayable(body, response)


def harmless(request: Request, candidate: Candidate) -> str | None:
    """The answer only says something: a call is made with the arguments of the very question asked."""
    acts = find_dialect(request.dialect).acts(candidate.entry.response)
    return "it calls a tool" if acts else None


UNSAID: Final = "refused by the decision"

ENTRY_CHECKS: Final[tuple[Check, ...]] = (belongs, fresh, tagged, replayable)


class Validate:
    """Make the first candidate that passes every check the answer; refuse the others, each with its reason.

    Args:
        checks: run in order for each candidate, after the entry checks every candidate must pass.
        decision: whether the answer to a near question answers this one: a ``Decision``, which is asked once
            about all semantic candidates that have passed the checks, or a ``Check`` (sync or async), which
            is asked about one after the other. None refuses them all. Answers that call tools are never
            served to a question they were not made for, whatever is decided.
    """

    def __init__(self, *checks: Check, decision: Decision | AnyCheck | None = None) -> None:
        self._checks: Final = (*ENTRY_CHECKS, *checks)
        self._semantic: Final = (*self._checks, harmless)
        self._decision: Final = as_decision(decision)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the decision open."""
        return entered(self._decision)

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        if exchange.answer is not None or not exchange.candidates:
            return exchange
        request = exchange.request
        near: list[Candidate] = []
        for candidate in exchange.candidates:
            exact = candidate.source is Source.EXACT
            reason = refusal(request, candidate, self._checks if exact else self._semantic)
            if reason is not None:
                exchange = _rejected(exchange, reason, candidate)
                if exact and candidate.entry.tags:
                    exchange = exchange.noting(tags=candidate.entry.tags)
                if exact and self._may_stand_in(request, candidate):
                    exchange = exchange.noting(**{STALE: candidate})
            elif exact:
                return exchange.accepting(candidate)
            else:
                near.append(candidate)
        return await self._decided(exchange, near) if near else exchange

    def _may_stand_in(self, request: Request, candidate: Candidate) -> bool:
        """Whether it may be served if the upstream fails: it is refused for its age alone."""
        control = request.control
        if control.stale_if_error is None or control.max_age is None:
            return False
        patient = replace(control, max_age=control.max_age + control.stale_if_error)
        return refusal(replace(request, control=patient), candidate, self._checks) is None

    async def _decided(self, exchange: Exchange, near: Sequence[Candidate]) -> Exchange:
        ruling = await self._decision.rule(exchange, near)
        accepted = ruling.accepted
        if accepted is not None and accepted not in near:
            raise StageError("the decision accepted a candidate that it was not asked about")
        refused = [each for each in near if each is not accepted]
        # Whatever a decision leaves unsaid: every refusal has a reason.
        reasons = (*ruling.reasons[: len(refused)], *[UNSAID] * (len(refused) - len(ruling.reasons)))
        for candidate, reason in zip(refused, reasons, strict=True):
            exchange = _rejected(exchange, reason, candidate)
        if ruling.judgement is not None:
            exchange = exchange.judged(ruling.judgement)
        if accepted is not None:
            return exchange.accepting(accepted)
        return exchange._replace(candidates=())


def refusal(request: Request, candidate: Candidate, checks: Iterable[Check]) -> str | None:
    """The first reason that one of the checks has, or None."""
    for check in checks:
        reason = check(request, candidate)
        if reason is not None:
            return reason
    return None


def _rejected(exchange: Exchange, reason: str, candidate: Candidate) -> Exchange:
    exchange.driver.emit(CandidateRejected(reason, candidate.source, candidate.similarity))
    return exchange.rejecting(reason, candidate)
