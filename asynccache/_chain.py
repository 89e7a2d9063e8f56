"""What a pipeline is built from, checked before anything is opened."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, TypeAlias

from asynccache._deciders import Deciding, DecisionOptions, decided
from asynccache._driver import stage_name
from asynccache._errors import ConfigurationError, EmbedderUnavailable
from asynccache._express import Express
from asynccache._protocols import (
    Backend,
    Clock,
    Comparing,
    Embedder,
    Instant,
    Learning,
    SemanticIndex,
    Stage,
    Upstream,
)
from asynccache._registry import find_dialect
from asynccache.embedders import as_embedder
from asynccache.index import BackendIndex
from asynccache.stages import (
    ENTRY_CHECKS,
    Audit,
    ExactLookup,
    Learn,
    MissHandler,
    Normalize,
    SemanticLookup,
    SingleFlight,
    Validate,
    Write,
    WriteAlias,
)

__all__ = ["AnyEmbedder", "AnyUpstream", "Chain", "Semantic", "checked", "semantic", "standard"]

AnyUpstream: TypeAlias = "str | Upstream | Callable[..., Any]"


AnyEmbedder: TypeAlias = "str | Embedder | Callable[..., Any]"


@dataclass(frozen=True, slots=True)
class Semantic:
    """What the semantic tier is made of."""

    embedder: Embedder
    index: SemanticIndex
    deciding: Deciding
    audit: float
    audits_per_minute: int


class Chain(NamedTuple):
    """Stages, and the short way past them where there is one."""

    stages: tuple[Stage, ...]
    express: Express | None = None
    semantic: tuple[Stage, ...] = ()
    """Those that find the answer to a near question; none without a semantic tier."""


def semantic(
    backend: Backend,
    *,
    embedder: AnyEmbedder,
    upstream: Upstream,
    options: DecisionOptions,
    max_index_bytes: int,
    clock: Clock,
) -> Semantic | EmbedderUnavailable:
    """The semantic tier over a backend; or why there is none, which is no reason not to start.

    Raises:
        ConfigurationError: what was given as the embedder is none, or the decision cannot work.
    """
    embedding = as_embedder(embedder)
    if find_spec("numpy") is None:
        return EmbedderUnavailable('the semantic tier needs numpy; pip install "asynccache[semantic]"')
    return Semantic(
        embedding,
        BackendIndex(backend, max_bytes=max_index_bytes, clock=clock),
        decided(options, backend=backend, embedder=embedding, upstream=upstream, clock=clock),
        options.audit,
        options.audits_per_minute,
    )


def standard(
    upstream: Upstream,
    backend: Backend,
    *,
    normalize: Normalize,
    abandoned: Literal["close", "finish"],
    semantic: Semantic | None = None,
) -> Chain:
    """The standard chain.

    Each lookup has its validator behind it. The writer, and behind it what learns, sit inside the single
    flight, so that an answer is stored once and whoever asked for it may leave meanwhile. The last
    miss-handler answers when a failure of the cache kept all others from it.
    """
    find_dialect("chat.completions")  # imported now, rather than while the first caller waits
    asking = MissHandler(upstream)
    exact, validate = ExactLookup(backend), Validate()
    near: tuple[Stage, ...] = ()
    behind: tuple[Stage, ...] = ()
    inner: tuple[Stage, ...] = (asking, Write(backend))
    twins: Comparing | None = None
    if semantic is not None:
        index, decision = semantic.index, semantic.deciding.decision
        lookup = SemanticLookup(
            backend,
            index,
            semantic.embedder,
            least=max(-1.0, decision.lowest),
            neighbours=decision.neighbours,
        )
        exact = ExactLookup(backend, space=lookup.space)
        validate = Validate(decision=decision)
        near = (lookup, validate)
        inner = (asking, Write(backend, index=index))
        if semantic.deciding.aliases:
            behind = (WriteAlias(backend, index),)
        judge = semantic.deciding.judge
        if judge is not None and isinstance(decision, Learning):
            audit = Audit(
                *inner,
                decision=decision,
                judge=judge,
                share=semantic.audit,
                per_minute=semantic.audits_per_minute,
            )
            behind = (*behind, audit)
            inner = (*inner, Learn(decision, judge))
        twins = decision if isinstance(decision, Comparing) else None
    flight = SingleFlight(*inner, abandoned=abandoned, near=twins)
    express = Express(normalize.keyring, backend, ENTRY_CHECKS) if isinstance(backend, Instant) else None
    return Chain(
        (normalize, exact, validate, *near, *behind, flight, asking),
        express,
        (normalize, *near) if near else (),
    )


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
