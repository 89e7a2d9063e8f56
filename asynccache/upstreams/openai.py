"""The upstream for servers that speak OpenAI's HTTP protocol: OpenAI, vLLM, and gateways before them."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2

from asynccache._errors import (
    AsyncCacheError,
    UpstreamError,
    UpstreamInvalidAnswer,
    UpstreamTimeout,
)
from asynccache._keys import to_json
from asynccache._lifespan import SharedLifespan
from asynccache._models import Response
from asynccache._registry import find_dialect
from asynccache._stream import Stream
from asynccache.upstreams._bodies import for_fetch, for_stream
from asynccache.upstreams._broken import from_transport
from asynccache.upstreams._connections import POOL_SECONDS, Connections, NoRoom, OpenAnswer, TooLarge
from asynccache.upstreams._door import (
    checked_api_key,
    checked_base_url,
    checked_headers,
    checked_number,
    checked_timeout,
)
from asynccache.upstreams._failures import check_document, from_status
from asynccache.upstreams._frames import EventFrames
from asynccache.upstreams._replay import each, replay
from asynccache.upstreams._retry import retry_after, wait_before_retry

if TYPE_CHECKING:
    from asynccache._models import Request

__all__ = ["DEFAULT_TIMEOUT", "OpenAIUpstream"]

DEFAULT_TIMEOUT: Final = httpx2.Timeout(connect=10.0, read=600.0, write=60.0, pool=60.0)
"""Seconds. ``read`` is between two pieces of an answer: a long unstreamed answer is one long silence."""

_KEEPALIVE_SECONDS: Final = 4.0
"""uvicorn, and so vLLM, closes a connection after five idle seconds; who closes first loses no request."""

_ERROR_BODY_BYTES: Final = 64 * 2**10
_ERROR_BODY_SECONDS: Final = 10.0
"""The status alone makes the error; its words are not waited for longer than this."""


class OpenAIUpstream:
    """Asks an OpenAI-compatible server over HTTP. Use inside ``lifespan()``; a pipeline does that.

    The body goes out as it was given, except that ``stream`` says what was asked for (and
    ``stream_options`` is left out of a request that does not stream). Redirects are not followed, nor are
    cookies kept.
    A request is sent again only when it cannot have been processed: no connection, or 429 and 503.

    Args:
        base_url: with the version, as the OpenAI SDK takes it, e.g. ``"http://127.0.0.1:8000/v1"``.
        api_key: sent as a bearer token. None takes ``OPENAI_API_KEY``, for ``https://api.openai.com`` only;
            "" sends none.
        headers: sent with every request; they win over the client's own.
        timeout: seconds, as ``httpx2.Timeout`` or one number for all four phases; None waits without limit.
            ``pool`` is the wait for one of ``max_connections``. Default: connect 10, read 600 (between
            two pieces of an answer), write 60, pool 60.
        max_connections: answers in the making at once; more wait. Default 256.
        max_retries: tries after the first. Default 2; 0 never repeats.
        max_answer_bytes: largest answer, and largest event of a stream. Default 16 MiB.
        transport: an ``httpx2.AsyncBaseTransport`` to use; whoever made it closes it. None makes one that, as
            httpx2 does by default, takes proxies (``HTTPS_PROXY``, ``NO_PROXY`` …) and certificates
            (``SSL_CERT_FILE``) from the environment.

    Raises:
        ConfigurationError: an option cannot work.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx2.Timeout | float | None = DEFAULT_TIMEOUT,
        max_connections: int = 256,
        max_retries: int = 2,
        max_answer_bytes: int = 16 * 2**20,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url: Final = checked_base_url(base_url)
        key = checked_api_key(api_key, self._url)
        self._headers: Final = httpx2.Headers(
            {
                "accept": "application/json",  # also for streams, as OpenAI's SDK asks for them
                "content-type": "application/json",
                "user-agent": "asynccache",
                **({} if key is None else {"authorization": f"Bearer {key}"}),
                **checked_headers(headers),
            }
        )
        self._timeout: Final = checked_timeout(timeout)
        self._max_retries: Final = checked_number("max_retries", max_retries, least=0)
        self._max_answer_bytes: Final = checked_number("max_answer_bytes", max_answer_bytes, least=1)
        self._max_connections: Final = checked_number("max_connections", max_connections, least=1)
        self._transport: Final = transport
        self._connections: Final = Connections(
            self._make_client,
            limit=self._max_connections,
            patience=self._timeout.pool,
            replaceable=transport is None,
        )
        self._lifespan: Final = SharedLifespan(self._connections.open)
        # Replaced by tests: what makes retries slow and different each time.
        self._sleep: Callable[[float], Awaitable[None]] = anyio.sleep
        self._random: Callable[[], float] = random.random
        self._now: Callable[[], float] = time.time

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the connections open; may be entered several times, and closes with the last."""
        return self._lifespan()

    async def fetch(self, request: Request) -> Response:
        """The whole answer, its body as the upstream sent it.

        Raises:
            UpstreamError: of the kind that says why there is no answer.
            InvalidRequest: the body holds something JSON cannot carry.
            ConfigurationError: the request's dialect is unknown.
        """
        answer = await self._ask(request, for_fetch(request.body))
        try:
            return Response(await self._document(answer))
        finally:
            await answer.aclose()

    async def stream(self, request: Request) -> Stream:
        """The answer as it arrives; returns once the upstream has begun to answer.

        A server that answers with a whole document all the same is replayed as a stream.

        Raises:
            UpstreamError: as ``fetch``; from the iteration, ``UpstreamStreamError``.
            InvalidRequest: as ``fetch``.
            ConfigurationError: as ``fetch``.
        """
        body = for_stream(request.body)
        answer = await self._ask(request, body)
        try:
            if answer.media_type == "text/event-stream":
                events = EventFrames(answer, request.dialect, limit=self._max_answer_bytes)
                return Stream(events, aclose=answer.aclose, record_limit=self._max_answer_bytes)
            frames = each(replay(request.dialect, body, await self._document(answer)))
            await answer.aclose()
            return Stream(frames, aclose=frames.aclose)
        except BaseException:
            await answer.aclose()
            raise

    async def _ask(self, request: Request, body: Mapping[str, Any]) -> OpenAnswer:
        url = httpx2.URL(f"{self._url}{find_dialect(request.dialect).path}")
        content = to_json(body)
        tries = 0
        while True:
            try:
                return await self._try(url, content)
            except UpstreamError as error:
                tries += 1
                wait = wait_before_retry(
                    error, tries=tries, max_retries=self._max_retries, random=self._random()
                )
                if wait is None:
                    raise
            await self._sleep(wait)

    async def _try(self, url: httpx2.URL, content: bytes) -> OpenAnswer:
        try:
            answer = await self._connections.send(url, content, self._headers)
        except NoRoom:
            raise UpstreamTimeout(
                f"all {self._max_connections} connections to the upstream were busy (max_connections)"
            ) from None
        except AsyncCacheError:
            raise
        except Exception as error:
            raise from_transport(error) from error
        if 200 <= answer.status < 300:  # noqa: PLR2004  (success, RFC 9110, 15.3)
            return answer
        try:
            words = await _beginning(answer)
        finally:
            await answer.aclose()
        raise from_status(answer.status, words, retry_after=retry_after(answer.headers, now=self._now()))

    async def _document(self, answer: OpenAnswer) -> bytes:
        try:
            body = await answer.read(self._max_answer_bytes)
        except TooLarge:
            problem = f"the upstream's answer is over {self._max_answer_bytes} bytes (max_answer_bytes)"
            raise UpstreamInvalidAnswer(problem, status=answer.status) from None
        except Exception as error:
            raise from_transport(error) from error
        check_document(body, status=answer.status)
        return body

    def _make_client(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(
            max_connections=self._max_connections,
            max_keepalive_connections=self._max_connections,
            keepalive_expiry=_KEEPALIVE_SECONDS,
        )
        given = self._timeout
        nobodys = CookieJar(
            DefaultCookiePolicy(allowed_domains=[])
        )  # callers of many tenants share the client
        return httpx2.AsyncClient(
            cookies=nobodys,
            transport=None if self._transport is None else _Borrowed(self._transport),
            limits=limits,
            timeout=httpx2.Timeout(
                connect=given.connect, read=given.read, write=given.write, pool=POOL_SECONDS
            ),
        )

    def __repr__(self) -> str:
        return f"<OpenAIUpstream {self._url}>"


async def _beginning(answer: OpenAnswer) -> bytes:
    body = b""
    with anyio.move_on_after(_ERROR_BODY_SECONDS), suppress(httpx2.RequestError):
        while len(body) < _ERROR_BODY_BYTES and (piece := await answer.next_chunk()) is not None:
            body += piece
    return body[:_ERROR_BODY_BYTES]


class _Borrowed(httpx2.AsyncBaseTransport):
    """A transport that is not ours to close."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport: Final = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._transport.handle_async_request(request)
