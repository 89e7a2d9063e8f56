"""One upstream call for everybody who asks the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any

import anyio
import pytest

from asynccache import (
    CachePipeline,
    InvalidRequest,
    Outcome,
    PipelineClosed,
    Source,
    Stage,
    UpstreamBusy,
    UpstreamError,
    UpstreamStreamError,
)
from asynccache.backends import MemoryBackend
from asynccache.stages import ExactLookup, MissHandler, Normalize, SingleFlight, Validate, Write
from asynccache.testing import FakeUpstream, cancel_at_every_step

pytestmark = pytest.mark.anyio

QUESTION = [{"role": "user", "content": "q"}]


def asking(upstream: FakeUpstream, **options: Any) -> CachePipeline:
    return CachePipeline(upstream=upstream, backend="memory://", decision=None, strict=True, **options)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def gather(*work: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*work, return_exceptions=True)


async def stream_text(cache: CachePipeline, question: str = "q") -> tuple[str, Source]:
    messages = [{"role": "user", "content": question}]
    async with cache.stream(messages=messages) as stream:
        return "".join([chunk.text async for chunk in stream]), stream.source


async def test_200_identical_requests_make_one_upstream_call() -> None:
    upstream = FakeUpstream("the answer")
    upstream.hold()
    async with asking(upstream) as cache:
        waiting = asyncio.gather(*(cache.ask("q") for _ in range(200)))
        await settle()
        upstream.release()
        outcomes: list[Outcome] = await waiting
    assert len(upstream.calls) == 1
    assert {outcome.text for outcome in outcomes} == {"the answer"}
    assert [outcome.source for outcome in outcomes].count(Source.UPSTREAM) == 1
    assert [outcome.source for outcome in outcomes].count(Source.SHARED) == 199
    assert not any(outcome.hit for outcome in outcomes)


async def test_200_identical_streams_make_one_upstream_call_and_all_get_the_first_byte() -> None:
    upstream = FakeUpstream("one two three")
    upstream.hold()
    async with asking(upstream) as cache:
        waiting = asyncio.gather(*(stream_text(cache) for _ in range(200)))
        await settle()
        upstream.release()
        read = await waiting
    assert len(upstream.calls) == 1
    assert {text for text, _ in read} == {"one two three"}


async def test_a_late_follower_of_a_stream_gets_it_from_its_first_byte() -> None:
    upstream = FakeUpstream("one two three four")
    async with asking(upstream) as cache, cache.stream(messages=QUESTION) as leading:
        read = [(await anext(leading)).text, (await anext(leading)).text]
        upstream.hold()
        following = asyncio.create_task(stream_text(cache))
        await settle()
        upstream.release()
        read += [chunk.text async for chunk in leading]
        text, source = await following
    assert "".join(read) == text == "one two three four"
    assert source is Source.SHARED
    assert len(upstream.calls) == 1


async def test_a_whole_answer_is_shared_with_a_stream_and_a_stream_with_a_whole_answer() -> None:
    upstream = FakeUpstream("first answer", "second answer")
    async with asking(upstream) as cache:
        upstream.hold()
        whole = asyncio.create_task(cache.ask("a"))
        await settle()
        streamed = asyncio.create_task(stream_text(cache, "a"))
        await settle()
        upstream.release()
        assert ((await whole).text, (await streamed)[0]) == ("first answer", "first answer")
        upstream.hold()
        streamed = asyncio.create_task(stream_text(cache, "b"))
        await settle()
        whole = asyncio.create_task(cache.ask("b"))
        await settle()
        upstream.release()
        assert ((await whole).text, (await streamed)[0]) == ("second answer", "second answer")
        assert (await whole).source is Source.SHARED
    assert len(upstream.calls) == 2


async def test_cancelling_the_first_caller_harms_no_other() -> None:
    upstream = FakeUpstream("the answer")
    upstream.hold()
    async with asking(upstream) as cache:
        tasks = [asyncio.create_task(cache.ask("q")) for _ in range(3)]
        await settle()
        tasks[0].cancel()
        await settle()
        upstream.release()
        first, *others = await gather(*tasks)
    assert isinstance(first, asyncio.CancelledError)
    assert [other.text for other in others] == ["the answer"] * 2
    assert len(upstream.calls) == 1


async def test_cancelling_the_first_reader_of_a_stream_harms_no_other() -> None:
    upstream = FakeUpstream("one two three")
    async with asking(upstream) as cache:
        async with cache.stream(messages=QUESTION) as leading:
            await anext(leading)
            upstream.hold()
            follower = asyncio.create_task(stream_text(cache))
            await settle()
        upstream.release()
        assert (await follower)[0] == "one two three"
        assert (await cache.ask("q")).hit
    assert len(upstream.calls) == 1


async def test_every_caller_gone_closes_the_upstream_call_and_stores_nothing() -> None:
    upstream = FakeUpstream("first", "second")
    upstream.hold()
    async with asking(upstream) as cache:
        tasks = [asyncio.create_task(cache.ask("q")) for _ in range(3)]
        await settle()
        assert upstream.in_flight == 1
        for task in tasks:
            task.cancel()
        await gather(*tasks)
        await settle()
        assert upstream.in_flight == 0
        upstream.release()
        outcome = await cache.ask("q")
    assert (outcome.text, outcome.source) == ("second", Source.UPSTREAM)


async def test_every_reader_of_a_stream_gone_closes_the_upstream_stream() -> None:
    upstream = FakeUpstream("one two three")
    async with asking(upstream) as cache:
        async with cache.stream(messages=QUESTION) as stream:
            await anext(stream)
            upstream.hold()
        await settle()
        assert upstream.streams_closed == 1
        assert cache.stats().stored == 0


async def test_an_abandoned_call_is_finished_and_stored_when_asked_for() -> None:
    upstream = FakeUpstream("the answer")
    upstream.hold()
    async with asking(upstream, abandoned="finish") as cache:
        task = asyncio.create_task(cache.ask("q"))
        await settle()
        task.cancel()
        await gather(task)
        upstream.release()
        await settle()
        assert (await cache.ask("q")).source is Source.EXACT
    assert len(upstream.calls) == 1


async def test_an_upstream_error_reaches_everyone_once_and_is_not_cached() -> None:
    error = UpstreamBusy("come back later", status=503)
    upstream = FakeUpstream(error, "the answer")
    upstream.hold()
    async with asking(upstream) as cache:
        waiting = gather(*(cache.ask("q") for _ in range(50)))
        await settle()
        upstream.release()
        results = await waiting
        assert results[0] is error
        assert {(type(result), str(result), result.status) for result in results} == {
            (UpstreamBusy, "come back later", 503)
        }
        assert len(upstream.calls) == 1
        assert (await cache.ask("q")).text == "the answer"


async def test_a_callables_own_exception_reaches_everyone_unchanged() -> None:
    async def broken(body: Mapping[str, Any]) -> str:
        await asyncio.sleep(0)
        raise LookupError(body["messages"][0]["role"])

    async with CachePipeline(upstream=broken, backend="memory://", decision=None, strict=True) as cache:
        results = await gather(cache.ask("q"), cache.ask("q"))
    assert [type(result) for result in results] == [LookupError, LookupError]
    assert [result.args for result in results] == [("user",), ("user",)]
    assert [result.__cause__ for result in results] == [None, None]


async def test_an_error_shared_by_many_carries_nothing_of_one_caller_to_another() -> None:
    upstream = FakeUpstream(UpstreamBusy("come back later", status=503))
    upstream.hold()

    async def ask_while_handling(secret: str) -> BaseException | None:
        try:
            raise KeyError(secret)
        except KeyError:
            try:
                await cache.ask("q")
            except UpstreamBusy as error:
                return error
        return None

    async with asking(upstream) as cache:
        waiting = asyncio.gather(*(ask_while_handling(f"secret {number}") for number in range(3)))
        await settle()
        upstream.release()
        errors = await waiting
    contexts = [str(error.__context__) for error in errors if error is not None]
    assert contexts == ["'secret 0'", "'secret 1'", "'secret 2'"]


async def test_an_upstream_that_asks_its_own_question_does_not_wait_for_itself() -> None:
    calls = 0

    async def agent(_: Mapping[str, Any]) -> str:
        nonlocal calls
        calls += 1
        return "done" if calls > 1 else f"asked myself: {(await cache.ask('q')).text}"

    async with CachePipeline(agent, backend="memory://", decision=None, strict=True) as cache:
        with anyio.fail_after(5):
            assert (await cache.ask("q")).text == "asked myself: done"


async def test_streams_that_ask_for_other_events_do_not_share() -> None:
    upstream = FakeUpstream("one", "two")
    upstream.hold()
    usage = {"include_usage": True}

    async def frames(**options: Any) -> list[Any]:
        async with cache.stream(messages=QUESTION, **options) as stream:
            return [chunk.json() async for chunk in stream]

    async with asking(upstream) as cache:
        waiting = asyncio.gather(frames(), frames(stream_options=usage), frames(stream_options=usage))
        await settle()
        assert upstream.in_flight == 2
        upstream.release()
        plain, counted, shared = await waiting
    assert [bool(read[-1]["choices"]) for read in (plain, counted, shared)] == [True, False, False]


async def test_one_who_waits_for_a_whole_answer_is_not_held_by_a_stuck_reader_of_an_endless_one() -> None:
    upstream = Endless(1000)
    async with windowed(upstream, 10_000) as cache, cache.stream(messages=QUESTION) as stuck:
        await anext(stuck)
        waiting = asyncio.create_task(cache.chat(messages=QUESTION))
        with anyio.fail_after(5), pytest.raises(AssertionError, match="this upstream streams"):
            await waiting
        upstream.stop = True


async def test_stages_may_be_shared_by_two_pipelines() -> None:
    memory, upstream = MemoryBackend(), FakeUpstream()
    stages: list[Stage] = [Normalize(), SingleFlight(MissHandler(upstream), Write(memory))]
    async with CachePipeline(stages=stages, strict=True) as outer:
        async with CachePipeline(stages=stages, strict=True) as inner:
            await inner.ask("a")
        await outer.ask("b")
    assert len(upstream.calls) == 2


async def test_an_upstream_that_cancels_itself_is_an_error_and_harms_nothing_else() -> None:
    calls = 0

    async def confused(_: Mapping[str, Any]) -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls == 1:
            raise asyncio.CancelledError
        return "fine"

    async with CachePipeline(upstream=confused, backend="memory://", decision=None, strict=True) as cache:
        results = await gather(cache.ask("q"), cache.ask("q"))
        assert all(isinstance(result, UpstreamError) for result in results)
        assert (await cache.ask("q")).text == "fine"


async def test_followers_of_an_answer_that_may_not_be_stored_go_on_at_once() -> None:
    cut = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "length"}]
    }
    upstream = FakeUpstream(*[cut] * 100)
    upstream.hold()
    async with asking(upstream) as cache:
        waiting = asyncio.gather(*(cache.ask("q") for _ in range(10)))
        await settle()
        assert len(upstream.calls) == 1
        upstream.release()
        upstream_again = upstream.hold
        await upstream.called(1)
        upstream_again()
        await settle()
        # All nine followers are asking now, none of them behind another.
        assert len(upstream.calls) == 10
        assert upstream.in_flight == 9
        # And so does whoever comes next, for a while.
        more = asyncio.gather(cache.ask("q"), cache.ask("q"))
        await settle()
        assert upstream.in_flight == 11
        upstream.release()
        outcomes = [*await waiting, *await more]
    assert all(outcome.source is Source.UPSTREAM for outcome in outcomes)
    assert outcomes[0].reasons == ("not stored: finish_reason is 'length'",)


async def test_a_stream_that_breaks_gives_every_reader_its_beginning_and_the_error() -> None:
    upstream = FakeUpstream(
        [{"choices": [{"index": 0, "delta": {"content": "be"}}]}, UpstreamStreamError("it died", status=500)],
        "whole",
    )
    upstream.hold()

    async def read(cache: CachePipeline) -> tuple[str, str]:
        got = ""
        try:
            async with cache.stream(messages=QUESTION) as stream:
                async for chunk in stream:
                    got += chunk.text
        except UpstreamStreamError as error:
            return got, str(error)
        return got, ""

    async with asking(upstream) as cache:
        waiting = asyncio.gather(read(cache), read(cache), read(cache))
        await settle()
        upstream.release()
        assert list(await waiting) == [("be", "it died")] * 3
        assert len(upstream.calls) == 1
        assert (await cache.ask("q")).text == "whole"


async def test_no_cache_and_no_store_fly_alone() -> None:
    upstream = FakeUpstream()
    upstream.hold()
    async with asking(upstream) as cache:
        waiting = asyncio.gather(
            cache.ask("q"),
            cache.ask("q", control={"no_cache": True}),
            cache.ask("q", control={"no_store": True}),
        )
        await settle()
        assert upstream.in_flight == 3
        upstream.release()
        await waiting


async def test_requests_that_would_be_stored_differently_do_not_share() -> None:
    upstream = FakeUpstream()
    upstream.hold()
    async with asking(upstream) as cache:
        waiting = asyncio.gather(
            cache.ask("q"), cache.ask("q", control={"tags": ["a"]}), cache.ask("q", control={"ttl": 5})
        )
        await settle()
        assert upstream.in_flight == 3
        upstream.release()
        await waiting


async def test_other_scopes_never_share_a_flight() -> None:
    upstream = FakeUpstream()
    upstream.hold()
    async with asking(upstream) as cache:
        waiting = asyncio.gather(*(cache.ask("q", scope={"tenant": name}) for name in ("a", "b", "")))
        await settle()
        assert upstream.in_flight == 3
        upstream.release()
        assert len({outcome.text for outcome in await waiting}) == 3


async def test_a_request_that_overlapped_a_flight_shares_it_though_its_lookup_came_back_late() -> None:
    upstream = FakeUpstream()
    backend = SlowOnce()
    async with CachePipeline(upstream=upstream, backend=backend, decision=None, strict=True) as cache:
        late = asyncio.create_task(cache.ask("q"))
        await settle()
        first = await cache.ask("q")
        backend.gate.set()
        assert (await late).text == first.text
    assert len(upstream.calls) == 1


class SlowOnce(MemoryBackend):
    """Its first lookup comes back, empty-handed, when the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = anyio.Event()
        self._first = True

    async def get(self, key: bytes) -> Any:
        if self._first:
            self._first = False
            await self.gate.wait()
            return None
        return await super().get(key)


async def test_closing_the_pipeline_waits_for_flights_and_then_ends_them_with_a_sentence() -> None:
    upstream = FakeUpstream("never")
    upstream.hold()
    memory = MemoryBackend()
    flight = SingleFlight(MissHandler(upstream), Write(memory), drain=0.05)
    cache = CachePipeline(stages=[Normalize(), ExactLookup(memory), Validate(), flight], strict=True)
    async with cache:
        waiting = asyncio.create_task(cache.ask("q"))
        await settle()
    with pytest.raises(PipelineClosed, match="closed while the upstream"):
        await waiting
    assert upstream.in_flight == 0


async def test_a_pipeline_may_be_closed_by_another_task_than_opened_it() -> None:
    upstream = FakeUpstream()
    cache = asking(upstream)
    await asyncio.create_task(cache.__aenter__())
    assert (await cache.ask("q")).text == "answer 1"
    await asyncio.create_task(cache.__aexit__(None, None, None))


async def test_cancelling_a_caller_at_every_step_leaves_the_next_request_whole() -> None:
    upstream = FakeUpstream()
    asked = 0
    async with asking(upstream) as cache:

        async def ask_and_stream() -> None:
            nonlocal asked
            asked += 1
            await cache.ask(f"q{asked}")
            await stream_text(cache, f"s{asked}")

        async def check() -> None:
            await settle()
            assert upstream.in_flight == 0
            assert (await cache.ask(f"q{asked}")).text.startswith("answer")
            assert (await stream_text(cache, f"s{asked}"))[0].startswith("answer")

        assert await cancel_at_every_step(ask_and_stream, check) > 2


class Endless:
    """An upstream whose stream goes on until told to stop; counts what was taken from it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent = 0
        self.stop = False

    async def fetch(self, request: Any) -> Any:
        raise AssertionError("this upstream streams")

    async def stream(self, request: Any) -> Any:
        from asynccache import Stream

        return Stream(self._frames(), record_limit=100)

    async def _frames(self) -> AsyncIterator[bytes]:
        import orjson

        while not self.stop:
            self.sent += 1
            yield orjson.dumps({"choices": [{"index": 0, "delta": {"content": "x" * self.size}}]})
            await asyncio.sleep(0)
        yield orjson.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})


def windowed(upstream: Any, window: int) -> CachePipeline:
    memory = MemoryBackend()
    flight = SingleFlight(MissHandler(upstream), Write(memory), window=window)
    return CachePipeline(stages=[Normalize(), ExactLookup(memory), Validate(), flight], strict=True)


async def test_an_upstream_faster_than_its_only_reader_is_held_back() -> None:
    upstream = Endless(1000)
    async with windowed(upstream, 10_000) as cache, cache.stream(messages=QUESTION) as stream:
        await anext(stream)
        for _ in range(200):
            await asyncio.sleep(0)
        assert upstream.sent < 20
        for _ in range(50):
            await anext(stream)
        assert upstream.sent < 70
        upstream.stop = True
        async for _ in stream:
            pass


async def test_a_stuck_reader_neither_stops_the_others_nor_fills_the_memory() -> None:
    upstream = Endless(1000)
    async with (
        windowed(upstream, 10_000) as cache,
        cache.stream(messages=QUESTION) as stuck,
        cache.stream(messages=QUESTION) as quick,
    ):
        await anext(stuck)
        for _ in range(100):
            await anext(quick)
        with pytest.raises(UpstreamStreamError, match="behind the others"):
            await anext(stuck)
        upstream.stop = True
        async for _ in quick:
            pass


async def test_nobody_joins_a_stream_whose_beginning_was_let_go() -> None:
    upstream = Endless(1000)
    async with windowed(upstream, 10_000) as cache, cache.stream(messages=QUESTION) as first:
        for _ in range(40):
            await anext(first)
        async with cache.stream(messages=QUESTION) as second:
            assert second.source is Source.UPSTREAM
            await anext(second)
            upstream.stop = True


async def test_unknown_abandoned_is_refused_at_the_door() -> None:
    with pytest.raises(ValueError, match="unknown abandoned='keep'; known: 'close', 'finish'"):
        SingleFlight(abandoned="keep")  # type: ignore[arg-type]  # what a caller could get wrong


async def test_chat_refuses_stream_true() -> None:
    async with asking(FakeUpstream()) as cache:
        with pytest.raises(InvalidRequest, match=r"stream: .*cache\.stream"):
            await cache.chat(messages=QUESTION, stream=True)
