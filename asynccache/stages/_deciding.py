"""Plain functions as semantic decisions."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from asynccache._errors import ConfigurationError
from asynccache._judging import Ruling
from asynccache._protocols import Decision

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Candidate, Request

__all__ = ["AnyCheck", "EachDecision", "as_decision"]

AnyCheck: TypeAlias = "Callable[[Request, Candidate], str | Awaitable[str | None] | None]"
"""A reason to refuse the candidate, or None: at once or awaited."""


class EachDecision:
    """Asks a check about one candidate after the other, best first, and accepts the first that passes.

    Args:
        check: a function of the request and the candidate. Its ``lowest``, if it has one, is the cosine
            below which it refuses everything.
    """

    def __init__(self, check: AnyCheck) -> None:
        self._check: Final = check
        self.neighbours: Final = 0
        self.lowest: Final[float] = getattr(check, "lowest", -1.0)
        """See ``Decision``."""

    async def rule(self, exchange: Exchange, candidates: Sequence[Candidate], /) -> Ruling:
        reasons: list[str] = []
        for candidate in candidates:
            reason: Any = self._check(exchange.request, candidate)
            if inspect.isawaitable(reason):
                reason = await reason
            if reason is None:
                return Ruling(candidate, tuple(reasons))
            reasons.append(reason if isinstance(reason, str) else "refused by the decision")
        return Ruling(None, tuple(reasons))


def _undecided(request: Request, candidate: Candidate) -> str:
    """Nobody was asked whether a near question has the same answer."""
    del request, candidate
    return "no semantic decision"


def as_decision(given: Decision | AnyCheck | None) -> Decision:
    """What was given, as a Decision; None refuses everything.

    Raises:
        ConfigurationError: it is neither a Decision nor a function.
    """
    if given is None:
        return EachDecision(_undecided)
    if isinstance(given, Decision):
        return given
    if not callable(given):
        raise ConfigurationError(
            f"decision={given!r}: expected a Decision or a function of request and candidate that returns a "
            "reason to refuse, or None"
        )
    return EachDecision(given)
