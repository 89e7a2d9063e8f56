"""The body of a request: read within its limit, and parsed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asynccache._wire.body import BodyFault
from asynccache._wire.body import parsed as parsed_body
from asynccache.server._proxy_refusal import ClientLeft, Refusal

if TYPE_CHECKING:
    from starlette.types import Receive

__all__ = ["PATIENCE", "body_late", "check_form", "parsed", "read"]

PATIENCE: Final = 60.0
"""Seconds a client may take over its body: it holds a place among those served at once."""

_LARGE: Final = 2**20
_MOST_PARTS: Final = 200_000
"""Objects and lists in a large body; each takes some 100 bytes when parsed."""


def check_form(headers: Mapping[bytes, bytes], limit: int) -> None:
    """Refuse a body for what its headers say of it.

    Args:
        headers: by lower-case name.
        limit: bytes.

    Raises:
        Refusal: it is compressed, no JSON, or too long.
    """
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in {b"", b"identity"}:
        raise Refusal(415, "Content-Encoding: compressed bodies are not taken", field="Content-Encoding")
    kind = headers.get(b"content-type", b"")
    if kind != b"application/json":
        media_type = kind.partition(b";")[0].strip().lower()
        if media_type != b"application/json" and not media_type.endswith(b"+json"):
            raise Refusal(415, "Content-Type: expected application/json", field="Content-Type")
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise _too_long(limit)


async def read(receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        Refusal: it is longer than ``limit`` bytes, or does not come. The rest of a long one is left to the
            server, which drops it as it comes: a connection closed now would take the refusal with it.
        ClientLeft: the client has gone.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            message = await receive()
            pieces = [_piece(message, limit)]
            size = len(pieces[0])
            while message.get("more_body"):
                message = await receive()
                pieces.append(_piece(message, limit - size))
                size += len(pieces[-1])
            return b"".join(pieces)
    except TimeoutError:
        raise body_late() from None


def _piece(message: Mapping[str, Any], room: int) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientLeft
    piece: bytes = message.get("body", b"")
    if len(piece) > room:
        raise Refusal(413, "the body is too long")
    return piece


def parsed(content: bytes) -> tuple[dict[str, Any], bool]:
    """The JSON object, and whether it is all there; see ``_wire.body.parsed``.

    Raises:
        Refusal: it is none, or of so many parts that it would take a hundred times its size.
    """
    if len(content) > _LARGE and content.count(b"{") + content.count(b"[") > _MOST_PARTS:
        raise Refusal(413, "the body has too many objects and lists", field="body")
    try:
        return parsed_body(content)
    except BodyFault as fault:
        raise Refusal(400, str(fault), field="body") from None


def body_late() -> Refusal:
    """For a client that does not send what it has announced."""
    return Refusal(408, "the body did not come in time", headers=[("connection", "close")])


def _too_long(limit: int) -> Refusal:
    return Refusal(413, f"the body is longer than {limit} bytes")
