"""A cache under an HTTP client: which of its requests are answered from the cache, and how."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from asynccache._errors import (
    AsyncCacheError,
    ConfigurationError,
    InvalidRequest,
    NotCached,
    PipelineClosed,
    UpstreamError,
)
from asynccache._models import Request, Scope
from asynccache._wire.account import DEFAULT_SECRET, tenant_of
from asynccache._wire.answer import Answer, Headers, answer, failed
from asynccache._wire.body import BodyFault, parsed
from asynccache._wire.control import control_from
from asynccache._wire.relay import Received, Relay, Send
from asynccache._wire.routes import dialect_of

if TYPE_CHECKING:
    from asynccache._pipeline import CachePipeline

__all__ = ["Call", "DropIn"]

_REMADE: Final = frozenset(
    {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"}
)
"""Headers of a response that tell of the bytes as they came, decoded since."""


_OURS: Final = frozenset({"age", "cache-status", "content-type"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as the client would send it.

    Args:
        origin: scheme, host and port.
        path: percent-encoded, without the query.
        query: without the question mark.
        headers: in the client's order.
    """

    method: str
    origin: str
    path: str
    query: str
    headers: Headers = field(repr=False)

    @property
    def host(self) -> str:
        """Host and port, as the URL has them."""
        return self.origin.partition("://")[2]

    @property
    def dialect(self) -> str | None:
        """The protocol it speaks; None for what is none of the cache's business."""
        if self.method != "POST":
            return None
        kind = next((value for name, value in self.headers if name.lower() == "content-type"), "")
        return dialect_of(self.path) if kind.partition(";")[0].strip().lower() == "application/json" else None


class DropIn:
    """Answers an HTTP client's calls through a pipeline; misses go out as the client would have sent them.

    The account (all headers that may tell whose request it is, hashed with ``secret``), the server and the
    path are in the scope: two accounts never share an answer.

    Args:
        pipeline: open by the time of the first call.
        scope: user and namespace of all calls; a tenant in it keeps accounts apart further.
        renew: give answers not made for the call itself an id and a creation time of their own.
        secret: key of the hash of accounts; None takes one that every installation has.

    Raises:
        ConfigurationError: the pipeline is none, or the secret is too short.
    """

    def __init__(
        self,
        pipeline: CachePipeline,
        *,
        scope: Scope | Mapping[str, Any] | None = None,
        renew: bool = False,
        secret: bytes | None = None,
    ) -> None:
        if not callable(getattr(pipeline, "fetch", None)):
            raise ConfigurationError(f"pipeline: expected a CachePipeline, got {type(pipeline).__name__}")
        if secret is not None and (not isinstance(secret, bytes) or len(secret) < 16):  # noqa: PLR2004
            raise ConfigurationError("secret: expected 16 or more bytes")
        self._pipeline: Final = pipeline
        self._scope: Final = Scope.of(scope)
        self._renew: Final = renew
        self._secret: Final = DEFAULT_SECRET if secret is None else secret
        self._warned = False

    async def __call__(self, call: Call, content: bytes, send: Send) -> Answer | None:
        """The response, or None: send the call as if there were no cache.

        Args:
            call: one whose ``dialect`` is not None.
            content: its body.
            send: sends a body the way the client would have.

        Raises:
            Exception: whatever ``send`` raises.
            PipelineClosed: the pipeline was closed while the call was on its way.
        """
        dialect = call.dialect
        try:
            body, exact = parsed(content)
        except BodyFault:
            return None
        if dialect is None or not exact:
            return None
        relay = Relay(body, content, send, now=time.time)
        try:
            request = self._request(call, dialect, body, relay)
        except InvalidRequest as error:
            return failed(error, dialect)
        try:
            made = await answer(self._pipeline, request, renew=self._renew, as_it_came=True)
        except NotCached as error:
            return failed(error, dialect)
        except Exception as error:
            received = relay.received
            if received is not None and received.body is not None:
                return _verbatim(received, received.body)
            if relay.sent and (not isinstance(error, AsyncCacheError) or isinstance(error, PipelineClosed)):
                raise  # the transport's own, or the end of both
            # Another's call has failed, or the cache: what this one's upstream says is for it to say. A body
            # refused at our door is best refused by a server that knows its own.
            if isinstance(error, AsyncCacheError) and not isinstance(error, (UpstreamError, InvalidRequest)):
                self._warn(error)
            return None
        return _as_received(made, relay.received)

    def _request(self, call: Call, dialect: str, body: dict[str, Any], relay: Relay) -> Request:
        headers: dict[str, str] = {}
        for name, value in call.headers:
            before = headers.get(name.lower())
            headers[name.lower()] = value if before is None else f"{before},{value}"
        origin = f"{call.origin}{call.path}" + (f"?{call.query}" if call.query else "")
        account = call.headers
        if headers.get("host", call.host) != call.host:  # several servers behind one address
            account = [*account, ("asynccache-host", headers["host"])]
        if self._scope.tenant is not None:
            account = [*account, ("asynccache-tenant", self._scope.tenant)]
        tenant = tenant_of(account, origin=origin, secret=self._secret)
        return Request(
            body=body,
            dialect=dialect,
            scope=replace(self._scope, tenant=tenant),
            control=control_from(headers),
            upstream=relay,
        )

    def _warn(self, error: AsyncCacheError) -> None:
        if not self._warned:
            self._warned = True
            words = f"asynccache: requests go out uncached ({type(error).__name__}: {error})"
            warnings.warn(words, RuntimeWarning, stacklevel=2)


def _as_received(made: Answer, received: Received | None) -> Answer:
    """With the headers that came with it, where it is this call's own answer."""
    if received is None or not 200 <= received.status < 300:  # noqa: PLR2004  (a stale answer in its place)
        return made
    # A server that answers a stream with a whole document is read as a stream all the same.
    names = {"cache-status", "age"} if received.body is None or isinstance(made.body, bytes) else _OURS
    ours = [(name, value) for name, value in made.headers if name in names]
    kept = [(name, value) for name, value in _kept(received.headers) if name.lower() not in names]
    return Answer(received.status, [*kept, *ours], made.body)


def _verbatim(received: Received, body: bytes) -> Answer:
    status = ("cache-status", f"asynccache; fwd=miss; fwd-status={received.status}")
    return Answer(received.status, [*_kept(received.headers), status], body)


def _kept(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in _REMADE]
