"""The state of one request on its way through the stages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asynccache._judging import Judgement
from asynccache._models import Candidate, Embedding, Mode, Neighbour, Request, Response, Source

if TYPE_CHECKING:
    from asynccache._protocols import Driver
    from asynccache._stream import Stream

__all__ = ["Asked", "Exchange"]

_new_tuple: Final = tuple.__new__
"""A quarter of the cost of ``_replace``, for the copies that every hit makes."""


class Asked(NamedTuple):
    """When the upstream was asked."""

    at: float
    """Monotonic seconds."""
    generation: int
    """The driver's generation then: an answer of an older one is never stored."""


_NO_NOTES: Final[Mapping[str, Any]] = MappingProxyType({})
_UNTOUCHED: Final = ((), None, None, None, (), None, _NO_NOTES, None)
"""What stands behind ``accepted`` in an exchange that no stage has touched."""


class Exchange(NamedTuple):
    """The state of one request on its way through the stages.

    A stage returns a changed copy (through the participles below), or the very object it was given
    when it has nothing to say. A tuple, because its copies are the pipeline's most frequent objects.
    """

    request: Request
    mode: Mode
    driver: Driver
    started: float
    """Monotonic seconds at which the request entered the pipeline."""
    candidates: tuple[Candidate, ...] = ()
    """Proposed and not yet rejected, best first."""
    answer: Response | Stream | None = None
    """Set once; stages after that let the exchange pass."""
    source: Source | None = None
    """Where the answer came from; None while there is none."""
    accepted: Candidate | None = None
    """The candidate that became the answer, for hits."""
    reasons: tuple[str, ...] = ()
    """Why candidates were refused or the answer was not stored."""
    uncacheable: str | None = None
    """Why this request must neither be served from the cache nor stored nor shared; None when it may."""
    asked: Asked | None = None
    """Set when the upstream is asked."""
    embedding: Embedding | None = None
    """The question's vector; None until computed."""
    neighbours: tuple[Neighbour, ...] = ()
    """The stored questions nearest to this one, best first; more than are proposed."""
    judgement: Judgement | None = None
    """What the semantic decision thought of the best candidate; None while nothing was decided."""
    notes: Mapping[str, Any] = _NO_NOTES
    """For custom stages to pass values to later ones."""
    since: int | None = None
    """The fill token: what is stored for this request is void if it, or a tag of it, was invalidated after.

    Set by ``ExactLookup`` from a ``Feed``'s ``position``; None where there is none.
    """

    @property
    def strong(self) -> bool:
        """Whether nothing may be served that another process has replaced or removed before."""
        return (self.request.control.consistency or self.driver.consistency) == "strong"

    @classmethod
    def answered(
        cls, request: Request, mode: Mode, driver: Driver, started: float, accepted: Candidate
    ) -> Exchange:
        """An exchange that is over: its one candidate was accepted."""
        answer = (accepted,), accepted[0].response, accepted[1], accepted
        return _new_tuple(cls, (request, mode, driver, started, *answer, *_UNTOUCHED))

    def asking(self, request: Request) -> Exchange:
        """Replace the request, e.g. by its normalized form."""
        return _new_tuple(Exchange, (request, *self[1:]))

    def proposing(self, *candidates: Candidate) -> Exchange:
        """Add candidates behind those already proposed."""
        return _new_tuple(Exchange, (*self[:4], self[4] + candidates, *self[5:]))

    def looked_up(self, since: int, *candidates: Candidate) -> Exchange:
        """Take the fill token, and add candidates behind those already proposed."""
        return _new_tuple(Exchange, (*self[:4], self[4] + candidates, *self[5:-1], since))

    def rejecting(self, reason: str, candidate: Candidate | None = None) -> Exchange:
        """Note a reason; drop the candidate it is about (None drops none)."""
        kept = tuple(c for c in self.candidates if c is not candidate)
        return self._replace(candidates=kept, reasons=(*self.reasons, reason))

    def accepting(self, candidate: Candidate) -> Exchange:
        """Make a proposed candidate the answer."""
        answer = candidate[0].response, candidate[1], candidate
        return _new_tuple(Exchange, (*self[:5], *answer, *self[8:]))

    def answering(self, answer: Response | Stream, source: Source, asked: Asked | None = None) -> Exchange:
        """Set the answer of an upstream, with when it was asked, or that of a custom stage."""
        asked = self[10] if asked is None else asked
        return _new_tuple(Exchange, (*self[:5], answer, source, *self[7:10], asked, *self[11:]))

    def bypassing(self, reason: str) -> Exchange:
        """Keep this request and its answer out of the cache."""
        return self._replace(uncacheable=reason, reasons=(*self.reasons, reason))

    def embedded(self, embedding: Embedding) -> Exchange:
        """Keep the question's vector for later stages."""
        return _new_tuple(Exchange, (*self[:11], embedding, *self[12:]))

    def judged(self, judgement: Judgement) -> Exchange:
        """Keep what the semantic decision thought, for later stages to learn from."""
        return self._replace(judgement=judgement)

    def noting(self, **notes: Any) -> Exchange:
        """Add notes for later stages."""
        return self._replace(notes=MappingProxyType({**self.notes, **notes}))
