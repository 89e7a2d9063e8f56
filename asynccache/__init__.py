"""asynccache: an asyncio-native cache for what language models answer."""

from __future__ import annotations

from asynccache._answer_stream import AnswerStream
from asynccache._cached import CacheStats, cached
from asynccache._errors import (
    AsyncCacheError,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    CorruptEntry,
    InvalidRequest,
    NotCached,
    PipelineClosed,
    StageError,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamBusy,
    UpstreamError,
    UpstreamInvalidAnswer,
    UpstreamServerError,
    UpstreamStreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from asynccache._events import (
    CandidateRejected,
    EntryRefused,
    EntryStored,
    Event,
    RequestFailed,
    RequestServed,
    StageFailed,
)
from asynccache._exchange import Exchange
from asynccache._models import Candidate, Chunk, Control, Cost, Entry, Request, Response, Saved, Scope, Source
from asynccache._outcome import Outcome
from asynccache._pipeline import CachePipeline
from asynccache._protocols import (
    Backend,
    Check,
    Clearable,
    Clock,
    Dialect,
    Driver,
    Hook,
    Instant,
    Managed,
    Measurable,
    Stage,
    Taggable,
    Upstream,
)
from asynccache._registry import known_backends, open_backend, register_backend
from asynccache._stats import Stats
from asynccache._stream import Stream

__version__ = "0.1.0"

__all__ = [
    "AnswerStream",
    "AsyncCacheError",
    "Backend",
    "BackendError",
    "BackendUnavailable",
    "CachePipeline",
    "CacheStats",
    "Candidate",
    "CandidateRejected",
    "Check",
    "Chunk",
    "Clearable",
    "Clock",
    "ConfigurationError",
    "Control",
    "CorruptEntry",
    "Cost",
    "Dialect",
    "Driver",
    "Entry",
    "EntryRefused",
    "EntryStored",
    "Event",
    "Exchange",
    "Hook",
    "Instant",
    "InvalidRequest",
    "Managed",
    "Measurable",
    "NotCached",
    "Outcome",
    "PipelineClosed",
    "Request",
    "RequestFailed",
    "RequestServed",
    "Response",
    "Saved",
    "Scope",
    "Source",
    "Stage",
    "StageError",
    "StageFailed",
    "Stats",
    "Stream",
    "Taggable",
    "Upstream",
    "UpstreamAuth",
    "UpstreamBadRequest",
    "UpstreamBusy",
    "UpstreamError",
    "UpstreamInvalidAnswer",
    "UpstreamServerError",
    "UpstreamStreamError",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "__version__",
    "cached",
    "known_backends",
    "open_backend",
    "register_backend",
]
