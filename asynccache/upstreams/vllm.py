"""The upstream for vLLM servers: one or several replicas, and the prefix caches inside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from asynccache._errors import ConfigurationError
from asynccache._lifespan import Nursery, SharedLifespan, entered
from asynccache._models import Request, Response
from asynccache.upstreams._door import checked_api_key, checked_base_url, checked_headers, checked_number
from asynccache.upstreams._vllm_guided import translated
from asynccache.upstreams._vllm_metrics import MetricsChange, ReplicaMetrics, VLLMMetrics
from asynccache.upstreams._vllm_placing import placed_by
from asynccache.upstreams._vllm_prefixes import Prefix, PrefixCounts
from asynccache.upstreams._vllm_prewarm import Prewarmer, PrewarmReport
from asynccache.upstreams._vllm_replicas import Replicas
from asynccache.upstreams._vllm_salt import TenantSalt
from asynccache.upstreams._vllm_scrape import MetricsDoor
from asynccache.upstreams._vllm_usage import PrefixLedger, PrefixReport, TenantTokens, tenant_mark, usage_of
from asynccache.upstreams.openai import DEFAULT_TIMEOUT, OpenAIUpstream
from asynccache.upstreams.prefix_router import PrefixRouter

if TYPE_CHECKING:
    import httpx2

    from asynccache._stream import Stream

__all__ = [
    "MetricsChange",
    "PrefixReport",
    "PrewarmReport",
    "ReplicaMetrics",
    "TenantTokens",
    "VLLMMetrics",
    "VLLMUpstream",
    "tenant_mark",
]

_SALTED: Final = frozenset({"chat.completions", "completions", "responses", "messages"})
"""The protocols whose requests have a ``cache_salt`` (vLLM 0.32)."""

PREWARM_REQUESTS: Final = 16


class VLLMUpstream:
    """Asks vLLM servers over HTTP. Use inside ``lifespan()``; a pipeline does that.

    Requests that begin alike go to the same replica, where their beginning is cached, as far as its load
    allows (see ``PrefixRouter``). A request is sent again only when it cannot have been processed: no
    connection, or 429 and 503. It goes to another replica at once and, when all have refused, waits
    before the next round. An answer that has begun is never asked for twice.

    With a tenant secret every request carries a ``cache_salt``: a hash of the scope's tenant and namespace
    that nobody can make without the secret, so that no tenant finds out by waiting times what another
    asked. Requests without a tenant share one of their own. A salt in the body is folded into it. The
    key of the response cache does not change: the scope is in it already.

    ``guided_*`` fields, which vLLM ignores since 0.12, are sent as ``structured_outputs``. Their answers are
    constrained but not stored, since the body that is judged still says ``guided_*``: callers who want them
    cached write ``structured_outputs``.

    Args:
        base_urls: of one replica or several that serve the same models, each with the version, e.g.
            ``"http://127.0.0.1:8000/v1"``.
        tenant_secret: at least 32 bytes, the same in all processes. None takes
            ``ASYNCCACHE_TENANT_SECRET``; where that is not set either, and for "", no salt is sent.
        router: chooses among exactly these base URLs. None makes one.
        prewarm_on_return: whether a replica that answers again after it could not be reached is sent the
            prefixes most used at once, behind the users. Default False.
        api_key: sent as a bearer token to all replicas, for their metrics too. None and "" send none.
        headers: likewise; they win over the client's own.
        timeout: as ``OpenAIUpstream`` takes it.
        max_connections: answers in the making at once at each replica; more wait. Default 256.
        max_retries: tries after the first, on whichever replica. Default 2; 0 never repeats.
        max_answer_bytes: largest answer, and largest event of a stream. Default 16 MiB.
        transport: as ``OpenAIUpstream`` takes it.

    Raises:
        ConfigurationError: an option cannot work.
    """

    def __init__(
        self,
        base_urls: str | Sequence[str],
        *,
        tenant_secret: bytes | str | None = None,
        router: PrefixRouter | None = None,
        prewarm_on_return: bool = False,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx2.Timeout | float | None = DEFAULT_TIMEOUT,
        max_connections: int = 256,
        max_retries: int = 2,
        max_answer_bytes: int = 16 * 2**20,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        urls = _checked_urls(base_urls)
        self._upstreams: Final = {
            url: OpenAIUpstream(
                url,
                api_key=api_key,
                headers=headers,
                timeout=timeout,
                max_connections=max_connections,
                max_retries=0,
                max_answer_bytes=max_answer_bytes,
                transport=transport,
            )
            for url in urls
        }
        self._router: Final = PrefixRouter(urls) if router is None else router
        if set(self._router.replicas) != set(urls):
            raise ConfigurationError("router: its replicas must be the base_urls, in the same spelling")
        self._salt: Final = TenantSalt.of(tenant_secret)
        self._prewarm_on_return: Final = prewarm_on_return
        self._replicas: Final = Replicas(
            self._upstreams,
            self._router,
            max_retries=checked_number("max_retries", max_retries, least=0),
            max_answer_bytes=max_answer_bytes,
            on_return=self._returned,
        )
        self._counts: Final = PrefixCounts()
        self._ledger: Final = PrefixLedger()
        key = checked_api_key(api_key, checked_base_url(urls[0]))
        self._metrics: Final = MetricsDoor(
            {**({} if key is None else {"authorization": f"Bearer {key}"}), **checked_headers(headers)},
            transport,
        )
        self._prewarmer: Final = Prewarmer(
            self._upstreams,
            self._replicas,
            read=self._metrics.read,
            on_usage=self._ledger.note_prewarmed,
            now=anyio.current_time,
        )
        self._nursery: Final = Nursery()
        self._lifespan: Final = SharedLifespan(self._open)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the connections open; may be entered several times, and closes with the last."""
        return self._lifespan()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with entered(*self._upstreams.values(), self._metrics, self._nursery):
            yield

    async def fetch(self, request: Request) -> Response:
        """The whole answer, its body as the replica sent it.

        Raises:
            UpstreamError: of the kind that says why there is no answer.
            InvalidRequest: the body holds something JSON cannot carry, or ``guided_*`` fields that cannot
                be said as ``structured_outputs``.
            ConfigurationError: there is no path for the request's dialect.
        """
        sent, prefix = self._prepared(request)
        self._count(sent, prefix)
        response = await self._replicas.fetch(sent, prefix)
        self._ledger.note(request.scope.tenant, usage_of(response.body))
        return response

    async def stream(self, request: Request) -> Stream:
        """The answer as it arrives; returns once a replica has begun to answer.

        What it says of its prompt is known only where the request asks for usage
        (``stream_options.include_usage``) or the server sends it unasked.

        Raises:
            UpstreamError: as ``fetch``; from the iteration, ``UpstreamStreamError``.
            InvalidRequest: as ``fetch``.
            ConfigurationError: as ``fetch``.
        """
        sent, prefix = self._prepared(request)
        self._count(sent, prefix)
        return await self._replicas.stream(sent, prefix, partial(self._ledger.note, request.scope.tenant))

    async def metrics(self) -> dict[str, ReplicaMetrics]:
        """What each replica's ``/metrics`` says now, by base URL; asked all at once, at most 5 seconds."""
        self._metrics.check_open()  # here, where no task group is around the error
        found: dict[str, ReplicaMetrics] = {}

        async def read(url: str) -> None:
            found[url] = await self._metrics.read(url)

        async with anyio.create_task_group() as group:
            for url in self._upstreams:
                group.start_soon(read, url)
        return {url: found[url] for url in self._upstreams}

    async def prewarm(
        self,
        requests: Iterable[Request | Mapping[str, Any]] | None = None,
        *,
        budget_requests: int = PREWARM_REQUESTS,
        budget_tokens: int | None = None,
    ) -> PrewarmReport:
        """Have replicas compute the leading instructions and tools of chat requests, one after the other.

        Each goes to the replica its requests go to, with the same salt, unless requests are waiting there.
        None of it counts as a user's. What a template needs a question for, a server refuses.

        Args:
            requests: whose beginnings; a mapping is a chat body without a scope. None takes the prefixes
                this upstream has seen most often, of which it remembers 256.
            budget_requests: sent at most. Default 16.
            budget_tokens: prompt tokens sent at most, as estimated beforehand. Default None: any number.

        Raises:
            InvalidRequest: as ``fetch``, for a request given.
        """
        checked_number("budget_requests", budget_requests, least=0)
        if budget_tokens is not None:
            checked_number("budget_tokens", budget_tokens, least=0)
        prefixes = self._counts.most_used() if requests is None else self._prefixes(requests)
        return await self._prewarmer.run(
            prefixes, budget_requests=budget_requests, budget_tokens=budget_tokens
        )

    def report(self) -> PrefixReport:
        """How much of the prompts the replicas had cached, since this upstream was made."""
        return self._ledger.report()

    def _prepared(self, request: Request) -> tuple[Request, bytes]:
        """The request as it is sent, and the key of its prefix."""
        body = translated(request.body)
        if self._salt is not None and request.dialect in _SALTED:
            body = self._salt.salted(body, request.scope)
        sent = request if body is request.body else replace(request, body=body)
        return sent, placed_by(request.dialect, body)

    def _count(self, sent: Request, prefix: bytes) -> None:
        if sent.dialect == "chat.completions":
            self._counts.note(prefix, sent.body)

    def _prefixes(self, requests: Iterable[Request | Mapping[str, Any]]) -> list[Prefix]:
        made: dict[bytes, Prefix] = {}
        for given in requests:
            request = given if isinstance(given, Request) else Request(body=given)
            sent, key = self._prepared(request)
            prefix = Prefix.of(key, sent.body) if sent.dialect == "chat.completions" else None
            if prefix is not None:
                made.setdefault(key, prefix)
        return list(made.values())

    def _returned(self, replica: str) -> None:
        if not self._prewarm_on_return:
            return

        async def warm() -> None:
            await self._prewarmer.run(
                self._counts.most_used(), budget_requests=PREWARM_REQUESTS, budget_tokens=None, only=replica
            )

        with suppress(RuntimeError):  # a stream read to its end after the lifespan's
            self._nursery.start(warm)

    def __repr__(self) -> str:
        return f"<VLLMUpstream {', '.join(self._upstreams)}>"


def _checked_urls(given: str | Sequence[str]) -> list[str]:
    urls = [given] if isinstance(given, str) else list(given)
    if not urls:
        raise ConfigurationError("base_urls: give at least one")
    for url in urls:
        checked_base_url(url)
    if len({str(checked_base_url(url)) for url in urls}) < len(urls):
        raise ConfigurationError("base_urls: one is given twice")
    return urls
