"""``asynccache serve``: the cache as a server before a model's."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from asynccache._errors import ConfigurationError
from asynccache.cli._output import say

if TYPE_CHECKING:
    from asynccache.server._proxy_options import ProxyOptions
    from asynccache.server.proxy import ProxyApp

__all__ = ["run"]


def run(given: argparse.Namespace) -> int:
    """Serve until told to end."""
    try:
        from asynccache.cli._serve_worker import made
        from asynccache.server._proxy_run import run as serve
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        raise ConfigurationError(f'serve needs {missing}; pip install "asynccache[server]"') from error
    options = _options(given)

    def announce(address: str, app: ProxyApp) -> None:
        settings = app.settings
        workers = "1 worker" if options.workers == 1 else f"{options.workers} workers"
        say(f"asynccache serves {address}/v1 → {settings.upstream} ({settings.backend}, {workers})")
        sys.stdout.flush()

    return serve(options, made, worker="asynccache.cli._serve_worker:application", announce=announce)


def _options(given: argparse.Namespace) -> ProxyOptions:
    from asynccache.server._proxy_options import ProxyOptions

    pipeline: dict[str, Any] = {
        name: getattr(given, name)
        for name in ("backend", "decision", "max_error", "threshold", "namespace")
        if getattr(given, name) is not None
    }
    if given.ttl is not None:
        pipeline["ttl"] = None if given.ttl == "none" else given.ttl
    if pipeline.get("decision") == "none":
        pipeline["decision"] = None
    return ProxyOptions(
        upstream=given.upstream,
        host=given.host,
        port=given.port,
        workers=given.workers,
        grace=given.grace,
        max_body=given.max_body,
        max_concurrency=given.max_concurrency,
        timeout=given.timeout,
        keys=given.keys,
        upstream_key_env=given.upstream_key_env,
        trust_tenant_header=given.trust_tenant_header,
        unknown=given.unknown,
        renew_ids=given.renew_ids,
        log=given.log,
        config=given.config,
        pipeline=pipeline,
    )
