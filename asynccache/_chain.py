"""What a pipeline is built from, checked before anything is opened."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import uuid4

from asynccache._driver import stage_name
from asynccache._errors import ConfigurationError
from asynccache._express import Express
from asynccache._protocols import Backend, Instant, Stage, Upstream
from asynccache._registry import find_dialect
from asynccache.stages import ENTRY_CHECKS, ExactLookup, MissHandler, Normalize, SingleFlight, Validate, Write

__all__ = ["AnyUpstream", "Chain", "checked", "origin_of", "standard"]

AnyUpstream: TypeAlias = "str | Upstream | Callable[..., Any]"


class Chain(NamedTuple):
    """Stages, and the short way past them where there is one."""

    stages: tuple[Stage, ...]
    express: Express | None = None


def standard(
    upstream: Upstream,
    backend: Backend,
    *,
    origin: str | None,
    abandoned: Literal["close", "finish"],
    max_request_bytes: int,
) -> Chain:
    """The standard chain.

    The writer sits inside the single flight, so that an answer is stored once and whoever asked for it
    may leave meanwhile. The last miss-handler answers when a failure of the cache kept all others from it.
    """
    find_dialect("chat.completions")  # imported now, rather than while the first caller waits
    asking = MissHandler(upstream)
    normalize = Normalize(max_request_bytes=max_request_bytes, origin=origin)
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


def origin_of(upstream: AnyUpstream) -> str:
    """What keeps answers of different upstreams apart in the file that all of a user's programs share.

    A URL, or the place of a function in its file. What cannot be told apart from another by its name (a
    closure, a bound method, an object) gets an origin of its own, which ends with the process.
    """
    if isinstance(upstream, str):
        return upstream.rstrip("/")
    if inspect.isfunction(upstream) and upstream.__closure__ is None and "<" not in upstream.__qualname__:
        return f"{Path(upstream.__code__.co_filename).resolve()}:{upstream.__qualname__}"
    return uuid4().hex
