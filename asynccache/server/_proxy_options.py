"""What the proxy server is told, in a form that goes to its workers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

import orjson

from asynccache._errors import ConfigurationError

__all__ = ["ENVIRONMENT", "ProxyOptions", "Unknown"]

ENVIRONMENT: Final = "_ASYNCCACHE_SERVE"
"""The variable by which workers get their options. Not one of ``ASYNCCACHE_*``: those are the user's."""

Unknown: TypeAlias = Literal["auto", "pass", "refuse"]
"""What happens to requests that are no questions to a model. ``"auto"`` passes them on where clients come
with their own keys; with a key of the proxy's, it passes on the list of models alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyOptions:
    """How to serve. Holds no keys: those stay in files and variables, which are named here.

    Args:
        upstream: base URL with the version; None takes that of the configuration.
        host: address to listen at.
        port: 0 takes a free one.
        workers: processes.
        grace: seconds that running requests get to finish when the server is told to end.
        max_body: bytes of a request's body.
        max_concurrency: requests in the making at once, in each worker.
        timeout: seconds between two pieces of an upstream's answer.
        keys: TOML file of tenants and their keys; None takes clients as they come.
        upstream_key_env: variable that holds the key for the upstream; None passes on the clients' own.
        trust_tenant_header: whether ``X-Cache-Tenant`` says whose request it is.
        unknown: see ``Unknown``.
        renew_ids: give stored answers a new id and creation time.
        log: which lines to write: ``"failures"`` of the cache, or one for each of the ``"requests"`` too.
        config: TOML file of the pipeline's options; None as in ``CachePipeline.configured``.
        pipeline: options of the pipeline that win over the configuration.
    """

    upstream: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    grace: float = 30.0
    max_body: int = 16 * 2**20
    max_concurrency: int = 1000
    timeout: float = 600.0
    keys: str | None = None
    upstream_key_env: str | None = None
    trust_tenant_header: bool = False
    unknown: Unknown = "auto"
    renew_ids: bool = False
    log: Literal["failures", "requests"] = "failures"
    config: str | None = None
    pipeline: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """For ``from_environment`` in another process."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_environment(cls) -> ProxyOptions:
        """What the parent of a worker has put there.

        Raises:
            ConfigurationError: there is nothing.
        """
        told = os.environ.get(ENVIRONMENT)
        if told is None:
            raise ConfigurationError(
                "no options in the environment: start the server with `asynccache serve`"
            )
        return cls(**orjson.loads(told))
