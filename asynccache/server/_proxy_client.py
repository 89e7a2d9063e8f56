"""The connections to the upstream for requests that go out with headers of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import anyio
import httpx2

from asynccache._errors import PipelineClosed, UpstreamTimeout
from asynccache._wire.answer import Headers
from asynccache.upstreams._broken import from_transport
from asynccache.upstreams._connections import POOL_SECONDS, Connections, NoRoom, OpenAnswer

__all__ = ["Forwarded", "UpstreamClient", "understood"]

_KEEPALIVE_SECONDS: Final = 4.0
"""uvicorn, and so vLLM, closes a connection after five idle seconds; who closes first loses no request."""


class UpstreamClient:
    """Sends requests below a base URL, and nowhere else. Use inside ``lifespan()``.

    Cookies an upstream sets are not kept: they are some client's, not the proxy's. Redirects are not
    followed.

    Args:
        base_url: with the version.
        limit: connections for questions; as many again for what is passed through.
        timeout: seconds between two pieces of an answer.
    """

    def __init__(self, base_url: httpx2.URL, *, limit: int, timeout: float) -> None:
        self._base: Final = base_url
        self._timeout: Final = httpx2.Timeout(connect=10.0, read=timeout, write=60.0, pool=POOL_SECONDS)
        self._limit: Final = limit
        self._asking: Final = Connections(self._client, limit=limit, patience=60.0, replaceable=True)
        self._passing: httpx2.AsyncClient | None = None  # None while closed

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Hold the connections open."""
        async with self._asking.open(), self._client() as passing:
            self._passing = passing
            try:
                yield
            finally:
                self._passing = None

    async def ask(self, target: str, headers: Headers, content: bytes) -> _Incoming:
        """POST a question.

        Args:
            target: percent-encoded path and query below the base URL.
            headers: sent as they are.
            content: the body.

        Raises:
            UpstreamError: no answer came.
        """
        try:
            answer = await self._asking.send(self._url(target), content, httpx2.Headers(_raw(headers)))
        except NoRoom:
            raise UpstreamTimeout("all connections to the upstream were busy") from None
        except PipelineClosed:
            raise
        except Exception as error:
            raise from_transport(error) from error
        return _Incoming(answer)

    async def forward(
        self, method: str, target: str, headers: Headers, content: AsyncIterator[bytes] | None
    ) -> Forwarded:
        """Pass a request on, its body piece by piece.

        Args:
            method: any.
            target: as for ``ask``.
            headers: those of the caller, and his body's length if it is known.
            content: the body; None when there is none.

        Raises:
            UpstreamError: no response came.
        """
        client = self._passing
        if client is None:
            raise PipelineClosed("the connections to the upstream are closed")
        request = client.build_request(method, self._url(target), headers=_raw(headers), content=content)
        given = {name for name, _ in headers}
        for name in ("accept", "accept-encoding", "user-agent"):
            if name not in given:
                del request.headers[name]
        if "content-length" in given and "transfer-encoding" in request.headers:
            del request.headers["transfer-encoding"]
        try:
            return Forwarded(await client.send(request, stream=True))
        except httpx2.RequestError as error:
            raise from_transport(error) from error

    def _url(self, target: str) -> httpx2.URL:
        return self._base.copy_with(raw_path=self._base.raw_path.rstrip(b"/") + target.encode("ascii"))

    def _client(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(
            max_connections=self._limit,
            max_keepalive_connections=self._limit,
            keepalive_expiry=_KEEPALIVE_SECONDS,
        )
        nobodys = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        return httpx2.AsyncClient(limits=limits, timeout=self._timeout, cookies=nobodys)


class _Incoming:
    """A response to a question; see ``asynccache._wire.relay.Incoming``."""

    def __init__(self, answer: OpenAnswer) -> None:
        self.status: int = answer.status
        self.headers: Headers = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in answer.headers.raw
        ]
        self.next_chunk: Final = answer.next_chunk
        self.aclose: Final = answer.aclose


class Forwarded:
    """A response as it comes, its body not decoded. Whoever got it closes it."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status: Final = response.status_code
        self.headers: Final[list[tuple[bytes, bytes]]] = [
            (name.lower(), value) for name, value in response.headers.raw
        ]
        self._response: Final = response
        self._pieces: Final = response.aiter_raw()

    async def next_piece(self) -> bytes | None:
        """The next piece of the body; None at its end.

        Raises:
            UpstreamError: the connection broke.
        """
        try:
            return await anext(self._pieces, None)
        except httpx2.RequestError as error:
            raise from_transport(error, streaming=True) from error

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end; else close it."""
        with anyio.CancelScope(shield=True):
            await self._response.aclose()


def understood(error: Exception) -> Exception:
    """An answer's connection that broke, in our words; any other error as it is."""
    return from_transport(error) if isinstance(error, httpx2.RequestError) else error


def _raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
