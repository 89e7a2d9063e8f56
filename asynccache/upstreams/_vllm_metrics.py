"""What a vLLM server's metrics say about its prefix cache and its load. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, NamedTuple

from asynccache.upstreams._vllm_exposition import samples

__all__ = ["MetricsChange", "ReplicaMetrics", "VLLMMetrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsChange:
    """What happened between two readings of one server.

    Args:
        prefix_hits: prompt tokens found in the prefix cache.
        prefix_queries: prompt tokens looked up there.
        preemptions: requests that had to make room for others and start again.
        restarted: whether the server was started anew between the readings; the numbers are then those
            since its start, and what it did before is lost.
    """

    prefix_hits: int | None
    prefix_queries: int | None
    preemptions: int | None
    restarted: bool

    @property
    def hit_ratio(self) -> float | None:
        """Share of the tokens looked up that were found, 0 to 1; None where none were, or nobody knows."""
        return _ratio(self.prefix_hits, self.prefix_queries)


@dataclass(frozen=True, slots=True, kw_only=True)
class VLLMMetrics:
    """One reading of a server, its engines taken together; None where the server does not say.

    Args:
        prefix_hits: prompt tokens found in the prefix cache since the server's start (some old releases
            count blocks, here and in ``prefix_queries``; their ratio means the same).
        prefix_queries: prompt tokens looked up there.
        external_hits: prompt tokens found in a cache beside the server.
        external_queries: prompt tokens looked up there.
        kv_usage: share of the KV cache that running requests hold, 0 to 1; the mean of the engines.
        running: requests being worked on now.
        waiting: requests that wait for their turn now.
        preemptions: requests that had to make room for others, since the start.
        prompt_tokens: prompt tokens of all requests since the start.
        prompt_tokens_cached: how many of those were not computed.
        block_size: tokens in one block of the cache; only full blocks are found again.
        num_gpu_blocks: blocks of all engines.
        kv_cache_tokens: tokens the cache holds, of all engines.
        reported_hit_ratio: the gauge of very old releases, 0 to 1, which had no counters.
        created: when the counters began, in seconds since the epoch.
    """

    prefix_hits: int | None = None
    prefix_queries: int | None = None
    external_hits: int | None = None
    external_queries: int | None = None
    kv_usage: float | None = None
    running: int | None = None
    waiting: int | None = None
    preemptions: int | None = None
    prompt_tokens: int | None = None
    prompt_tokens_cached: int | None = None
    block_size: int | None = None
    num_gpu_blocks: int | None = None
    kv_cache_tokens: int | None = None
    reported_hit_ratio: float | None = None
    created: float | None = None

    @classmethod
    def parse(cls, text: str) -> VLLMMetrics | None:
        """Read the text of ``GET /metrics``, under the current names and the older ``gpu_`` ones.

        None when it holds no metric of vLLM at all.
        """
        found = _Found(text)
        if not found:
            return None
        return cls(
            prefix_hits=found.count("prefix_cache_hits", "gpu_prefix_cache_hits"),
            prefix_queries=found.count("prefix_cache_queries", "gpu_prefix_cache_queries"),
            external_hits=found.count("external_prefix_cache_hits"),
            external_queries=found.count("external_prefix_cache_queries"),
            kv_usage=found.share("kv_cache_usage_perc", "gpu_cache_usage_perc"),
            running=found.count("num_requests_running"),
            waiting=found.count("num_requests_waiting"),
            preemptions=found.count("num_preemptions"),
            prompt_tokens=found.count("prompt_tokens"),
            prompt_tokens_cached=found.count("prompt_tokens_cached"),
            block_size=found.block_size(),
            num_gpu_blocks=found.configured(lambda engine: _whole(engine, "num_gpu_blocks")),
            kv_cache_tokens=found.configured(_capacity),
            reported_hit_ratio=found.share("gpu_prefix_cache_hit_rate"),
            created=found.latest("prefix_cache_queries_created", "gpu_prefix_cache_queries_created"),
        )

    @property
    def hit_ratio(self) -> float | None:
        """Share of all tokens looked up since the start that were found, 0 to 1; None if nobody knows."""
        ratio = _ratio(self.prefix_hits, self.prefix_queries)
        return self.reported_hit_ratio if ratio is None else ratio

    def delta(self, earlier: VLLMMetrics) -> MetricsChange:
        """What happened since an earlier reading of the same server."""
        restarted = self._began_after(earlier)

        def since(now: int | None, then: int | None) -> int | None:
            if now is None or restarted:
                return now
            return None if then is None else now - then

        return MetricsChange(
            prefix_hits=since(self.prefix_hits, earlier.prefix_hits),
            prefix_queries=since(self.prefix_queries, earlier.prefix_queries),
            preemptions=since(self.preemptions, earlier.preemptions),
            restarted=restarted,
        )

    def _began_after(self, earlier: VLLMMetrics) -> bool:
        if self.created is not None and earlier.created is not None and self.created > earlier.created:
            return True
        counters = (
            (self.prefix_hits, earlier.prefix_hits),
            (self.prefix_queries, earlier.prefix_queries),
            (self.preemptions, earlier.preemptions),
            (self.prompt_tokens, earlier.prompt_tokens),
        )
        return any(now is not None and then is not None and now < then for now, then in counters)


class ReplicaMetrics(NamedTuple):
    """What one replica said when it was asked for its metrics."""

    metrics: VLLMMetrics | None
    """None when they could not be read."""
    reason: str | None = None
    """Why not; None when they could."""


_PREFIX: Final = "vllm:"


class _Found:
    """The samples of a text, by name."""

    def __init__(self, text: str) -> None:
        self._values: dict[str, list[float]] = {}
        self._configs: list[Mapping[str, str]] = []
        for name, labels, value in samples(text, prefix=_PREFIX):
            if name == "vllm:cache_config_info":
                self._configs.append(labels)
            elif isfinite(value):
                self._values.setdefault(name.removeprefix(_PREFIX).removesuffix("_total"), []).append(value)

    def __bool__(self) -> bool:
        return bool(self._values or self._configs)

    def _of(self, names: Sequence[str]) -> list[float]:
        # Some releases serve both names for the same thing: the first is taken, never the sum of both.
        return next((self._values[name] for name in names if name in self._values), [])

    def count(self, *names: str) -> int | None:
        values = self._of(names)
        return int(sum(values)) if values else None

    def share(self, *names: str) -> float | None:
        values = [value for value in self._of(names) if value >= 0]  # -1: nothing to report yet
        return sum(values) / len(values) if values else None

    def latest(self, *names: str) -> float | None:
        return max(self._of(names), default=None)

    def block_size(self) -> int | None:
        """That of the first engine: all are configured alike."""
        return next((size for each in self._configs if (size := _whole(each, "block_size"))), None)

    def configured(self, read: Callable[[Mapping[str, str]], int | None]) -> int | None:
        """The sum over the engines that say."""
        known = [number for each in self._configs if (number := read(each)) is not None]
        return sum(known) if known else None


def _capacity(engine: Mapping[str, str]) -> int | None:
    """Tokens one engine's cache holds; older servers name its blocks and their size alone."""
    tokens = _whole(engine, "kv_cache_size_tokens")
    blocks, size = _whole(engine, "num_gpu_blocks"), _whole(engine, "block_size")
    if tokens is not None or blocks is None or size is None:
        return tokens
    return blocks * size


def _whole(labels: Mapping[str, str], name: str) -> int | None:
    given = labels.get(name, "")
    return int(given) if given.isascii() and given.isdigit() else None  # "None" is how vLLM says unknown


def _ratio(hits: int | None, queries: int | None) -> float | None:
    return hits / queries if queries and hits is not None else None
