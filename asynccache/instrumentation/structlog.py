"""Events as structlog lines: no message text, no keys, no tenant names."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import structlog

from asynccache._errors import AsyncCacheError
from asynccache._events import (
    CandidateRejected,
    EntryRefused,
    EntryStored,
    Event,
    HitAudited,
    PromiseChanged,
    RequestFailed,
    RequestServed,
    SemanticTierChanged,
    StageFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from asynccache._protocols import Hook

__all__ = ["default_hook", "log_events", "log_failures"]


def _described(error: Exception) -> dict[str, Any]:
    """An error without foreign words: only our own messages are known not to quote a prompt."""
    described: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, AsyncCacheError):
        described["problem"] = str(error)
    return described


def log_events(logger: Any = None) -> Hook:
    """One line a request (info), one for each failure passed over (warning), the rest at debug.

    Args:
        logger: a structlog logger; default ``structlog.get_logger("asynccache")``.
    """
    log = structlog.get_logger("asynccache") if logger is None else logger

    def hook(event: Event) -> None:
        match event:
            case RequestServed():
                log.info(
                    "asynccache_request_served",
                    source=event.source.value,
                    outcome="hit" if event.source.hit else "miss",
                    mode=event.mode,
                    seconds=event.seconds,
                    similarity=event.similarity,
                    reasons=event.reasons,
                    partition=event.partition,
                )
            case RequestFailed(error=error):
                log.info(
                    "asynccache_request_failed", mode=event.mode, seconds=event.seconds, **_described(error)
                )
            case StageFailed(stage=stage, error=error):
                log.warning("asynccache_stage_failed", stage=stage, **_described(error))
            case SemanticTierChanged():
                _log_tier(log, event)
            case PromiseChanged():
                _log_promise(log, event)
            case HitAudited(same=same):
                log.debug("asynccache_hit_audited", same=same)
            case CandidateRejected():
                log.debug("asynccache_candidate_rejected", reason=event.reason, source=event.source.value)
            case EntryStored():
                log.debug("asynccache_entry_stored", bytes=event.size)
            case EntryRefused():
                log.debug("asynccache_entry_refused", reason=event.reason)
            case _:
                log.debug("asynccache_event_emitted", event_type=type(event).__name__)

    return hook


def _log_tier(log: Any, event: SemanticTierChanged) -> None:
    if event.error is None:
        log.info("asynccache_semantic_tier_opened")
    else:
        log.warning("asynccache_semantic_tier_closed", **_described(event.error))


def _log_promise(log: Any, event: PromiseChanged) -> None:
    if event.limit is None:
        log.warning("asynccache_promise_closed", family=event.family)
    else:
        log.info("asynccache_promise_changed", family=event.family, limit=event.limit)


REPEAT_AFTER: Final = 60.0
"""Seconds for which the same failure of the same stage is counted, not logged again."""


def log_failures(logger: Any = None, *, monotonic: Callable[[], float] = monotonic) -> Hook:
    """Only what went wrong inside the cache, each kind at most once a minute: a pipeline's default hook.

    Args:
        logger: a structlog logger; default ``structlog.get_logger("asynccache")``.
        monotonic: seconds, for tests.
    """
    log = structlog.get_logger("asynccache") if logger is None else logger
    quiet_until: dict[tuple[str, str], float] = {}
    repeated: dict[tuple[str, str], int] = {}

    def hook(event: Event) -> None:
        if isinstance(event, SemanticTierChanged):
            _log_tier(log, event)
        if isinstance(event, PromiseChanged):
            _log_promise(log, event)
        if not isinstance(event, StageFailed):
            return
        kind = (event.stage, type(event.error).__name__)
        now = monotonic()
        if now < quiet_until.get(kind, 0.0):
            repeated[kind] = repeated.get(kind, 0) + 1
            return
        quiet_until[kind] = now + REPEAT_AFTER
        log.warning(
            "asynccache_stage_failed",
            stage=event.stage,
            repeated=repeated.pop(kind, 0),
            **_described(event.error),
        )

    return hook


default_hook: Final = log_failures()
"""Shared by all pipelines without hooks of their own."""
