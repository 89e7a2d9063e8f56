"""Whose request it is, told by its headers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from hmac import digest
from operator import itemgetter
from typing import Final

import orjson

__all__ = ["DEFAULT_SECRET", "tenant_of"]

DEFAULT_SECRET: Final = sha256(b"asynccache: accounts").digest()
"""Keeps hashes of API keys apart from any other use of them. Whoever reads the store and can guess a key
can confirm the guess; a secret of one's own forbids that."""

_NEUTRAL: Final = frozenset(
    {
        # of the connection and of the body's form
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        # for caches
        "cache-control",
        "pragma",
        "x-cache-tags",
        # by which program and which way it is sent
        "cdn-loop",
        "cf-connecting-ip",
        "cf-ipcountry",
        "cf-ray",
        "cf-visitor",
        "forwarded",
        "origin",
        "referer",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-start",
        # one request among others
        "baggage",
        "correlation-id",
        "date",
        "idempotency-key",
        "priority",
        "request-id",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "x-amzn-trace-id",
        "x-client-request-id",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-data-parallel-rank",
        "x-request-id",
        "x-vllm-priority",
    }
)
"""Headers that say nothing of whose an answer is or what is in it. Every other one, known or not, is told."""
_NEUTRAL_FAMILIES: Final = ("sec-ch-", "sec-fetch-", "x-b3-", "x-datadog-", "x-stainless-")

_BOT_COOKIE: Final = re.compile(r"\s*(?:__cf_bm|_cfuvid|cf_clearance|__cfruid|__cflb|__cfwaitingroom)=")
"""Cloudflare tells browsers from bots by them; they come and go, and are no one's account."""


def tenant_of(headers: Iterable[tuple[str, str]], *, origin: str, secret: bytes = DEFAULT_SECRET) -> str:
    """A name for the account that sends these headers: 64 hex digits, from which neither can be had back.

    All headers are part of it (``Authorization``, ``OpenAI-Organization``, ``anthropic-beta`` and whatever
    else a server may go by) except those known to say nothing of whose an answer is or what is in it. What
    does not show in them, such as a client's certificate, is for the caller to tell apart.

    Args:
        headers: in any order, names in any case.
        origin: the server asked, as far as the URL tells: scheme, host, port, path and query.
        secret: key of the hash.
    """
    told = [(name, value) for name, value in map(_lower, headers) if value and _tells(name)]
    telling = sorted(told, key=itemgetter(0))  # the order of several of one name may mean something
    return digest(secret, orjson.dumps([origin, telling]), "sha256").hex()


def _lower(header: tuple[str, str]) -> tuple[str, str]:
    name, value = header[0].lower(), header[1].strip(" \t")
    if name == "cookie":
        value = ";".join(part for part in value.split(";") if _BOT_COOKIE.match(part) is None)
    return name, value


def _tells(name: str) -> bool:
    return name not in _NEUTRAL and not name.startswith(_NEUTRAL_FAMILIES)
