"""Questions in other words, asked while the answer is still being made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import pytest

from asynccache import CachePipeline, Outcome, Source, UpstreamBusy
from asynccache.backends import MemoryBackend
from asynccache.index import BackendIndex
from asynccache.stages import MissHandler, Normalize, SemanticLookup, SingleFlight, Write
from asynccache.testing import FakeDecision, FakeEmbedder, FakeJudge, FakeUpstream, cancel_at_every_step
from asynccache.upstreams import as_upstream

pytestmark = pytest.mark.anyio


def asking(upstream: Any, **options: Any) -> CachePipeline:
    defaults: dict[str, Any] = {
        "backend": "memory://",
        "embedder": FakeEmbedder(),
        "decision": FakeDecision(),
        "judge": FakeJudge(),
        "strict": True,
    }
    return CachePipeline(upstream, **{**defaults, **options})


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)  # the index searches in a thread
    for _ in range(50):
        await asyncio.sleep(0)


async def together(upstream: FakeUpstream, cache: CachePipeline, *questions: str) -> list[Outcome]:
    """All in flight at once, the first ahead of the others."""
    upstream.hold()
    first = asyncio.create_task(cache.ask(questions[0]))
    await upstream.called(len(upstream.calls) + 1)
    others = [asyncio.create_task(cache.ask(question)) for question in questions[1:]]
    await settle()
    upstream.release()
    return list(await asyncio.gather(first, *others))


async def test_a_question_in_other_words_waits_for_the_answer_that_is_being_made() -> None:
    upstream = FakeUpstream("the answer")
    async with asking(upstream) as cache:
        outcomes = await together(upstream, cache, "freeze my card", "my card freeze", "card my freeze")
        assert [each.text for each in outcomes] == ["the answer"] * 3
        assert [each.source for each in outcomes] == [Source.UPSTREAM, Source.SHARED, Source.SHARED]
        assert not any(each.hit for each in outcomes)
        assert outcomes[1].similarity == pytest.approx(1.0)
    assert len(upstream.calls) == 1


async def test_a_question_the_decision_refuses_asks_for_itself() -> None:
    upstream = FakeUpstream()
    async with asking(upstream) as cache:
        one, other = await together(upstream, cache, "freeze my card", "freeze my account")
    assert (one.text, other.text) == ("answer 1", "answer 2")


async def test_streams_and_whole_answers_are_twins_alike() -> None:
    upstream = FakeUpstream("one two three")
    async with asking(upstream) as cache:
        upstream.hold()

        async def streamed(question: str) -> tuple[str, Source]:
            async with cache.stream(messages=[{"role": "user", "content": question}]) as stream:
                return "".join([chunk.text async for chunk in stream]), stream.source

        first = asyncio.create_task(streamed("a b"))
        await upstream.called()
        second, third = asyncio.create_task(streamed("b a")), asyncio.create_task(cache.ask("b  a"))
        await settle()
        upstream.release()
        assert await first == ("one two three", Source.UPSTREAM)
        assert await second == ("one two three", Source.SHARED)
        assert (await third).text == "one two three"
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("differ", ["scope", "system", "tags", "ttl", "version"])
async def test_what_must_be_equal_for_a_hit_must_be_equal_in_flight(differ: str) -> None:
    differences: dict[str, dict[str, Any]] = {
        "scope": {"scope": {"tenant": "b"}},
        "system": {"system": "Be brief."},
        "tags": {"control": {"tags": ["x"]}},
        "ttl": {"control": {"ttl": 5}},
        "version": {"control": {"version": "2"}},
    }
    other = differences[differ]
    upstream = FakeUpstream()
    async with asking(upstream) as cache:
        upstream.hold()
        first = asyncio.create_task(cache.ask("a b"))
        await upstream.called()
        second = asyncio.create_task(cache.ask("b a", **other))
        await settle()
        upstream.release()
        assert ((await first).text, (await second).text) == ("answer 1", "answer 2")


async def test_cancelling_the_first_harms_no_twin() -> None:
    upstream = FakeUpstream("the answer")
    async with asking(upstream) as cache:
        upstream.hold()
        first = asyncio.create_task(cache.ask("a b"))
        await upstream.called()
        twin = asyncio.create_task(cache.ask("b a"))
        await settle()
        first.cancel()
        await settle()
        assert upstream.in_flight == 1
        upstream.release()
        assert (await twin).text == "the answer"
    assert len(upstream.calls) == 1


async def test_cancelling_every_twin_harms_not_the_first_and_all_gone_closes_the_call() -> None:
    upstream = FakeUpstream("the answer", "another")
    async with asking(upstream) as cache:
        for gone in (False, True):
            upstream.hold()
            words = f"a b {gone}"
            first = asyncio.create_task(cache.ask(words))
            await upstream.called(len(upstream.calls) + 1)
            twin = asyncio.create_task(cache.ask(f"b a {gone}"))
            await settle()
            twin.cancel()
            if gone:
                first.cancel()
            await settle()
            assert upstream.in_flight == (0 if gone else 1)
            upstream.release()
            if not gone:
                assert (await first).text == "the answer"


async def test_a_twin_cancelled_at_any_step_leaves_all_in_order() -> None:
    async def scenario() -> None:
        upstream = FakeUpstream()
        async with asking(upstream) as cache:
            await asyncio.gather(cache.ask("a b"), cache.ask("b a"))

    await cancel_at_every_step(scenario)


async def test_an_error_is_the_first_ones_and_twins_ask_for_themselves() -> None:
    upstream = FakeUpstream(UpstreamBusy("no"), "second", "third")
    async with asking(upstream) as cache:
        upstream.hold()
        first = asyncio.create_task(cache.ask("a b"))
        await upstream.called()
        twin = asyncio.create_task(cache.ask("b a"))
        await settle()
        upstream.release()
        with pytest.raises(UpstreamBusy):
            await first
        assert (await twin).text == "second"
    assert len(upstream.calls) == 2


async def test_an_answer_that_may_not_be_stored_is_no_twins_and_all_go_on_at_once() -> None:
    cut: dict[str, Any] = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "cut"}}]}
    cut["choices"][0]["finish_reason"] = "length"
    arrived = 0
    everybody = anyio.Event()

    async def upstream(body: Mapping[str, Any]) -> Any:
        nonlocal arrived
        arrived += 1
        if arrived == 1:
            await first_goes.wait()
            return cut
        if arrived == 4:
            everybody.set()
        await everybody.wait()
        return f"answer to {body['messages'][-1]['content']}"

    class Counting(FakeDecision):
        rulings = 0

        async def rule(self, exchange: Any, candidates: Any, /) -> Any:
            self.rulings += 1
            return await super().rule(exchange, candidates)

    first_goes, decision = anyio.Event(), Counting()
    async with asking(upstream, decision=decision) as cache:
        first = asyncio.create_task(cache.ask("a b c"))
        await settle()
        twins = [asyncio.create_task(cache.ask(words)) for words in ("b a c", "c b a", "a c b")]
        for _ in range(20):
            await settle()
            if decision.rulings == 3:
                break
        assert arrived == 1
        first_goes.set()
        assert (await first).text == "cut"
        async with asyncio.timeout(5):  # one after the other would never end
            texts = [(await twin).text for twin in twins]
    assert texts == [f"answer to {words}" for words in ("b a c", "c b a", "a c b")]


async def test_what_calls_a_tool_is_no_twins() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    paying = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    upstream = FakeUpstream(paying, "I cannot")
    tool = {"type": "function", "function": {"name": "pay"}}
    async with asking(upstream) as cache:
        upstream.hold()
        first = asyncio.create_task(cache.ask("a b", tools=[tool]))
        await upstream.called()
        twin = asyncio.create_task(cache.ask("b a", tools=[tool]))
        await settle()
        upstream.release()
        assert (await first).json()["choices"][0]["message"]["tool_calls"]
        assert (await twin).text == "I cannot"


async def test_an_invalidation_parts_the_twins() -> None:
    upstream = FakeUpstream()
    async with asking(upstream) as cache:
        upstream.hold()
        first = asyncio.create_task(cache.ask("a b"))
        await upstream.called()
        twin = asyncio.create_task(cache.ask("b a"))
        await settle()
        await cache.invalidate(tags=["x"])
        upstream.release()
        assert ((await first).text, (await twin).text) == ("answer 1", "answer 2")


async def test_an_upstream_that_asks_a_near_question_does_not_wait_for_itself() -> None:
    async def agent(body: Mapping[str, Any]) -> str:
        question = body["messages"][-1]["content"]
        if question == "a b":
            return "asked: " + (await cache.ask("b a")).text
        return "the inner answer"

    async with asking(agent) as cache:
        async with asyncio.timeout(5):
            assert (await cache.ask("a b")).text == "asked: the inner answer"


async def test_a_question_that_looked_before_the_landing_finds_it_after() -> None:
    """It has missed in the store, and the flight lands while it is still on its way."""
    late = anyio.Event()

    class Late(FakeDecision):
        async def rule(self, exchange: Any, candidates: Any, /) -> Any:
            if exchange.request.question == "b a":
                await late.wait()
            return await super().rule(exchange, candidates)

    upstream = FakeUpstream("the answer")
    async with asking(upstream, decision=Late()) as cache:
        upstream.hold()
        first = asyncio.create_task(cache.ask("a b"))
        await upstream.called()
        twin = asyncio.create_task(cache.ask("b a"))
        await settle()
        upstream.release()
        await first
        late.set()
        assert (await twin).text == "the answer"
    assert len(upstream.calls) == 1


@pytest.fixture
async def cards() -> AsyncIterator[tuple[FakeUpstream, CachePipeline]]:
    upstream = FakeUpstream()
    async with asking(upstream, backend="memory://") as cache:
        yield upstream, cache


async def test_a_rejected_twin_is_served_no_more(cards: tuple[FakeUpstream, CachePipeline]) -> None:
    upstream, cache = cards
    _, twin = await together(upstream, cache, "a b", "b a")
    assert twin.source is Source.SHARED
    assert await cache.reject(twin)


async def test_two_upstream_calls_that_ask_each_others_near_questions_both_end() -> None:
    both = anyio.Event()
    arrived = 0

    async def agent(body: Mapping[str, Any]) -> str:
        nonlocal arrived
        question = body["messages"][-1]["content"]
        if question in ("a b", "c d"):
            arrived += 1
            if arrived == 2:
                both.set()
            await both.wait()
            return "asked: " + (await cache.ask({"a b": "d c", "c d": "b a"}[question])).text
        return f"made for {question}"

    async with asking(agent) as cache:
        async with asyncio.timeout(5):
            one, other = await asyncio.gather(cache.ask("a b"), cache.ask("c d"))
    assert min(one.text, other.text).startswith("asked: ")


async def test_two_upstream_calls_that_ask_each_others_very_questions_both_end() -> None:
    both = anyio.Event()
    arrived = 0

    async def agent(body: Mapping[str, Any]) -> str:
        nonlocal arrived
        question = body["messages"][-1]["content"]
        arrived += 1
        if arrived == 2:
            both.set()
        await both.wait()
        if arrived > 3:
            return "enough"
        return "asked: " + (await cache.ask({"a b": "c d", "c d": "a b"}[question])).text

    async with asking(agent, decision=None) as cache:
        async with asyncio.timeout(5):
            await asyncio.gather(cache.ask("a b"), cache.ask("c d"))


async def test_an_answer_that_does_not_come_holds_a_near_question_only_so_long() -> None:
    async def upstream(body: Mapping[str, Any]) -> str:
        if body["messages"][-1]["content"] == "a b":
            await asyncio.sleep(60)
        return "mine"

    memory = MemoryBackend()
    index, embedder = BackendIndex(memory), FakeEmbedder()
    asked = MissHandler(as_upstream(upstream))
    stages: list[Any] = [
        Normalize(),
        SemanticLookup(memory, index, embedder),
        SingleFlight(asked, Write(memory, index=index), near=FakeDecision(), near_patience=0.1),
    ]
    async with CachePipeline(stages=stages) as cache:
        first = asyncio.create_task(cache.ask("a b"))
        await settle()
        async with asyncio.timeout(5):
            assert (await cache.ask("b a")).text == "mine"
        first.cancel()


async def test_a_failing_decision_costs_near_questions_and_not_the_very_ones() -> None:
    class Failing(FakeDecision):
        def nearest(self, vector: bytes, others: Any, k: int) -> Any:
            raise ValueError("no weights")

    upstream = FakeUpstream("the answer", "another")
    async with asking(upstream, decision=Failing(), strict=False, hooks=[lambda _: None]) as cache:
        upstream.hold()
        first = asyncio.create_task(cache.ask("a b"))
        await upstream.called()
        others = [asyncio.create_task(cache.ask("b a")) for _ in range(5)]
        await settle()
        upstream.release()
        assert (await first).text == "the answer"
        assert [(await other).text for other in others] == ["another"] * 5
        assert cache.stats().stored == 2
    assert len(upstream.calls) == 2


async def test_those_who_waited_for_an_error_ask_once_for_all() -> None:
    upstream = FakeUpstream(UpstreamBusy("no"), *["the answer"] * 20)
    words = ["b a c", "c b a", "a c b", "c a b", "b c a"]
    async with asking(upstream) as cache:
        upstream.hold()
        first = asyncio.create_task(cache.ask("a b c"))
        await upstream.called()
        twins = [asyncio.create_task(cache.ask(each)) for each in words]
        await settle()
        upstream.release()
        with pytest.raises(UpstreamBusy):
            await first
        assert {(await twin).text for twin in twins} == {"the answer"}
    assert len(upstream.calls) == 2


async def test_an_answer_shared_for_its_very_question_says_nothing_of_a_candidate() -> None:
    upstream = FakeUpstream("one", "two")
    async with asking(upstream, decision=FakeDecision(lambda *_: False)) as cache:
        await cache.ask("freeze my card")
        outcomes = await asyncio.gather(*(cache.ask("freeze my account") for _ in range(3)))
        shared = next(each for each in outcomes if each.source is Source.SHARED)
        assert shared.judgement is None
        assert shared.similarity is None
        assert not await cache.accept(shared)
        assert await cache.reject(shared)
        assert (await cache.ask("freeze my account")).source is Source.UPSTREAM


@pytest.mark.parametrize("decision", ["threshold", "fake"])
async def test_a_request_may_do_without_near_answers_whatever_decides(decision: str) -> None:
    upstream = FakeUpstream()
    given: Any = FakeDecision() if decision == "fake" else "threshold"
    async with asking(upstream, decision=given, threshold=0.5) as cache:
        await cache.ask("a b")
        strict = await cache.ask("b a", control={"max_error": 0})
        assert strict.source is Source.UPSTREAM


async def test_a_decision_that_gives_too_few_reasons_still_leaves_none_unsaid() -> None:
    class Curt(FakeDecision):
        async def rule(self, exchange: Any, candidates: Any, /) -> Any:
            return (await super().rule(exchange, candidates))._replace(reasons=())

    async with asking(FakeUpstream(), decision=Curt(lambda *_: False)) as cache:
        await cache.ask("a b")
        refused = await cache.ask("b a")
        assert refused.reasons == ("refused by the decision",)
        assert cache.stats().rejected == {"refused by the decision": 1}
