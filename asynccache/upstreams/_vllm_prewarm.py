"""Has servers compute the beginnings of prompts before somebody waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import anyio

from asynccache._errors import UpstreamBusy, UpstreamError
from asynccache._models import Request
from asynccache.upstreams._vllm_usage import Usage, usage_of

if TYPE_CHECKING:
    from asynccache._protocols import Upstream
    from asynccache.upstreams._vllm_metrics import ReplicaMetrics
    from asynccache.upstreams._vllm_prefixes import Prefix
    from asynccache.upstreams._vllm_replicas import Replicas

__all__ = ["PrewarmReport", "Prewarmer"]

_SECONDS: Final = 60.0
"""For one request; a server that takes longer has other things to do."""
_FRESH_SECONDS: Final = 1.0
"""How long a server's metrics are believed."""
_BYTES_PER_TOKEN: Final = 4
"""A guess, made only to tell beforehand whether a prefix fits the budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrewarmReport:
    """What a round of prewarming did.

    Args:
        sent: prefixes that a server has computed, or had already.
        skipped: prefixes left out: over the budget, or their server had requests waiting.
        failed: prefixes their server refused or did not answer.
        prompt_tokens: of the prefixes sent.
        cached_tokens: of those, already in the cache.
        created_tokens: put into the cache now.
        unknown: prefixes sent whose server did not say what it had cached.
    """

    sent: int = 0
    skipped: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    created_tokens: int = 0
    unknown: int = 0

    def plus(self, usage: Usage) -> PrewarmReport:
        """One prefix more that was sent."""
        return replace(
            self,
            sent=self.sent + 1,
            prompt_tokens=self.prompt_tokens + (usage.prompt_tokens or 0),
            cached_tokens=self.cached_tokens + (usage.cached_tokens or 0),
            created_tokens=self.created_tokens + (usage.created_tokens or 0),
            unknown=self.unknown + (usage.cached_tokens is None),
        )


class Prewarmer:
    """Sends prefixes, one after the other, each to the replica that its requests go to.

    Args:
        upstreams: the replicas, by name.
        replicas: chooses among them; told of failures, but not of load: nobody waits for these requests.
        read: a replica's metrics.
        on_usage: told of every answer's usage.
        now: seconds of a monotonic clock.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        replicas: Replicas,
        *,
        read: Callable[[str], Awaitable[ReplicaMetrics]],
        on_usage: Callable[[Usage], None],
        now: Callable[[], float],
    ) -> None:
        self._upstreams: Final = upstreams
        self._replicas: Final = replicas
        self._read: Final = read
        self._on_usage: Final = on_usage
        self._now: Final = now

    async def run(
        self,
        prefixes: Iterable[Prefix],
        *,
        budget_requests: int,
        budget_tokens: int | None,
        only: str | None = None,
    ) -> PrewarmReport:
        """Send the prefixes, in order, as far as the budget goes.

        Args:
            prefixes: the most wanted first.
            budget_requests: sent at most.
            budget_tokens: of all prompts sent, estimated before and counted after each; None: any.
            only: leave out the prefixes of other replicas, uncounted.
        """
        report = PrewarmReport()
        idle: dict[str, tuple[float, bool]] = {}  # when a replica was looked at, and whether nobody waited
        closed: set[str] = set()  # replicas that were too busy to answer
        for prefix in prefixes:
            replica = self._replicas.choose(prefix.key)
            if only is not None and replica != only:
                continue
            estimate = report.prompt_tokens + len(prefix.static) // _BYTES_PER_TOKEN
            if (
                report.sent + report.failed >= budget_requests
                or (budget_tokens is not None and estimate > budget_tokens)
                or replica in closed
                or not await self._is_idle(replica, idle)
            ):
                report = replace(report, skipped=report.skipped + 1)
                continue
            try:
                usage = await self._send(replica, prefix)
            except UpstreamError as error:
                report = replace(report, failed=report.failed + 1)
                if isinstance(error, UpstreamBusy):
                    closed.add(replica)
                continue
            report = report.plus(usage)
        return report

    async def _is_idle(self, replica: str, idle: dict[str, tuple[float, bool]]) -> bool:
        """Whether nobody waits for the replica; so it is taken to be when it does not say."""
        known = idle.get(replica)
        if known is None or self._now() - known[0] > _FRESH_SECONDS:
            metrics = (await self._read(replica)).metrics
            known = idle[replica] = (self._now(), metrics is None or not metrics.waiting)
        return known[1]

    async def _send(self, replica: str, prefix: Prefix) -> Usage:
        try:
            with anyio.fail_after(_SECONDS):
                response = await self._upstreams[replica].fetch(Request(body=prefix.warming()))
        except TimeoutError:
            raise UpstreamError(f"prewarming took over {_SECONDS:g} seconds") from None
        except UpstreamError as error:
            self._replicas.ended(replica, error)
            raise
        self._replicas.ended(replica, None)
        usage = usage_of(response.body)
        self._on_usage(usage)
        return usage
