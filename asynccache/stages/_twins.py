"""Questions in flight whose answers may answer another one, which is asked in other words."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from asynccache._models import Candidate, Entry, Neighbour, Response, Source
from asynccache.stages.validate import harmless, refusal, replayable

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._judging import Judgement
    from asynccache._protocols import Comparing
    from asynccache.stages._flight import Flight

__all__ = ["Twins", "answers"]

MOST_COMPARED: Final = 256
"""Questions in flight that a question is compared with: the newest of its partition."""
CANDIDATES: Final = 3

_Place: TypeAlias = "tuple[bytes, bytes, float | None, tuple[str, ...]]"
"""Partition, space, ttl and tags: requests that differ in one of them never share."""


class Twins:
    """Finds the flight whose answer, once it is there, would be a semantic hit.

    Args:
        decision: rules over questions in flight as over stored ones.
    """

    def __init__(self, decision: Comparing) -> None:
        self._decision: Final = decision
        # In order of take-off. A flight is here from its take-off until it is forgotten.
        self._flown: Final[dict[_Place, dict[Flight, Exchange]]] = {}
        self.flown = 0
        """How many have taken off so far."""

    def add(self, flight: Flight, exchange: Exchange) -> None:
        """A question has taken off."""
        place = _place(exchange)
        if place is not None:
            self._flown.setdefault(place, {})[flight] = exchange
            self.flown += 1

    def remove(self, flight: Flight, exchange: Exchange) -> None:
        """It is of no use to anybody any more."""
        place = _place(exchange)
        flown = None if place is None else self._flown.get(place)
        if place is not None and flown is not None:
            flown.pop(flight, None)
            if not flown:
                del self._flown[place]

    def clear(self) -> None:
        """Nobody flies any more."""
        self._flown.clear()

    async def find(
        self, exchange: Exchange, usable: Callable[[Flight], bool]
    ) -> tuple[Flight, Exchange, Judgement | None] | None:
        """The flight to wait for, who flies it, and why; None: fly yourself.

        Args:
            exchange: who asks.
            usable: whether a flight may be waited for at all.
        """
        place, embedding = _place(exchange), exchange.embedding
        if place is None or embedding is None or exchange.request.control.max_error == 0:
            return None
        newest = islice(reversed(self._flown.get(place, {}).items()), MOST_COMPARED)
        flown = [(flight, by) for flight, by in newest if usable(flight)]
        vectors = [by.embedding.vector for _, by in flown if by.embedding is not None]
        if not vectors:
            return None
        near = self._decision.nearest(embedding.vector, vectors, CANDIDATES)
        candidates = [_candidate(flown[at][1], cosine) for at, cosine in near]
        if not candidates:
            return None
        around = [
            Neighbour(each.entry.key, each.similarity, vectors[at])
            for each, (at, _) in zip(candidates, near, strict=True)
        ]
        asking = exchange._replace(neighbours=(*around, *exchange.neighbours))
        ruling = await self._decision.rule(asking, candidates)
        for candidate, (at, _) in zip(candidates, near, strict=True):
            if candidate is ruling.accepted:
                return (*flown[at], ruling.judgement)
        return None


def answers(exchange: Exchange, by: Exchange, response: Response) -> bool:
    """Whether the answer to one question may be handed to a near one, as a stored one might."""
    candidate = _candidate(by, 1.0, response)
    return refusal(exchange.request, candidate, (replayable, harmless)) is None


def _place(exchange: Exchange) -> _Place | None:
    request, embedding = exchange.request, exchange.embedding
    if embedding is None or request.question is None:
        return None
    return request.partition, embedding.space, request.control.ttl, request.control.tags


def _candidate(by: Exchange, similarity: float, response: Response = Response(b"")) -> Candidate:  # noqa: B008  (immutable)
    request = by.request
    entry = Entry(
        key=request.key,
        partition=request.partition,
        dialect=request.dialect,
        response=response,
        created_at=by.driver.clock.now(),
        question=request.question,
    )
    return Candidate(entry, Source.SEMANTIC, 0.0, similarity)
