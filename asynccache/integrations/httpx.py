"""The cache under httpx clients, and so under what is built on them; see ``httpx2`` for the newer library."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from asynccache._pipeline import CachePipeline
from asynccache._wire.drop_in import DropIn
from asynccache.integrations._blocking_client import BlockingShell, SyncBody
from asynccache.integrations._client import AsyncBody, Shell
from asynccache.integrations._library import Library, Parts

if TYPE_CHECKING:
    from asynccache._models import Scope

__all__ = ["CacheTransport"]

_LIMITS: Final = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
"""Those of the SDKs' own clients."""


class CacheTransport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Answers model calls from a pipeline; everything else passes through untouched.

    ``httpx.AsyncClient(transport=CacheTransport(cache))``, and likewise
    ``httpx.Client(transport=CacheTransport(cache))``.

    A miss goes out through the inner transport just as the client made it, with its own headers, timeouts
    and, on failure, its own errors; the pipeline's upstream, if it has one, is not asked. Whose request it is
    follows from the server, the path and all headers that may say so (``Authorization``,
    ``OpenAI-Organization``, ``OpenAI-Project``, ``x-api-key`` …), kept as a keyed hash: two accounts never
    share an answer. What only the inner transport knows (a client certificate, ``uds=``, a proxy) is not
    seen here: give such transports a ``scope`` each, or a pipeline. A request with the ``target`` extension
    passes untouched. ``Cache-Control`` and ``X-Cache-Tags`` headers of a call say what it asks of the cache;
    the response's ``Cache-Status`` (RFC 9211) says what the cache did. What the cache cannot do, it leaves
    to the inner transport, with one RuntimeWarning; and who has waited for the cache, or for another's
    answer, as long as its own timeouts add up to, makes a call of its own.

    Args:
        pipeline: may be open; otherwise the first call opens it, and ``aclose`` or the end of the event
            loop closes it. None makes a ``CachePipeline()``. For a blocking client it must not be open: it
            lives in a thread of its own, until the program ends.
        transport: asked on a miss, and for all other calls; closed with this one. None makes the library's
            own, which takes no proxy from the environment.
        renew_ids: give answers that were not made for the call itself an ``id`` and a creation time of
            their own. Default False: they keep those they were made with.
        scope: user and namespace of all calls; a tenant in it keeps accounts apart further.
        secret: key of the hash of accounts, 16 bytes or more. None takes one that every installation has:
            whoever reads the store and guesses an API key could then confirm the guess.

    Raises:
        ConfigurationError: the pipeline is none, or the secret is too short.
    """

    def __init__(
        self,
        pipeline: CachePipeline | None = None,
        transport: httpx.AsyncBaseTransport | httpx.BaseTransport | None = None,
        *,
        renew_ids: bool = False,
        scope: Scope | Mapping[str, Any] | None = None,
        secret: bytes | None = None,
    ) -> None:
        pipeline = CachePipeline() if pipeline is None else pipeline
        drop_in = DropIn(pipeline, scope=scope, renew=renew_ids, secret=secret)
        parts = Parts(_LIBRARY, pipeline, drop_in, transport)
        self._shell: Final = Shell(parts)
        self._blocking: Final = BlockingShell(parts)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await self._shell.handle(request)
        return response

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = self._blocking.handle(request)
        return response

    async def __aenter__(self) -> Self:
        await self._shell.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._shell.leave(exc_type, exc_value, traceback)

    def __enter__(self) -> Self:
        self._blocking.enter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._blocking.leave(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close the inner transport, and the pipeline if a call has opened it."""
        await self._shell.aclose()

    def close(self) -> None:
        """Close the inner transport."""
        self._blocking.close()


class _AsyncBody(AsyncBody, httpx.AsyncByteStream):
    pass


class _SyncBody(SyncBody, httpx.SyncByteStream):
    pass


_LIBRARY: Final = Library(
    request=httpx.Request,
    response=httpx.Response,
    transport=lambda: httpx.AsyncHTTPTransport(limits=_LIMITS),
    blocking_transport=lambda: httpx.HTTPTransport(limits=_LIMITS),
    body=_AsyncBody,
    blocking_body=_SyncBody,
    read_timeout=httpx.ReadTimeout,
    read_error=httpx.ReadError,
)
