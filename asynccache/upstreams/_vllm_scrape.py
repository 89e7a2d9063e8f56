"""Asks servers for their metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio
import httpx2
from anyio import to_thread

from asynccache._errors import PipelineClosed
from asynccache.upstreams._vllm_metrics import ReplicaMetrics, VLLMMetrics

__all__ = ["MetricsDoor", "metrics_url"]

_SECONDS: Final = 5.0
"""For one reading, from the connection to the last byte."""
_MOST_BYTES: Final = 8 * 2**20
"""A server with many engines and models sends some hundred kilobytes."""
_ON_LOOP: Final = 64 * 2**10
"""Bytes of text read on the event loop; more may hold it for a millisecond and over."""


def metrics_url(base_url: str) -> httpx2.URL:
    """Where a server whose API is at ``base_url`` serves its metrics: beside ``/v1``, not below it."""
    return httpx2.URL(f"{base_url.rstrip('/').removesuffix('/v1')}/metrics")


class MetricsDoor:
    """Reads metrics over HTTP; each reading opens a connection of its own and closes it.

    Args:
        headers: sent with every request.
        transport: as ``OpenAIUpstream`` takes it; whoever made it closes it.
    """

    def __init__(self, headers: Mapping[str, str], transport: httpx2.AsyncBaseTransport | None) -> None:
        self._headers: Final = dict(headers)
        self._transport: Final = transport
        self._client: httpx2.AsyncClient | None = None  # made by the first reading: certificates take long
        self._open = False

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Allow readings."""
        self._open = True
        try:
            yield
        finally:
            self._open = False
            client, self._client = self._client, None
            if client is not None and self._transport is None:
                with anyio.CancelScope(shield=True):
                    await client.aclose()

    def check_open(self) -> None:
        """Raise PipelineClosed outside the lifespan."""
        if not self._open:
            raise PipelineClosed("this upstream is not open; use it inside its lifespan()")

    async def read(self, base_url: str) -> ReplicaMetrics:
        """What the server says, or why it says nothing; raises nothing but PipelineClosed."""
        self.check_open()
        try:
            with anyio.fail_after(_SECONDS):
                return await self._read(metrics_url(base_url))
        except TimeoutError:
            return ReplicaMetrics(None, f"no answer within {_SECONDS:g} seconds")
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            return ReplicaMetrics(None, f"no answer ({type(error).__name__})")

    async def _read(self, url: httpx2.URL) -> ReplicaMetrics:
        body = bytearray()
        async with self._made().stream("GET", url, headers=self._headers) as answer:
            if answer.status_code != 200:  # noqa: PLR2004  (OK)
                return ReplicaMetrics(None, f"answered {answer.status_code}")
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > _MOST_BYTES:
                    return ReplicaMetrics(None, f"the text is over {_MOST_BYTES} bytes")
        text = body.decode("utf-8", "replace")
        if len(body) <= _ON_LOOP:
            metrics = VLLMMetrics.parse(text)
        else:
            metrics = await to_thread.run_sync(VLLMMetrics.parse, text)
        return ReplicaMetrics(metrics, "no metrics of vLLM in the answer" if metrics is None else None)

    def _made(self) -> httpx2.AsyncClient:
        if self._client is None:
            # No connection outlives its reading, so none is shared with a process forked off meanwhile.
            self._client = httpx2.AsyncClient(
                transport=self._transport,
                limits=httpx2.Limits(max_keepalive_connections=0),
                timeout=_SECONDS,
            )
        return self._client
