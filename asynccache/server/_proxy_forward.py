"""Requests that are no questions to a model: passed on to the upstream as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_from_bytes, unquote

from asynccache.server._proxy_accounts import RawHeaders, passed_on
from asynccache.server._proxy_refusal import ClientLeft

if TYPE_CHECKING:
    from starlette.types import Receive

    from asynccache._wire.answer import Headers
    from asynccache.server._proxy_client import UpstreamClient
    from asynccache.server._proxy_reply import Reply
    from asynccache.server._proxy_watch import Watch

__all__ = ["forward", "is_below", "query_of", "target_of"]

_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))
_BODILESS: Final = frozenset({204, 304})
_UNWRAPPINGS: Final = 3
"""How often a path may be percent-encoded until it is taken for a trick."""


def target_of(scope: Mapping[str, Any]) -> str:
    """Path and query below ``/v1``, percent-encoded as they came."""
    path: str = scope["raw_path"].decode("ascii").removeprefix("/v1")
    return path + query_of(scope)


def query_of(scope: Mapping[str, Any]) -> str:
    """The query with its question mark; "" when there is none."""
    query: bytes = scope["query_string"]
    return f"?{quote_from_bytes(query, safe=_ASCII)}" if query else ""


def is_below(raw_path: bytes) -> bool:
    """Whether a path lies below ``/v1`` however a server may read it."""
    path = raw_path.decode("latin-1")
    if not path.startswith("/v1/") or not path.isascii():
        return False
    for _ in range(_UNWRAPPINGS):
        if "\\" in path or any(ord(sign) <= 0x20 or sign == "\x7f" for sign in path):  # noqa: PLR2004
            return False
        if any(part.partition(";")[0] in {".", ".."} for part in path.split("/")):
            return False
        plain = unquote(path, errors="replace")
        if plain == path:
            return True
        path = plain
    return False


async def forward(
    client: UpstreamClient,
    scope: Mapping[str, Any],
    *,
    headers: Headers,
    receive: Receive,
    reply: Reply,
    watch: Watch,
) -> None:
    """Pass a request on, and the response back, both piece by piece.

    Args:
        client: to the upstream.
        scope: of the request.
        headers: what goes upstream.
        receive: the request's.
        reply: the response.
        watch: begins when the body has gone out.

    Raises:
        UpstreamError: no response came.
        ClientLeft: the client went before its body was whole.
    """
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
    if lengths:
        headers = [*headers, ("content-length", lengths[0].decode("latin-1"))]
    content = _body(receive, watch) if chunked or (lengths and lengths[0] != b"0") else None
    if content is None:
        watch.begin()
    answer = await client.forward(scope["method"], target_of(scope), headers, content)
    try:
        kept = _back(answer.headers, bodiless=answer.status in _BODILESS)
        await reply.start(answer.status, kept)
        while (piece := await answer.next_piece()) is not None:
            await reply.more(piece)
        watch.close()
        await reply.end()
    finally:
        await answer.aclose()


async def _body(receive: Receive, watch: Watch) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        more = message.get("more_body", False)
        if piece := message.get("body", b""):
            yield piece
    watch.begin()


def _back(headers: RawHeaders, *, bodiless: bool) -> RawHeaders:
    """Those of the response; its length stays where it has a body, its date is the server's own."""
    kept = {name.encode("latin-1") for name, _ in passed_on(headers)} - {b"date"}
    if not bodiless:
        kept.add(b"content-length")
    return [(name, value) for name, value in headers if name in kept]
