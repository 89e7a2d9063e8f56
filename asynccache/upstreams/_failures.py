"""What an upstream's failure is called here. Pure.

An upstream's own words may quote the prompt, so they go to ``detail``; the sentence of an error names
only the status and, where they look like identifiers, the error's type, code and param.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from asynccache._errors import (
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamBusy,
    UpstreamError,
    UpstreamInvalidAnswer,
    UpstreamServerError,
    UpstreamStreamError,
    UpstreamTimeout,
)

__all__ = ["check_document", "from_error_event", "from_status", "names_error", "parse"]

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.\-\[\] ]{1,64}")
"""What an error's type, code or param looks like: `Bad Request`, `messages[0].content`. Not a sentence."""

_HTTP_STATUS: Final = range(400, 600)


def from_status(status: int, body: bytes, *, retry_after: float | None = None) -> UpstreamError:
    """The error of a response whose status is not 2xx.

    Args:
        status: the HTTP status.
        body: the response's body, as far as it was read.
        retry_after: seconds the upstream asked to wait.
    """
    label, detail = _describe(parse(body))
    return _kind(status)(
        f"the upstream answered {status}{label}",
        status=status,
        detail=detail,
        retry_after=retry_after,
        body=body,
    )


def _kind(status: int) -> type[UpstreamError]:
    match status:
        case 401 | 403:
            return UpstreamAuth
        case 408:
            return UpstreamTimeout
        case 429 | 503:
            return UpstreamBusy
        case _ if 400 <= status < 500:  # noqa: PLR2004  (the client errors)
            return UpstreamBadRequest
        case _:
            return UpstreamServerError


def names_error(document: dict[str, Any]) -> bool:
    """Whether a document is an error: ``{"error": …}``, or flat, as older vLLM servers and events have it."""
    return bool(document.get("error")) or document.get("object") == "error" or document.get("type") == "error"


def from_error_event(document: dict[str, Any], payload: bytes) -> UpstreamStreamError:
    """The error for an error event inside a stream."""
    label, detail = _describe(document)
    return UpstreamStreamError(
        f"the upstream failed in mid-stream{label}", status=_status(document), detail=detail, body=payload
    )


def check_document(body: bytes, *, status: int | None = None) -> None:
    """Let pass what can be an answer: a JSON object that is not an error.

    Raises:
        UpstreamInvalidAnswer: not JSON, or not an object.
        UpstreamServerError: an error document under a successful status.
    """
    document = parse(body)
    if not isinstance(document, dict):
        what = "no JSON" if document is None else f"JSON that is a {type(document).__name__}, not an object"
        raise UpstreamInvalidAnswer(f"the upstream's answer is {what}", status=status, body=body)
    if names_error(document):
        label, detail = _describe(document)
        raise UpstreamServerError(
            f"the upstream said success and sent an error{label}",
            status=_status(document) or status,
            detail=detail,
            body=body,
        )


def parse(body: bytes) -> Any:
    """The JSON value; None when there is none (a bare ``null`` says as little)."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _error_of(document: Any) -> Any:
    """The part that describes the error: servers nest it, or do not."""
    if isinstance(document, dict):
        return document.get("error") or document
    return document


def _describe(document: Any) -> tuple[str, str]:
    error = _error_of(document)
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    given = ((name, error.get(name)) for name in ("type", "code", "param"))
    known = [
        f"{name} {value}" for name, value in given if isinstance(value, str) and _IDENTIFIER.fullmatch(value)
    ]
    words = error.get("message") or error.get("detail") or ""
    detail = words if isinstance(words, str) else orjson.dumps(words).decode()
    return (f" ({', '.join(known)})" if known else ""), detail


def _status(document: dict[str, Any]) -> int | None:
    error = _error_of(document)
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and code in _HTTP_STATUS else None
