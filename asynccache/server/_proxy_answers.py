"""What a question's own upstream has said, as the response to it."""

from __future__ import annotations

from typing import Final

from asynccache._errors import InvalidRequest
from asynccache._wire.answer import Answer, Headers, failed
from asynccache._wire.relay import Received
from asynccache.server._proxy_accounts import passed_on

__all__ = ["as_received", "failure"]

_REMADE: Final = frozenset({"content-encoding", "content-length", "date", "server", "set-cookie"})
"""Headers that tell of the bytes as they came, or are the server's own."""
_SUCCESS: Final = range(200, 300)
_FINAL: Final = range(200, 600)
_BODILESS: Final = frozenset({204, 205, 304})
_OK: Final = 200


def as_received(made: Answer, received: Received | None) -> Answer:
    """An answer with the upstream's headers, where it was made for this request."""
    if received is None or received.status not in _SUCCESS:  # a stale answer in its place
        return made
    ours = {name for name, _ in made.headers}
    theirs = [(name, value) for name, value in _kept(received.headers) if name not in ours]
    status = _OK if received.status in _BODILESS else received.status
    return Answer(status, [*theirs, *made.headers], made.body)


def failure(error: Exception, received: Received | None, dialect: str) -> Answer:
    """What to say in place of an answer; the upstream's own refusal as it came."""
    if received is None or received.body is None or isinstance(error, InvalidRequest):
        return failed(error, dialect)
    if received.status in _BODILESS or received.status not in _FINAL:
        return failed(error, dialect)
    status = ("cache-status", f"asynccache; fwd=miss; fwd-status={received.status}")
    return Answer(received.status, [*_kept(received.headers), status], received.body)


def _kept(headers: Headers) -> Headers:
    raw = ((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)
    return [(name, value) for name, value in passed_on(raw) if name not in _REMADE]
