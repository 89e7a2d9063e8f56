"""asynccache: an asyncio-native cache for what language models answer."""

from __future__ import annotations

from asynccache._answer_stream import AnswerStream
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
from asynccache._models import (
    Candidate,
    Chunk,
    Control,
    Cost,
    Entry,
    Exchange,
    Request,
    Response,
    Saved,
    Scope,
    Source,
)
from asynccache._outcome import Outcome
from asynccache._pipeline import CachePipeline
from asynccache._registry import known_backends, open_backend, register_backend
from asynccache._stats import Stats
from asynccache._stream import Stream

__version__ = "0.1.0"

__all__ = [
    "AnswerStream",
    "AsyncCacheError",
    "BackendError",
    "BackendUnavailable",
    "CachePipeline",
    "Candidate",
    "Chunk",
    "ConfigurationError",
    "Control",
    "CorruptEntry",
    "Cost",
    "Entry",
    "Exchange",
    "InvalidRequest",
    "NotCached",
    "Outcome",
    "PipelineClosed",
    "Request",
    "Response",
    "Saved",
    "Scope",
    "Source",
    "StageError",
    "Stats",
    "Stream",
    "UpstreamAuth",
    "UpstreamBadRequest",
    "UpstreamBusy",
    "UpstreamError",
    "UpstreamInvalidAnswer",
    "UpstreamServerError",
    "UpstreamStreamError",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "known_backends",
    "open_backend",
    "register_backend",
    "__version__",
]
