"""The semantic decision that was asked for by name, or given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from asynccache._errors import ConfigurationError
from asynccache._protocols import Decision, Learning
from asynccache.stages._deciding import as_decision
from asynccache.stages.threshold import Threshold

if TYPE_CHECKING:
    from asynccache._protocols import AnswerEquivalence, Backend, Check, Clock, Embedder, Upstream

__all__ = ["KNOWN", "AnyDecision", "Deciding", "DecisionOptions", "check_options", "decided"]

Named: TypeAlias = Literal["promise", "threshold", "shadow", "vcache", "judge"]
AnyDecision: TypeAlias = "Named | Decision | Callable[..., Any] | None"

KNOWN: Final = ("promise", "threshold", "shadow", "vcache", "judge")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionOptions:
    """The pipeline's arguments about its decision, as given."""

    decision: AnyDecision
    max_error: float
    threshold: float | Mapping[str | None, float]
    threshold_floor: float | None
    guards: Sequence[str | Check]
    audit: float
    audits_per_minute: int
    judge: AnswerEquivalence | None
    verifier: Callable[..., Any] | None
    model: str | None
    """Of requests that name none, and of the pipeline's own."""


@dataclass(frozen=True, slots=True)
class Deciding:
    """A decision, and what it learns from."""

    decision: Decision
    judge: AnswerEquivalence | None
    """None: it learns from nothing but what callers say."""
    aliases: bool
    """Whether what it is sure of may be found by its key from then on."""


def check_options(options: DecisionOptions) -> None:
    """What can be said before anything is imported for a decision.

    Raises:
        ConfigurationError: there is no such decision, or its threshold is none.
    """
    Threshold(options.threshold, floor=options.threshold_floor)
    if not _is_number(options.max_error) or not 0 < options.max_error < 1:
        raise ConfigurationError(
            f"max_error={options.max_error!r}: expected a share above 0 and below 1, as 0.02 for two wrong "
            "in a hundred semantic hits"
        )
    if not _is_number(options.audit) or not 0 <= options.audit <= 1:
        raise ConfigurationError(f"audit={options.audit!r}: expected a share of the semantic hits, 0 to 1")
    given = options.decision
    if given is None or callable(given) or isinstance(given, Decision) or given in KNOWN:
        return
    names = ", ".join(map(repr, KNOWN))
    raise ConfigurationError(f"unknown decision={given!r}; known: {names}, None, a Decision or a function")


def _is_number(given: object) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool)


def decided(
    options: DecisionOptions, *, backend: Backend, embedder: Embedder, upstream: Upstream | None, clock: Clock
) -> Deciding:
    """The decision. Imports numpy.

    Raises:
        ConfigurationError: naming the option that cannot work.
    """
    from asynccache.decision.promised import PromisedDecision
    from asynccache.decision.remembering import Remembering

    given = options.decision
    decision: Decision
    if given in ("promise", "shadow", "judge"):
        decision = PromisedDecision(
            backend, max_error=options.max_error, shadow=given == "shadow", clock=clock
        )
    elif given == "vcache":
        from asynccache.decision.vcache import VCacheDecision

        decision = VCacheDecision(options.max_error)
    elif given == "threshold":
        decision = as_decision(Threshold(options.threshold, floor=options.threshold_floor))
    else:
        assert not isinstance(given, str)  # noqa: S101  (``check_options``)
        decision = as_decision(given)
    learns = isinstance(decision, Learning)
    if not isinstance(decision, PromisedDecision):  # which keeps rejections itself
        decision = Remembering(decision, backend, clock=clock)
    decision = _guarded(decision, options.guards)
    if given == "judge":  # around the guards: what they refuse is no verifier's affair
        decision = _verified(decision, options, upstream)
    judge = options.judge
    if learns and judge is None:
        from asynccache.decision.equivalence import BuiltinJudge

        judge = BuiltinJudge(embedder)
    return Deciding(
        decision,
        judge if learns else None,
        aliases=given in ("promise", "threshold"),
    )


def _guarded(decision: Decision, guards: Sequence[str | Check]) -> Decision:
    if not guards:
        return decision
    from asynccache.decision.guards import GUARDS, Guarded

    checks = []
    for guard in guards:
        check = GUARDS.get(guard) if isinstance(guard, str) else guard
        if check is None or not callable(check):
            raise ConfigurationError(
                f"guards: unknown {guard!r}; known: {', '.join(map(repr, GUARDS))}, or a check of your own"
            )
        checks.append(check)
    return Guarded(decision, checks)


def _verified(decision: Decision, options: DecisionOptions, upstream: Upstream | None) -> Decision:
    from asynccache.decision.llm_verifier import LLMVerifier
    from asynccache.decision.verifier import VerifiedDecision

    verifier = options.verifier
    if verifier is None:
        if upstream is None:
            raise ConfigurationError("decision='judge' asks the upstream: give one, or verifier=")
        verifier = LLMVerifier(upstream, model=options.model)
    return VerifiedDecision(decision, verifier)
