"""What the proxy does not take, and how it says so."""

from __future__ import annotations

from typing import Final

from asynccache._registry import find_dialect
from asynccache._wire.answer import Answer, Headers

__all__ = ["REFUSED_ACCOUNT", "ClientLeft", "Refusal", "account_refused", "refused"]

REFUSED_ACCOUNT: Final = frozenset({401, 403})
"""Statuses by which an upstream refuses who asks; its words may quote the key."""

_JSON: Final = ("content-type", "application/json")


class ClientLeft(Exception):
    """There is nobody left to answer."""


class Refusal(Exception):
    """A request was refused at the door.

    Args:
        status: of the response, 4xx or 5xx.
        message: for the client; holds nothing the client has sent but names of headers and fields.
        field: the offending header or field, if one is.
        headers: further ones of the response.
    """

    def __init__(
        self, status: int, message: str, *, field: str | None = None, headers: Headers | None = None
    ) -> None:
        super().__init__(message)
        self.status: Final = status
        self.field: Final = field
        self.headers: Final[Headers] = headers or []


def account_refused() -> Refusal:
    """For an upstream that refuses the proxy's own account: no fault of the client's, nor its affair."""
    return Refusal(502, "the upstream refuses the account of this server")


def refused(refusal: Refusal, dialect: str) -> Answer:
    """The response, in the dialect's shape."""
    body = find_dialect(dialect).failure(refusal.status, str(refusal), field=refusal.field)
    return Answer(refusal.status, [_JSON, *refusal.headers], body)
