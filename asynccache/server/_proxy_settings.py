"""The parts that a proxy's options ask for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2

from asynccache._config import load
from asynccache._errors import ConfigurationError
from asynccache._pipeline import CachePipeline
from asynccache.server._proxy_accounts import Accounts
from asynccache.server._proxy_client import UpstreamClient
from asynccache.server._proxy_keys import ClientKeys
from asynccache.upstreams._door import checked_api_key, checked_base_url
from asynccache.upstreams.openai import OpenAIUpstream

if TYPE_CHECKING:
    from asynccache._protocols import Hook
    from asynccache.server._proxy_options import ProxyOptions

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a proxy is made of; nothing of it is open yet."""

    upstream: str
    """Base URL."""
    backend: str
    """Its kind: ``"sqlite"``, ``"redis"`` …"""
    cache: CachePipeline
    accounts: Accounts
    client: UpstreamClient
    own: OpenAIUpstream | None
    """Asks in the proxy's own name; None: clients come with accounts of their own."""

    @classmethod
    def of(cls, options: ProxyOptions, hooks: Iterable[Hook]) -> Settings:
        """Made of options, the configuration's file and the environment.

        Raises:
            ConfigurationError: naming what cannot work.
        """
        configured = load(options.config, os.environ, options.pipeline)
        base = options.upstream or configured.pop("upstream", None)
        configured.pop("upstream", None)
        if base is None:
            raise ConfigurationError("serve needs --upstream, such as https://api.openai.com/v1")
        url = checked_base_url(base)
        upstream = str(url)
        given = configured.pop("api_key", None)
        if options.upstream_key_env is not None:
            given = os.environ.get(options.upstream_key_env)
            if not given:
                raise ConfigurationError(f"{options.upstream_key_env}: this variable holds no key")
        shared = options.keys is not None or options.upstream_key_env is not None
        if given is not None and not shared:
            raise ConfigurationError(
                "api_key is configured, and clients would come with keys of their own: to let all of them use"
                " it, name its variable by --upstream-key-env, and say by --keys who they may be"
            )
        key = checked_api_key(given, url) if shared else None
        own = None
        if shared:
            own = OpenAIUpstream(
                upstream,
                api_key=key or "",
                max_connections=options.max_concurrency,
                max_answer_bytes=_LARGEST_ANSWER,
                timeout=httpx2.Timeout(connect=10.0, read=options.timeout, write=60.0, pool=60.0),
            )
        backend = configured.get("backend")
        return cls(
            upstream=upstream,
            backend="sqlite" if backend is None else str(backend).partition(":")[0],
            cache=CachePipeline(
                upstream,
                api_key=key or "",
                hooks=hooks,
                max_request_bytes=options.max_body,
                **configured,
            ),
            accounts=Accounts(
                upstream,
                keys=None if options.keys is None else ClientKeys.read(options.keys),
                shared=shared,
                upstream_key=key,
                trust_tenant_header=options.trust_tenant_header,
            ),
            client=UpstreamClient(url, limit=options.max_concurrency, timeout=options.timeout),
            own=own,
        )


_LARGEST_ANSWER = 64 * 2**20
"""Bytes."""
