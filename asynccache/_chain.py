"""What a pipeline is built from, checked before anything is opened."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, TypeAlias

from asynccache._deciders import Deciding, DecisionOptions, check_options, decided
from asynccache._driver import stage_name
from asynccache._errors import ConfigurationError, EmbedderUnavailable
from asynccache._keys import Keyring
from asynccache._models import Consistency
from asynccache._origin import origin_of
from asynccache._protocols import (
    Backend,
    Clock,
    Comparing,
    Embedder,
    Flights,
    Learning,
    Searching,
    SemanticIndex,
    Stage,
    Upstream,
)
from asynccache._registry import default_backend_url, find_dialect, open_backend
from asynccache.embedders import as_embedder
from asynccache.index import BackendIndex
from asynccache.stages import (
    Audit,
    Divided,
    ExactLookup,
    Learn,
    Leased,
    MissHandler,
    Normalize,
    PromptShaper,
    SemanticLookup,
    SingleFlight,
    StaleIfError,
    Validate,
    Write,
    WriteAlias,
)
from asynccache.upstreams import as_upstream

__all__ = [
    "AnyEmbedder",
    "AnyUpstream",
    "Assembled",
    "Chain",
    "Semantic",
    "assembled",
    "checked",
    "semantic",
    "standard",
]

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


class Assembled(NamedTuple):
    """What a pipeline runs."""

    backend: Backend | None
    keyring: Keyring
    chain: Chain
    semantic: Semantic | EmbedderUnavailable | None
    """The semantic tier, or why there can be none; None when none was asked for."""


class Chain(NamedTuple):
    """Stages, and some of them apart."""

    stages: tuple[Stage, ...]
    semantic: tuple[Stage, ...] = ()
    """Those that find the answer to a near question; none without a semantic tier."""


def assembled(
    upstream: AnyUpstream | None,
    *,
    stages: Iterable[Stage] | None,
    backend: str | Backend | None,
    api_key: str | None,
    embedder: AnyEmbedder,
    deciding: DecisionOptions,
    max_index_bytes: int,
    history: str,
    abandoned: Literal["close", "finish"],
    max_request_bytes: int,
    consistency: Consistency,
    shaper: PromptShaper | None,
    clock: Clock,
) -> Assembled:
    """The parts that a pipeline's arguments ask for; see ``CachePipeline``. Opens nothing.

    Raises:
        ConfigurationError: naming the option that cannot work.
    """
    check_options(deciding)
    if consistency not in ("eventual", "strong"):
        raise ConfigurationError(f"unknown consistency={consistency!r}; known: 'eventual', 'strong'")
    if upstream is not None and stages is not None:
        raise ConfigurationError(
            "upstream: give either an upstream (a base URL, an Upstream or an async callable) or "
            "stages=[…], into which the upstream goes as MissHandler(upstream)"
        )
    if not isinstance(max_index_bytes, int) or max_index_bytes < 1:
        raise ConfigurationError(f"max_index_bytes={max_index_bytes!r}: expected 1 or more bytes")
    origin = None
    if stages is None and backend is None:
        backend, origin = default_backend_url(), None if upstream is None else origin_of(upstream)
    store = open_backend(backend) if isinstance(backend, str) else backend
    normalize = Normalize(max_request_bytes=max_request_bytes, origin=origin, history=history)
    if stages is not None:
        if deciding.decision not in (None, "promise"):  # the latter is what nobody has asked for
            raise ConfigurationError("decision: with stages=[…] it goes into Validate(decision=…)")
        if shaper is not None:
            raise ConfigurationError("shaper: with stages=[…] it goes before Normalize()")
        return Assembled(store, normalize.keyring, checked(stages), None)
    assert store is not None  # noqa: S101  (see above)
    answering = None
    if upstream is not None:
        answering = as_upstream(upstream, **({} if api_key is None else {"api_key": api_key}))
    asks = deciding.decision == "judge" and deciding.verifier is None
    if asks and deciding.model is None and isinstance(upstream, str):
        raise ConfigurationError(
            "decision='judge' asks the upstream: name its model by default_model=, or give verifier="
        )
    tier = None
    if deciding.decision is not None:
        tier = semantic(
            store,
            embedder=embedder,
            upstream=answering,
            options=deciding,
            max_index_bytes=max_index_bytes,
            clock=clock,
        )
    chain = standard(
        answering,
        store,
        normalize=normalize,
        abandoned=abandoned,
        semantic=tier if isinstance(tier, Semantic) else None,
        shaper=shaper,
    )
    return Assembled(store, normalize.keyring, chain, tier)


def semantic(
    backend: Backend,
    *,
    embedder: AnyEmbedder,
    upstream: Upstream | None,
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
    own = backend.semantic_index() if isinstance(backend, Searching) else None
    return Semantic(
        embedding,
        BackendIndex(backend, max_bytes=max_index_bytes, clock=clock) if own is None else own,
        decided(options, backend=backend, embedder=embedding, upstream=upstream, clock=clock),
        options.audit,
        options.audits_per_minute,
    )


def standard(
    upstream: Upstream | None,
    backend: Backend,
    *,
    normalize: Normalize,
    abandoned: Literal["close", "finish"],
    semantic: Semantic | None = None,
    shaper: PromptShaper | None = None,
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
    divided = Divided(backend, normalize=normalize, asking=asking, write=inner[1])
    if isinstance(backend, Flights):
        inner = (Leased(*inner, flights=backend),)
    flight = SingleFlight(*inner, abandoned=abandoned, near=twins, feed=backend)
    shaping = () if shaper is None else (shaper,)
    return Chain(
        (*shaping, normalize, divided, exact, validate, *near, *behind, StaleIfError(flight), asking),
        semantic=(normalize, *near) if near else (),
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
