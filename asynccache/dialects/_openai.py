"""What OpenAI's protocols have in common."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import orjson

__all__ = ["DONE", "event", "failure", "renewed"]

DONE: Final = b"data: [DONE]\n\n"

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def event(frame: bytes) -> bytes:
    """A server-sent event without a name; see ``Dialect.event``."""
    if b"\n" in frame:  # JSON written over several lines
        frame = frame.replace(b"\n", b"\ndata: ")
    return b"data: %b\n\n" % frame


def renewed(payload: bytes, *, prefix: str, token: str, now: int) -> bytes:
    """A document or chunk with a new ``id`` and ``created``, where it has them; see ``Dialect.renewed``."""
    document = orjson.loads(payload)
    if "id" in document:
        document["id"] = prefix + token
    if "created" in document:
        document["created"] = now
    return orjson.dumps(document)


def failure(status: int, message: str, *, field: str | None = None) -> bytes:
    """An error in OpenAI's shape; see ``Dialect.failure``."""
    kind = _TYPES.get(
        status, "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    )
    return orjson.dumps({"error": {"message": message, "type": kind, "param": field, "code": status}})
