"""How many prompt tokens the servers had in their cache, and how many they had to compute. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import orjson

__all__ = ["Answered", "PrefixLedger", "PrefixReport", "TenantTokens", "Usage", "tenant_mark", "usage_of"]

MOST_TENANTS: Final = 1_000
"""Tenants counted apart; those seen least recently are added up under ``OTHERS``."""
OTHERS: Final = "others"
NOBODY: Final = "none"


class Usage(NamedTuple):
    """What one answer says about its prompt; None where it does not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the prompt's tokens, those found in the prefix cache."""
    created_tokens: int | None = None
    """Those put there."""


def usage_of(document: bytes | None) -> Usage:
    """Read the usage of an answer, or of a frame that holds one, in each of the protocols.

    ``cached_tokens`` is None where the server was not told to count them (vLLM does with
    ``--enable-prompt-tokens-details``): that is not zero.
    """
    try:
        parsed = orjson.loads(document or b"")
    except orjson.JSONDecodeError:
        return Usage()
    holders = (parsed, _part(parsed, "response"), _part(parsed, "message"))
    usage = next((found for each in holders if (found := _part(each, "usage"))), None)
    cached = _count(usage, "cache_read_input_tokens")
    if cached is not None:  # messages: the three kinds of input tokens are told apart
        created = _count(usage, "cache_creation_input_tokens")
        return Usage((_count(usage, "input_tokens") or 0) + cached + (created or 0), cached, created)
    details = _part(usage, "prompt_tokens_details") or _part(usage, "input_tokens_details")
    tokens = _count(usage, "prompt_tokens")
    return Usage(
        prompt_tokens=_count(usage, "input_tokens") if tokens is None else tokens,
        cached_tokens=_count(details, "cached_tokens"),
        created_tokens=_count(details, "created_cache_tokens"),
    )


def _part(document: Any, name: str) -> Any:
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else None


def _count(document: Any, name: str) -> int | None:
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def tenant_mark(tenant: str | None) -> str:
    """What a report calls a tenant: 8 hex digits of a SHA-256; ``"none"`` for requests without one."""
    return NOBODY if tenant is None else sha256(tenant.encode()).hexdigest()[:8]


class Answered(Protocol):
    """Something that counts answered requests: a pipeline's ``Stats``."""

    @property
    def requests(self) -> int: ...


@dataclass(frozen=True, slots=True)
class TenantTokens:
    """The prompt tokens of some answers.

    Args:
        requests: answers.
        unknown: those of them that did not say how many tokens were cached; nothing of them is in the
            next two numbers.
        prompt_tokens: of the answers that said.
        cached_tokens: of those, found in a server's prefix cache.
    """

    requests: int = 0
    unknown: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def prefilled_tokens(self) -> int:
        """Prompt tokens that had to be computed."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def hit_ratio(self) -> float | None:
        """Share of the prompt tokens that was cached, 0 to 1; None when nobody said."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None

    def plus(self, usage: Usage) -> TenantTokens:
        """One answer more."""
        prompt, cached = usage.prompt_tokens, usage.cached_tokens
        if prompt is None or cached is None:
            return TenantTokens(self.requests + 1, self.unknown + 1, self.prompt_tokens, self.cached_tokens)
        cached = min(cached, prompt)
        return TenantTokens(
            self.requests + 1, self.unknown, self.prompt_tokens + prompt, self.cached_tokens + cached
        )

    def merged(self, other: TenantTokens) -> TenantTokens:
        """The answers of both."""
        return TenantTokens(
            self.requests + other.requests,
            self.unknown + other.unknown,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class PrefixReport:
    """What the servers' prefix caches were good for since the upstream was made.

    Args:
        total: the answers to users.
        tenants: the same by tenant, each called what ``tenant_mark`` says; ``"others"`` for the many.
        prewarmed: the answers to prewarming, which are in no other number.
    """

    total: TenantTokens
    tenants: Mapping[str, TenantTokens]
    prewarmed: TenantTokens

    @property
    def hit_ratio(self) -> float | None:
        """Share of the users' prompt tokens that a server had cached, 0 to 1; None when none said."""
        return self.total.hit_ratio

    def prefilled_per_request(self, stats: Answered) -> float | None:
        """Prompt tokens computed for each request of a user, those the response cache answered included.

        The one number in which both caches show: a hit in the response cache takes a request from the
        servers and lets their prefixes cool, so their own hit ratio falls as the other rises. What
        prewarming computed counts as well. Answers that told nothing are taken to be like the others.

        Args:
            stats: of the pipeline all of whose misses, and nobody else's, come here.

        Returns:
            None before the first request, and when no answer told anything.
        """
        known = self.total.requests - self.total.unknown
        if not stats.requests or (self.total.requests and not known):
            return None
        each = self.total.prefilled_tokens / known if known else 0.0
        return (each * self.total.requests + self.prewarmed.prefilled_tokens) / stats.requests


class PrefixLedger:
    """Adds up what answers say. Knows tenants by their marks alone."""

    def __init__(self, *, most_tenants: int = MOST_TENANTS) -> None:
        self._most: Final = most_tenants
        self._tenants: dict[str, TenantTokens] = {}  # seen least recently first
        self._others = TenantTokens()
        self._prewarmed = TenantTokens()

    def note(self, tenant: str | None, usage: Usage) -> None:
        """An answer to a user."""
        mark = tenant_mark(tenant)
        self._tenants[mark] = self._tenants.pop(mark, TenantTokens()).plus(usage)
        if len(self._tenants) > self._most:
            self._others = self._others.merged(self._tenants.pop(next(iter(self._tenants))))

    def note_prewarmed(self, usage: Usage) -> None:
        """An answer nobody waited for."""
        self._prewarmed = self._prewarmed.plus(usage)

    def report(self) -> PrefixReport:
        """All that was noted."""
        tenants = dict(self._tenants)
        if self._others.requests:
            tenants[OTHERS] = self._others
        total = TenantTokens()
        for each in tenants.values():
            total = total.merged(each)
        return PrefixReport(total, MappingProxyType(tenants), self._prewarmed)
