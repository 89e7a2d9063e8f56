"""Every error of the library. Nothing here imports anything of the library."""

from __future__ import annotations

__all__ = [
    "AsyncCacheError",
    "BackendError",
    "BackendUnavailable",
    "ConfigurationError",
    "CorruptEntry",
    "EmbedderError",
    "EmbedderUnavailable",
    "InvalidRequest",
    "NotCached",
    "PipelineClosed",
    "StageError",
    "TextRefused",
    "UpstreamAuth",
    "UpstreamBadRequest",
    "UpstreamBusy",
    "UpstreamError",
    "UpstreamInvalidAnswer",
    "UpstreamServerError",
    "UpstreamStreamError",
    "UpstreamTimeout",
    "UpstreamUnreachable",
]


class AsyncCacheError(Exception):
    """Base of every error this library raises on purpose."""


class ConfigurationError(AsyncCacheError, ValueError):
    """An option, URL or combination of options cannot work; raised before anything is opened."""


class InvalidRequest(AsyncCacheError, ValueError):
    """A request was refused at the door; nothing was looked up, sent or stored.

    Attributes:
        field: path of the offending field, e.g. ``"messages[0].role"`` or ``"control.ttl"``.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[InvalidRequest], tuple[str, str]]:
        return type(self), (self.field, self.problem)


class NotCached(AsyncCacheError):
    """``only_if_cached`` was asked for and no stored answer may be served."""


class PipelineClosed(AsyncCacheError):
    """The pipeline was used outside its ``async with`` block, or closed under a waiting request."""


class StageError(AsyncCacheError):
    """A stage broke the contract, e.g. returned something that is not an Exchange."""


class ForeignError(Exception):
    """Carries an exception that is not ours (from a user's upstream) to the caller, unchanged.

    Internal: the pipeline unwraps it; a composite stage lets it pass.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class BackendError(AsyncCacheError):
    """The one family of errors a backend raises; the pipeline reports it and goes on as a miss."""


class BackendUnavailable(BackendError):
    """The store cannot be reached, opened or written now (closed, locked, full, read-only, too slow)."""


class CorruptEntry(BackendError):
    """Stored bytes failed their integrity check; the backend has deleted or set them aside."""


class EmbedderError(AsyncCacheError):
    """The one family of errors an embedder raises; the pipeline goes on with the exact tier."""


class EmbedderUnavailable(EmbedderError):
    """Nothing can be embedded now: no model, a package that is not installed, a timeout, a failure."""


class TextRefused(EmbedderError):
    """This text has no vector that says what it means.

    Attributes:
        reason: why, without the text: it is empty, longer than the model's window …
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UpstreamError(AsyncCacheError):
    """The upstream did not give a usable answer; reaches the caller as raised and is never cached.

    Attributes:
        status: HTTP status, or None when no response arrived.
        detail: the upstream's own words. They may quote the prompt, so they are not part of
            ``str(error)``; log them with care.
        retry_after: seconds the upstream asked to wait, or None.
        body: the response's body bytes as received, possibly empty.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        detail: str = "",
        retry_after: float | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.body = body


class UpstreamBadRequest(UpstreamError):
    """The upstream refused the request itself (400, 404, 405, 409, 413, 415, 422); retrying cannot help."""


class UpstreamAuth(UpstreamError):
    """The upstream refused the credentials (401, 403)."""


class UpstreamBusy(UpstreamError):
    """The upstream asked to come back later (429, 503) and went on doing so through all retries."""


class UpstreamServerError(UpstreamError):
    """The upstream failed (any other 5xx, or a redirect, which is never followed)."""


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer within the configured time."""


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, or it broke before an answer had arrived."""


class UpstreamInvalidAnswer(UpstreamError):
    """The upstream said success but sent something that is not an answer (no JSON, not an object)."""


class UpstreamStreamError(UpstreamError):
    """A stream broke after it had begun: an error frame, or an end before every choice was finished."""
