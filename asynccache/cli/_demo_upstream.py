"""Whom the demo asks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from asynccache._errors import ConfigurationError
from asynccache.cli._demo_answers import answers
from asynccache.cli._workload import questions

if TYPE_CHECKING:
    from asynccache.server.standin import StandIn

__all__ = ["api_key", "stand_in"]


def api_key(variable: str | None) -> str | None:
    """What the environment variable holds; None when none is named.

    Raises:
        ConfigurationError: it is not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise ConfigurationError(f"--api-key-env: the environment variable {variable!r} is not set")
    return key


@asynccontextmanager
async def stand_in(*, latency: float) -> AsyncIterator[StandIn]:
    """A stand-in server on this machine, for as long as it is asked."""
    from asynccache.server.standin import StandIn

    known = answers(questions())
    with _past_proxies():
        async with StandIn(latency=latency, answers=known) as server:
            yield server


@contextmanager
def _past_proxies() -> Iterator[None]:
    """A proxy of the environment cannot reach a server on this machine's loopback address."""
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = ",".join(filter(None, [before or os.environ.get("NO_PROXY"), "127.0.0.1"]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before
