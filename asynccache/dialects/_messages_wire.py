"""How the Messages protocol writes events, ids and errors."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

import orjson

__all__ = ["event", "failure", "renewed"]

_TYPE_FIRST: Final = re.compile(rb'\{\s*"type"\s*:\s*"([a-z_]{1,64})"')
"""How nearly all events begin, so that they need not be parsed."""
_TYPE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What can be named in an ``event:`` line."""

_ERROR_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def event(frame: bytes) -> bytes:
    """A frame under its type, without which Anthropic's SDK passes it over; see ``Dialect.event``."""
    found = _TYPE_FIRST.match(frame)
    name = found[1] if found else _parsed_type(frame)
    # JSON may be written over several lines; an event's data is a line each.
    lines = b"".join(b"data: %b\n" % line for line in frame.splitlines())
    return (b"event: %b\n" % name if name else b"") + lines + b"\n"


def _parsed_type(frame: bytes) -> bytes:
    document = _parsed(frame)
    kind = document.get("type") if isinstance(document, dict) else None
    return kind.encode() if isinstance(kind, str) and _TYPE.fullmatch(kind) else b""


def _parsed(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except ValueError:
        return None


def renewed(payload: bytes, *, token: str) -> bytes:
    """A message, or the event that begins one, with a new ``id``; nothing else is touched."""
    if b'"id"' not in payload:
        return payload
    document = _parsed(payload)
    if not isinstance(document, dict):
        return payload
    holder = document.get("message") if document.get("type") == "message_start" else document
    if not isinstance(holder, dict) or not isinstance(holder.get("id"), str):
        return payload
    old, new = orjson.dumps(holder["id"]), f"msg_{token}"
    # In place, so that the numbers of a tool's input stay as the model wrote them.
    changed, times = re.subn(rb'("id"\s*:\s*)' + re.escape(old), rb'\1"%b"' % new.encode(), payload)
    if times == 1:
        return changed
    holder["id"] = new
    return orjson.dumps(document)


def failure(status: int, message: str) -> bytes:
    """An error in Anthropic's shape; see ``Dialect.failure``."""
    kind = _ERROR_TYPES.get(
        status, "api_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    )
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})
