"""Hard guards: what must be equal between two questions, whatever a decision thinks of them.

They read English words, and digits, units, names and signs in any language. They refuse too often rather
than too seldom, and an exchange they have no word for passes them: a guard is no decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from asynccache._errors import ConfigurationError
from asynccache._judging import Ruling
from asynccache._models import Source
from asynccache.decision._around import AroundDecision, refusals
from asynccache.decision._guard_entities import names_of, strange
from asynccache.decision._guard_negation import opposed, polarity_of
from asynccache.decision._guard_numbers import numbers_of
from asynccache.decision._guard_units import units_of

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Candidate, Request
    from asynccache._protocols import Check, Decision

__all__ = ["GUARDS", "Guarded", "entities", "negation", "numbers", "units"]

_UNKNOWN: Final = "a question that has no text"
_ON_LOOP: Final = 2000
"""Characters of all questions together, read on the event loop in about a millisecond; more take a thread."""


def numbers(request: Request, candidate: Candidate) -> str | None:
    """The same numbers: each by its value, and as often.

    Read are digits with separators, number words, ordinals, Roman numerals, percentages, versions, dates,
    times, weekdays and the signs of sums. "3.11" is not "3.12", and "3.1" not "3.10".
    """
    texts = _texts(request, candidate)
    if texts is None:
        return _known(candidate)
    asked, stored = texts
    return None if numbers_of(asked) == numbers_of(stored) else "the questions have different numbers"


def negation(request: Request, candidate: Candidate) -> str | None:
    """As many negations, the same exceptions and conditions, and no word in place of its opposite."""
    texts = _texts(request, candidate)
    if texts is None:
        return _known(candidate)
    asked, stored = texts
    return opposed(polarity_of(asked), polarity_of(stored))


def units(request: Request, candidate: Candidate) -> str | None:
    """The same units and currencies, and each number with the same one beside it."""
    texts = _texts(request, candidate)
    if texts is None:
        return _known(candidate)
    asked, stored = texts
    return None if units_of(asked) == units_of(stored) else "the questions have different units"


def entities(request: Request, candidate: Candidate) -> str | None:
    """The same names, acronyms, identifiers, quotations and addresses, whatever their case.

    What is named in one question may stand in lower case in the other. A name that both questions write in
    lower case is not seen.
    """
    texts = _texts(request, candidate)
    if texts is None:
        return _known(candidate)
    asked, stored = texts
    return "the questions have different names" if strange(names_of(asked), names_of(stored)) else None


GUARDS: Final[Mapping[str, Check]] = MappingProxyType(
    {"numbers": numbers, "negation": negation, "units": units, "entities": entities}
)
"""The guards by their names."""


class Guarded(AroundDecision):
    """Puts guards before a decision: it is asked only about the candidates that pass them all.

    Args:
        decision: rules over the rest. Its ``learn``, ``lifespan()`` and public attributes are passed on.
        guards: run in order for each candidate; the first reason counts. Such as those of ``GUARDS``: pure,
            quick, and safe in threads, where long questions are read.

    Raises:
        ConfigurationError: a guard is not callable.
    """

    def __init__(self, decision: Decision, guards: Sequence[Check]) -> None:
        super().__init__(decision)
        for guard in guards:
            if not callable(guard):
                raise ConfigurationError(
                    f"guards: expected functions such as those of GUARDS ({', '.join(GUARDS)}), got {guard!r}"
                )
        self._guards: Final = tuple(guards)
        # Of its own, so that a long question never waits for somebody else's work.
        self._threads: Final = anyio.CapacityLimiter(1)

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        request = exchange.request
        length = len(request.question or "") + sum(len(each.entry.question or "") for each in candidates)
        if length <= _ON_LOOP:
            guarded = self._reasons(request, candidates)
        else:
            guarded = await to_thread.run_sync(self._reasons, request, candidates, limiter=self._threads)
        passed = [each for each, reason in zip(candidates, guarded, strict=True) if reason is None]
        if not passed:
            return Ruling(None, tuple(reason for reason in guarded if reason is not None))
        ruling = await self.inner.rule(exchange, passed)
        if len(passed) == len(candidates):
            return ruling
        ours = dict(zip(map(id, candidates), guarded, strict=True))
        reasons: list[str] = []
        for each, theirs in refusals(candidates, ruling, passed):
            reason = ours[id(each)] or theirs
            if reason is None:
                break  # the inner one did not come to it; those behind it have no place in the order
            reasons.append(reason)
        return ruling._replace(reasons=tuple(reasons))

    def _reasons(self, request: Request, candidates: Sequence[Candidate]) -> list[str | None]:
        return [self._refusal(request, each) for each in candidates]

    def _refusal(self, request: Request, candidate: Candidate) -> str | None:
        for guard in self._guards:
            reason = guard(request, candidate)
            if reason is not None:
                return reason
        return None


def _texts(request: Request, candidate: Candidate) -> tuple[str, str] | None:
    asked, stored = request.question, candidate.entry.question
    return None if asked is None or stored is None else (asked, stored)


def _known(candidate: Candidate) -> str | None:
    """Of a question without a text only an exact match is known to be the same."""
    return None if candidate.source is Source.EXACT else _UNKNOWN
