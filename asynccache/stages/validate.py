"""Decide which proposed candidate, if any, is the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asynccache._events import CandidateRejected
from asynccache._models import Source
from asynccache._registry import find_dialect

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Candidate, Request
    from asynccache._protocols import Check

__all__ = ["ENTRY_CHECKS", "Validate", "belongs", "fresh", "replayable", "tagged"]


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
    """The entry has what a stream was asked to carry (usage, for ``stream_options.include_usage``)."""
    if "stream_options" not in request.body:
        return None
    return find_dialect(request.dialect).replayable(request.body, candidate.entry.response)


def harmless(request: Request, candidate: Candidate) -> str | None:
    """The answer only says something: a call is made with the arguments of the very question asked."""
    acts = find_dialect(request.dialect).acts(candidate.entry.response)
    return "it calls a tool" if acts else None


def undecided(request: Request, candidate: Candidate) -> str | None:
    """Nobody was asked whether a near question has the same answer."""
    del request, candidate
    return "no semantic decision"


ENTRY_CHECKS: Final[tuple[Check, ...]] = (belongs, fresh, tagged, replayable)


class Validate:
    """Make the first candidate that passes every check the answer; refuse the others, each with its reason.

    Args:
        checks: run in order for each candidate, after the entry checks every candidate must pass.
        decision: whether the answer to a near question answers this one; asked about semantic
            candidates only. None refuses them all. Answers that call tools are never served to a question
            they were not made for, whatever is decided.
    """

    def __init__(self, *checks: Check, decision: Check | None = None) -> None:
        self._checks: Final = (*ENTRY_CHECKS, *checks)
        self._semantic: Final = (*self._checks, undecided if decision is None else decision, harmless)

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        if exchange.answer is not None or not exchange.candidates:
            return exchange
        request = exchange.request
        for candidate in exchange.candidates:
            for check in self._checks if candidate.source is Source.EXACT else self._semantic:
                reason = check(request, candidate)
                if reason is not None:
                    break
            else:
                return exchange.accepting(candidate)
            exchange.driver.emit(CandidateRejected(reason, candidate.source, candidate.similarity))
            exchange = exchange.rejecting(reason, candidate)
            if candidate.source is Source.EXACT and candidate.entry.tags:
                exchange = exchange.noting(tags=candidate.entry.tags)
        return exchange
