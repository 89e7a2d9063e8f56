"""What a pipeline is built from, checked before anything is opened."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

from asynccache._driver import stage_name
from asynccache._errors import ConfigurationError
from asynccache._express import Express
from asynccache._protocols import Backend, Instant, Stage, Upstream
from asynccache._registry import find_dialect
from asynccache.stages import ENTRY_CHECKS, ExactLookup, MissHandler, Normalize, SingleFlight, Validate, Write

__all__ = ["AnyUpstream", "Chain", "checked", "standard", "upstream_identity"]

AnyUpstream: TypeAlias = "str | Upstream | Callable[..., Any]"


class Chain(NamedTuple):
    """Stages, and the short way past them where there is one."""

    stages: tuple[Stage, ...]
    express: Express | None = None


def standard(
    upstream: Upstream, backend: Backend, *, abandoned: Literal["close", "finish"], max_request_bytes: int
) -> Chain:
    """The standard chain.

    The writer sits inside the single flight, so that an answer is stored once and whoever asked for it
    may leave meanwhile. The last miss-handler answers when a failure of the cache kept all others from it.
    """
    find_dialect("chat.completions")  # imported now, rather than while the first caller waits
    asking = MissHandler(upstream)
    normalize = Normalize(max_request_bytes=max_request_bytes)
    stages = (
        normalize,
        ExactLookup(backend),
        Validate(),
        SingleFlight(asking, Write(backend), abandoned=abandoned),
        asking,
    )
    express = Express(normalize.keyring, backend, ENTRY_CHECKS) if isinstance(backend, Instant) else None
    return Chain(stages, express)


def checked(stages: Iterable[Stage]) -> Chain:
    """A custom chain.

    Raises:
        ConfigurationError: naming what is not a stage.
    """
    chain = tuple(stages)
    if not chain:
        raise ConfigurationError("stages: at least one is needed")
    for stage in chain:
        call = stage if inspect.isroutine(stage) else type(stage).__call__
        if inspect.isclass(stage) or not inspect.iscoroutinefunction(call):
            raise ConfigurationError(
                f"stages: {stage_name(stage)} is not a stage: a stage is an async function, or an object "
                "with an async __call__, that takes an Exchange and returns one"
            )
    return Chain(chain)


def upstream_identity(upstream: AnyUpstream) -> str:
    """What keeps the answers of different upstreams apart in a file that all of a user's programs share."""
    if isinstance(upstream, str):
        return upstream.rstrip("/")
    made_by = upstream if inspect.isroutine(upstream) else type(upstream)
    return f"{made_by.__module__}:{made_by.__qualname__}"
