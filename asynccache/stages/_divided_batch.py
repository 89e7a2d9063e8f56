"""One request in its parts, and how far each has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from asynccache._models import Candidate, Cost, Entry, Response, Source
from asynccache.stages.stale import STALE

if TYPE_CHECKING:
    from asynccache._exchange import Asked, Exchange

__all__ = ["Batch"]


class Batch:
    """The distinct parts of a request; those asked for several times stand here once.

    Changed by the stage that made it, within one request.

    Args:
        exchange: the request's own.
        parts: an exchange for each part, normalized, in the order of the request.
    """

    def __init__(self, exchange: Exchange, parts: Sequence[Exchange]) -> None:
        self.exchange: Final = exchange
        places: dict[bytes, int] = {}
        self.order: Final = [places.setdefault(part.request.key, len(places)) for part in parts]
        """For each part of the request, its place among the distinct ones."""
        distinct = dict(zip(self.order, parts, strict=True))
        self.parts: Final = [distinct[place] for place in range(len(places))]
        """The distinct parts' exchanges: replaced as they go on."""
        self.answers: Final[list[Response | None]] = [None] * len(self.parts)
        self.asked: Asked | None = None
        """When the upstream was asked for some of them; None when it was not."""
        self.as_it_came: Response | None = None
        """The upstream's answer to the whole when it cannot be told apart."""
        self.stale = False
        """Whether some of it is too old and only stands in."""
        self.reasons: Final[dict[str, None]] = {}
        """Why stored answers were refused, or answers not stored: each once, in order."""

    @property
    def missing(self) -> list[int]:
        """Places without an answer."""
        return [place for place, answer in enumerate(self.answers) if answer is None]

    @property
    def stored(self) -> int:
        """How many parts of the request were answered from the store."""
        return sum(self.parts[place].accepted is not None for place in self.order)

    def is_whole(self, places: Sequence[int]) -> bool:
        """Whether these places are the request as it was sent: all of it, and nothing twice."""
        return len(places) == len(self.order)

    def bodies(self, places: Sequence[int]) -> list[Mapping[str, Any]]:
        """The bodies at some places."""
        return [self.parts[place].request.body for place in places]

    def responses(self) -> list[Response]:
        """The answer to each part of the request, in order."""
        found = [self.answers[place] for place in self.order]
        return [response for response in found if response is not None]

    def note(self, before: Exchange, after: Exchange) -> None:
        """Keep the reasons that a stage has added to a part's."""
        self.reasons.update(dict.fromkeys(after.reasons[len(before.reasons) :]))

    def forget(self) -> None:
        """Drop all answers; what the entries in their place are known by stays with the parts."""
        for place, part in enumerate(self.parts):
            noted = part if part.accepted is None else part.noting(tags=part.accepted.entry.tags)
            self.parts[place] = noted._replace(answer=None, source=None, accepted=None)
        self.answers[:] = [None] * len(self.parts)
        self.stale = False

    def stand_in(self) -> bool:
        """Answer what is missing with what was refused for its age alone, if all of it may be; whether."""
        noted = {place: self.parts[place].notes.get(STALE) for place in self.missing}
        found = {place: candidate for place, candidate in noted.items() if isinstance(candidate, Candidate)}
        if len(found) < len(noted):
            return False
        for place, candidate in found.items():
            self.parts[place] = self.parts[place].accepting(candidate)
            self.answers[place] = candidate.entry.response
        self.stale = True
        return True

    def answered(self, response: Response) -> Exchange:
        """The request's exchange with the answer to all of it."""
        exchange, total = self.exchange, len(self.order)
        stored = self.stored if self.as_it_came is None else 0
        reasons = [*exchange.reasons, *self.reasons]
        if 0 < stored < total:
            reasons.append(f"{stored} of {total} inputs were stored")
        exchange = exchange._replace(reasons=tuple(reasons), asked=self.asked)
        if stored == total:
            candidate = self._candidate(response)
            return exchange.proposing(candidate).accepting(candidate)
        fresh = Source.SHARED if self.asked is None else Source.UPSTREAM
        return exchange.answering(response, Source.STALE if self.stale else fresh)

    def _candidate(self, response: Response) -> Candidate:
        """All that was stored as one entry: as old as its oldest part, and sparing what they spare together.

        The seconds are those of the slowest part: an upstream makes them side by side.
        """
        request = self.exchange.request
        accepted = [self.parts[place].accepted for place in self.order]
        found = [candidate for candidate in accepted if candidate is not None]
        costs = [candidate.entry.cost for candidate in found]
        entry = Entry(
            key=request.key,
            partition=request.partition,
            dialect=request.dialect,
            response=response,
            created_at=min(candidate.entry.created_at for candidate in found),
            version=request.control.version,
            cost=Cost(
                sum(cost.prompt_tokens for cost in costs),
                sum(cost.completion_tokens for cost in costs),
                max(cost.seconds for cost in costs),
            ),
        )
        source = Source.STALE if self.stale else Source.EXACT
        return Candidate(entry, source, max(candidate.age for candidate in found))
