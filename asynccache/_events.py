"""What a pipeline tells its hooks. No event carries message text, keys or tenant names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asynccache._models import Mode, Source

__all__ = [
    "CandidateRejected",
    "EntryRefused",
    "EntryStored",
    "Event",
    "HitAudited",
    "PromiseChanged",
    "RequestFailed",
    "RequestServed",
    "SemanticTierChanged",
    "StageFailed",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of every event."""


@dataclass(frozen=True, slots=True)
class RequestServed(Event):
    """One answered request: the canonical line.

    Args:
        source: where the answer came from.
        mode: ``"fetch"`` or ``"stream"``.
        seconds: until the answer was there; for a stream, until it began.
        similarity: cosine of the accepted candidate, or None for an answer that is not a hit.
        reasons: why candidates were refused.
        partition: first 8 hex digits of the partition.
    """

    source: Source
    mode: Mode
    seconds: float
    similarity: float | None
    reasons: tuple[str, ...]
    partition: str


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """A request that ended in an error the caller has seen (upstream errors, bad input)."""

    error: Exception
    mode: Mode
    seconds: float


@dataclass(frozen=True, slots=True)
class StageFailed(Event):
    """A failure of the cache, passed over: the request went on without this stage.

    Args:
        stage: class or function name.
        error: what it raised.
    """

    stage: str
    error: Exception


@dataclass(frozen=True, slots=True)
class CandidateRejected(Event):
    """A stored answer was found and not served."""

    reason: str
    source: Source
    similarity: float


@dataclass(frozen=True, slots=True)
class EntryStored(Event):
    """An answer was stored (committed, unless the backend writes behind)."""

    size: int
    """Bytes of the answer."""


@dataclass(frozen=True, slots=True)
class EntryRefused(Event):
    """An answer was served to its caller and, for this reason, not stored."""

    reason: str


@dataclass(frozen=True, slots=True)
class SemanticTierChanged(Event):
    """The semantic tier went out of service, or came back; the exact tier works all along.

    Args:
        error: why it is out of service; None when it is back.
    """

    error: Exception | None


@dataclass(frozen=True, slots=True)
class PromiseChanged(Event):
    """The semantic tier became stricter or bolder, closed or opened again, to keep ``max_error``.

    Args:
        family: first 8 hex digits of the hash of the namespace.
        limit: least calibrated score served from now on, log odds; None: nothing is, since no limit keeps
            the promise.
    """

    family: str
    limit: float | None


@dataclass(frozen=True, slots=True)
class HitAudited(Event):
    """A semantic hit was asked upstream again.

    Args:
        same: whether the answers say the same; None: the judge could not tell.
    """

    same: bool | None
