"""What a broken connection is called here. Pure."""

from __future__ import annotations

import httpx2

from asynccache._errors import (
    UpstreamError,
    UpstreamInvalidAnswer,
    UpstreamStreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)

__all__ = ["from_transport"]


def from_transport(error: Exception, *, streaming: bool = False) -> UpstreamError:
    """The error for a connection that failed; ``streaming`` when the answer had begun to arrive."""
    name = type(error).__name__
    if streaming:
        return UpstreamStreamError(f"the stream broke off ({name})", detail=str(error))
    if isinstance(error, httpx2.TimeoutException):
        return UpstreamTimeout(f"the upstream took too long ({name})", detail=str(error))
    if isinstance(error, httpx2.ConnectError):
        return UpstreamUnreachable(f"no connection to the upstream ({name})", detail=str(error))
    if isinstance(error, httpx2.DecodingError):
        return UpstreamInvalidAnswer("the upstream's content encoding is broken", detail=str(error))
    return UpstreamUnreachable(f"the connection to the upstream broke ({name})", detail=str(error))
