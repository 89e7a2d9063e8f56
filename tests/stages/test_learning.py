"""What a decision is taught: by misses, by audits, by callers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from asynccache import (
    BackendError,
    CachePipeline,
    Event,
    HitAudited,
    Source,
    StageFailed,
    UpstreamBusy,
)
from asynccache.backends import MemoryBackend
from asynccache.testing import FakeDecision, FakeEmbedder, FakeJudge, FakeUpstream
from asynccache.testing.decision import Lesson

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "freeze the card"}]


class Parts:
    """A pipeline, and what a test wants to look into."""

    def __init__(self, upstream: Any, **options: Any) -> None:
        self.decision = FakeDecision()
        self.judge = FakeJudge()
        self.events: list[Event] = []
        defaults: dict[str, Any] = {
            "backend": "memory://",
            "embedder": FakeEmbedder(),
            "decision": self.decision,
            "judge": self.judge,
            "hooks": [self.events.append],
        }
        self.cache = CachePipeline(upstream, **{**defaults, **options})

    @property
    def lessons(self) -> list[Lesson]:
        return self.decision.lessons


async def test_a_miss_with_a_candidate_teaches_whether_its_answer_was_the_same() -> None:
    parts = Parts(FakeUpstream("yes", "yes", "no"))
    async with parts.cache as cache:
        for question in ("freeze my card", "freeze the card", "freeze a card"):
            await cache.ask(question)
            await cache.flush()
    assert parts.lessons == [
        Lesson("freeze the card", "freeze my card", True, "miss"),
        Lesson("freeze a card", parts.lessons[1].stored_for, False, "miss"),
    ]
    assert parts.judge.pairs[0].asked == "freeze the card"


async def test_a_stream_teaches_when_it_has_ended_and_not_when_it_was_broken_off() -> None:
    parts = Parts(FakeUpstream("yes", "one two three", "yes"))
    async with parts.cache as cache:
        await cache.ask("freeze my card")
        async with cache.stream(messages=MESSAGES) as stream:
            async for _ in stream:
                break
        await cache.flush()
        assert parts.lessons == []
        async with cache.stream(messages=MESSAGES) as stream:
            assert [chunk.text async for chunk in stream]
        await cache.flush()
    assert [lesson.same for lesson in parts.lessons] == [True]


async def test_a_first_question_a_hit_and_a_shared_answer_teach_nothing() -> None:
    parts = Parts(FakeUpstream("yes", "yes"))
    async with parts.cache as cache:
        await cache.ask("freeze my card")
        await cache.ask("my card freeze")
        await cache.flush()
        assert parts.lessons == []
        await asyncio.gather(*(cache.ask("lock the account") for _ in range(10)))
        await cache.flush()
    assert len(parts.lessons) == 1


async def test_an_answer_that_is_none_teaches_nothing() -> None:
    cut = {"choices": [{"index": 0, "message": {"content": "yes"}, "finish_reason": "length"}]}
    empty = {"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "stop"}]}
    parts = Parts(FakeUpstream("yes", cut, empty))
    async with parts.cache as cache:
        for question in ("freeze my card", "freeze the card", "freeze a card"):
            await cache.ask(question)
        await cache.flush()
    assert parts.lessons == []


async def test_a_fresh_answer_that_calls_a_tool_is_another_answer() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "freeze", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    acting = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    parts = Parts(FakeUpstream("Which card?", acting))
    tools = [{"type": "function", "function": {"name": "freeze"}}]
    async with parts.cache as cache:
        await cache.ask("freeze my card", tools=tools)
        await cache.ask("freeze the card", tools=tools)
        await cache.flush()
    assert [lesson.same for lesson in parts.lessons] == [False]
    assert parts.judge.pairs == []


async def test_a_judge_that_cannot_tell_or_fails_teaches_nothing_and_harms_nobody() -> None:
    class Broken(FakeJudge):
        async def __call__(self, pair: Any, /) -> bool | None:
            raise RuntimeError("no mind")

    for judge, failures in ((FakeJudge(lambda *_: True), 0), (Broken(), 1)):
        parts = Parts(FakeUpstream("yes", "no"), judge=judge)
        async with parts.cache as cache:
            await cache.ask("freeze my card")
            assert (await cache.ask("freeze the card")).text == "no"
            await cache.flush()
        assert parts.lessons == []
        assert len([event for event in parts.events if isinstance(event, StageFailed)]) == failures


async def test_nobody_waits_for_the_judge() -> None:
    gate = anyio.Event()

    class Slow(FakeJudge):
        async def __call__(self, pair: Any, /) -> bool | None:
            await gate.wait()
            return await super().__call__(pair)

    parts = Parts(FakeUpstream("yes", "yes"), judge=Slow())
    async with parts.cache as cache:
        await cache.ask("freeze my card")
        async with asyncio.timeout(5):
            await cache.ask("freeze the card")
        assert parts.lessons == []
        gate.set()
        await cache.flush()
    assert len(parts.lessons) == 1


async def test_every_hit_is_audited_behind_its_caller_when_asked_for() -> None:
    parts = Parts(FakeUpstream("yes", "yes", "no"), audit=1.0)
    async with parts.cache as cache:
        await cache.ask("freeze my card")
        assert (await cache.ask("my card freeze")).source is Source.SEMANTIC
        await cache.flush()
        assert parts.lessons == [Lesson("my card freeze", "freeze my card", True, "audit")]
        assert (await cache.ask("card my freeze")).text == "yes"
        await cache.flush()
        # It was wrong: the question has an answer of its own now.
        assert parts.lessons[1:] == [Lesson("card my freeze", "freeze my card", False, "audit")]
        again = await cache.ask("card my freeze")
        assert (again.text, again.source) == ("no", Source.EXACT)
        assert cache.stats().audited == {"right": 1, "wrong": 1}
    assert [event.same for event in parts.events if isinstance(event, HitAudited)] == [True, False]


async def test_without_an_audit_the_upstream_is_not_asked_about_hits() -> None:
    upstream = FakeUpstream("yes")
    parts = Parts(upstream)
    async with parts.cache as cache:
        await cache.ask("freeze my card")
        for words in ("my card freeze", "card my freeze", "card freeze my"):
            await cache.ask(words)
        await cache.flush()
    assert len(upstream.calls) == 1


async def test_audits_keep_within_their_share_and_their_budget() -> None:
    async def upstream(body: Mapping[str, Any]) -> str:
        calls.append(body)
        return "yes"

    for options, least, most in (
        ({"audit": 0.2}, 20, 60),
        ({"audit": 1.0, "audits_per_minute": 5}, 5, 5),
    ):
        calls: list[Mapping[str, Any]] = []
        parts = Parts(upstream, **options)
        async with parts.cache as cache:
            await cache.ask("a b c")
            for number in range(100):
                await cache.ask("c b a" + " " * number)  # other white space is another spelling of one key
                await cache.ask(["a c b", "b a c", "b c a", "c a b"][number % 4])
                await cache.flush()
        audits = len(calls) - 1
        assert least <= audits <= most


async def test_an_audit_that_fails_is_reported_and_nobody_hears_of_it() -> None:
    parts = Parts(FakeUpstream("yes", UpstreamBusy("no")), audit=1.0)
    async with parts.cache as cache:
        await cache.ask("freeze my card")
        assert (await cache.ask("my card freeze")).text == "yes"
        await cache.flush()
    failed = [event for event in parts.events if isinstance(event, StageFailed)]
    assert [(event.stage, type(event.error)) for event in failed] == [("Audit", UpstreamBusy)]
    assert parts.lessons == []


async def test_a_request_that_may_not_ask_the_upstream_is_not_audited() -> None:
    upstream = FakeUpstream("yes")
    parts = Parts(upstream, audit=1.0)
    async with parts.cache as cache:
        await cache.ask("freeze my card")
        await cache.ask("my card freeze", control={"only_if_cached": True})
        await cache.flush()
    assert len(upstream.calls) == 1


async def test_closing_ends_an_audit_under_way() -> None:
    upstream = FakeUpstream("yes", "yes")
    parts = Parts(upstream, audit=1.0)
    async with parts.cache as cache:
        await cache.ask("freeze my card")
        upstream.hold()
        await cache.ask("my card freeze")
        await upstream.called(2)
    assert upstream.in_flight == 0


async def test_what_a_caller_says_of_a_semantic_hit_is_learnt() -> None:
    parts = Parts(FakeUpstream("yes"))
    async with parts.cache as cache:
        await cache.ask("freeze my card")
        hit = await cache.ask("my card freeze")
        assert await cache.accept(hit)
        assert await cache.reject(hit)
    kinds = [(lesson.same, lesson.kind) for lesson in parts.lessons]
    assert kinds == [(True, "accept"), (False, "reject")]


async def test_a_rejected_answer_to_the_very_question_is_forgotten() -> None:
    parts = Parts(FakeUpstream("one", "two", "three"))
    async with parts.cache as cache:
        first = await cache.ask("freeze my card")
        assert await cache.reject(first)
        assert (await cache.ask("freeze my card")).text == "two"
        exact = await cache.ask("freeze my card")
        assert not await cache.accept(exact)
        assert await cache.reject(exact)
        assert not await cache.reject(exact)
        assert (await cache.ask("freeze my card")).text == "three"
    assert parts.lessons == []


async def test_a_decision_that_does_not_learn_still_never_serves_what_was_rejected(tmp_path: Any) -> None:
    options: dict[str, Any] = {
        "backend": f"sqlite:///{tmp_path}/cache.db",
        "embedder": FakeEmbedder(),
        "decision": "threshold",
        "threshold": 0.99,
        "strict": True,
    }
    async with CachePipeline(FakeUpstream("one"), **options) as cache:
        await cache.ask("freeze my card")
        hit = await cache.ask("my card freeze")
        assert hit.source is Source.SEMANTIC
        await cache.flush()  # an alias has been made of it
        assert await cache.reject(hit)
    async with CachePipeline(FakeUpstream("two", "three"), **options) as cache:
        again = await cache.ask("my card freeze")
        assert (again.text, again.reasons) == ("two", ("rejected before",))
        other = await cache.ask("card my freeze")
        assert other.source is Source.SEMANTIC


async def test_a_store_that_cannot_forget_says_so() -> None:
    class Stubborn(MemoryBackend):
        async def delete(self, keys: Any) -> int:
            raise BackendError("no")

    parts = Parts(FakeUpstream(), backend=Stubborn())
    async with parts.cache as cache:
        outcome = await cache.ask("q")
        with pytest.raises(BackendError):
            await cache.reject(outcome)


async def test_a_learning_decision_of_ones_own_keeps_rejections_too(tmp_path: Any) -> None:
    options: dict[str, Any] = {
        "backend": f"sqlite:///{tmp_path}/cache.db",
        "embedder": FakeEmbedder(),
        "judge": FakeJudge(),
        "strict": True,
    }
    decision = FakeDecision()
    async with CachePipeline(FakeUpstream("one"), decision=decision, **options) as cache:
        await cache.ask("freeze my card")
        hit = await cache.ask("my card freeze")
        assert hit.source is Source.SEMANTIC
        assert await cache.reject(hit)
    assert [(lesson.same, lesson.kind) for lesson in decision.lessons] == [(False, "reject")]
    async with CachePipeline(FakeUpstream("two"), decision=FakeDecision(), **options) as cache:
        again = await cache.ask("my card freeze")
        assert (again.text, again.reasons) == ("two", ("rejected before",))
