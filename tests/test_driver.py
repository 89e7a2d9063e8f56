"""Counters, events, and turns of the event loop."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from asynccache import BackendUnavailable, CachePipeline, Event, RequestServed, Source, StageFailed
from asynccache._turn import LoopTurn
from asynccache.instrumentation.structlog import log_events, log_failures
from asynccache.testing import FakeUpstream

pytestmark = pytest.mark.anyio


async def test_a_turn_of_the_loop_has_a_budget_and_a_new_turn_a_new_one() -> None:
    now = 0.0
    turn = LoopTurn(budget=1.0, clock=lambda: now)
    assert not turn.due()
    now = 0.9
    assert not turn.due()
    now = 1.1
    assert turn.due()
    assert turn.due()
    await asyncio.sleep(0)
    assert not turn.due()
    now = 2.0
    assert not turn.due()


def served(**changes: object) -> RequestServed:
    return RequestServed(
        source=Source.EXACT, mode="fetch", seconds=0.5, similarity=1.0, reasons=(), partition="00ff00ff"
    )


def test_a_served_request_is_one_line() -> None:
    with capture_logs() as lines:
        log_events()(served())
    assert lines == [
        {
            "event": "asynccache_request_served",
            "log_level": "info",
            "source": "exact",
            "outcome": "hit",
            "mode": "fetch",
            "seconds": 0.5,
            "similarity": 1.0,
            "reasons": (),
            "partition": "00ff00ff",
        }
    ]


def test_a_failure_is_logged_once_a_minute_with_the_number_of_repeats() -> None:
    now = 0.0
    hook = log_failures(monotonic=lambda: now)
    event: Event = StageFailed("ExactLookup", BackendUnavailable("the disk is full"))
    with capture_logs() as lines:
        for _ in range(5):
            hook(event)
        hook(StageFailed("Write", BackendUnavailable("the disk is full")))
        now = 61.0
        hook(event)
    assert [(line["stage"], line["repeated"]) for line in lines] == [
        ("ExactLookup", 0),
        ("Write", 0),
        ("ExactLookup", 4),
    ]
    assert {line["problem"] for line in lines} == {"the disk is full"}
    assert {line["log_level"] for line in lines} == {"warning"}


def test_foreign_words_are_not_logged() -> None:
    with capture_logs() as lines:
        log_failures()(StageFailed("mine", ValueError("the user's prompt")))
        log_events()(StageFailed("mine", ValueError("the user's prompt")))
    assert "prompt" not in str(lines)
    assert [line["error"] for line in lines] == ["ValueError", "ValueError"]


async def test_without_hooks_failures_are_logged_through_structlog() -> None:
    class Failing:
        async def __call__(self, exchange: object, /) -> object:
            raise BackendUnavailable("no luck")

    from asynccache.stages import MissHandler

    with capture_logs() as lines:
        stages = [Failing(), MissHandler(FakeUpstream())]
        async with CachePipeline(stages=stages) as cache:  # type: ignore[arg-type]  # returns an object
            assert (await cache.ask("q")).text == "answer 1"
    assert [line["event"] for line in lines] == ["asynccache_stage_failed"]
