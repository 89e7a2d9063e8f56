"""Requests that are no questions to a model: passed on to the upstream as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_from_bytes, unquote

from asynccache._errors import UpstreamInvalidAnswer
from asynccache.server._proxy_accounts import RawHeaders, passed_on
from asynccache.server._proxy_body import PATIENCE, body_late
from asynccache.server._proxy_refusal import REFUSED_ACCOUNT, ClientLeft, account_refused

if TYPE_CHECKING:
    from starlette.types import Receive

    from asynccache._wire.answer import Headers
    from asynccache.server._proxy_client import UpstreamClient
    from asynccache.server._proxy_reply import Reply
    from asynccache.server._proxy_watch import Watch

__all__ = ["forward", "is_below", "query_of", "target_of"]

_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))
_OF_THE_ACCOUNT: Final = frozenset({b"openai-organization", b"openai-project", b"set-cookie"})
_BODILESS: Final = frozenset({204, 304})
_FINAL: Final = range(200, 600)
"""Statuses of a response that is one, and the last (RFC 9110, 15)."""
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
    shared: bool,
) -> None:
    """Pass a request on, and the response back, both piece by piece.

    Args:
        client: to the upstream.
        scope: of the request.
        headers: what goes upstream.
        receive: the request's.
        reply: the response.
        watch: begins when the body has gone out.
        shared: whether the upstream is asked on an account that is not the client's: of it nothing is told.

    Raises:
        Refusal: the body did not come in time, or the upstream refuses that account.
        UpstreamError: no response came, or one whose status is none.
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
        if answer.status not in _FINAL:
            raise UpstreamInvalidAnswer(f"the upstream answered {answer.status}", status=answer.status)
        if shared and answer.status in REFUSED_ACCOUNT:
            raise account_refused()
        kept = _back(answer.headers, bodiless=answer.status in _BODILESS)
        if shared:
            kept = [header for header in kept if header[0] not in _OF_THE_ACCOUNT]
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
        try:
            async with asyncio.timeout(PATIENCE):  # for each piece: files may be large
                message = await receive()
        except TimeoutError:
            raise body_late() from None
        if message["type"] == "http.disconnect":
            raise ClientLeft
        more = message.get("more_body", False)
        if piece := message.get("body", b""):
            yield piece
    watch.begin()


def _back(headers: RawHeaders, *, bodiless: bool) -> RawHeaders:
    """Those of the response; its date is the server's own. Its length stays where that is a body's."""
    kept = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in passed_on(headers)
        if name != "date"
    ]
    if not bodiless and all(name != b"transfer-encoding" for name, _ in headers):  # it counts (RFC 9112, 6.3)
        kept += [header for header in headers if header[0] == b"content-length"]
    return kept
