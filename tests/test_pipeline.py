"""A request's way through the pipeline, as its caller sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import orjson
import pytest

from asynccache import (
    BackendUnavailable,
    CachePipeline,
    ConfigurationError,
    Control,
    Entry,
    Exchange,
    InvalidRequest,
    NotCached,
    PipelineClosed,
    Request,
    Response,
    Saved,
    Scope,
    Source,
    Stage,
    StageError,
    UpstreamStreamError,
)
from asynccache._events import EntryRefused, EntryStored, Event, RequestFailed, RequestServed, StageFailed
from asynccache._registry import default_backend_url
from asynccache.backends import MemoryBackend
from asynccache.stages import ExactLookup, MissHandler, Normalize, Validate, Write
from asynccache.testing import FakeClock, FakeUpstream
from asynccache.upstreams import CallableUpstream

pytestmark = pytest.mark.anyio

QUESTION = [{"role": "user", "content": "q"}]


async def echo(body: Mapping[str, Any]) -> str:
    await asyncio.sleep(0)
    return f"you said {body['messages'][-1]['content']}"


async def test_the_second_identical_question_is_a_hit_with_the_same_answer() -> None:
    async with CachePipeline(upstream=echo, backend="memory://", strict=True) as cache:
        first, second = await cache.ask("hello"), await cache.ask("hello")
    assert (first.text, first.source, first.hit) == ("you said hello", Source.UPSTREAM, False)
    assert (first.similarity, first.age, first.saved) == (None, None, Saved())
    assert (second.text, second.source, second.hit) == ("you said hello", Source.EXACT, True)
    assert second.similarity == 1.0
    assert second.age is not None
    assert 0 <= second.age < 60
    assert second.body == first.body
    assert second.json()["choices"][0]["finish_reason"] == "stop"


async def test_an_answer_survives_a_restart_of_the_pipeline(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    async with CachePipeline(upstream=echo, backend=url, strict=True) as cache:
        await cache.ask("hello", system="be kind", temperature=0)
    silent = FakeUpstream()
    async with CachePipeline(upstream=silent, backend=url, strict=True) as cache:
        again = await cache.ask("hello", system="be kind", temperature=0.0)
    assert (again.text, again.hit, silent.calls) == ("you said hello", True, [])


async def test_the_upstream_gets_the_body_as_sent() -> None:
    upstream = FakeUpstream()
    body = {"messages": [{"content": "  Hé \r\n", "role": "user"}], "stop": "x", "top_p": 1.0, "user": "u"}
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        await cache.fetch(body)
    assert orjson.dumps(upstream.calls[0]) == orjson.dumps(body)


async def test_a_stream_is_recorded_and_serves_both_modes() -> None:
    upstream = FakeUpstream("one two three")
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        async with cache.stream(messages=QUESTION) as stream:
            fresh = [chunk.body async for chunk in stream]
            assert (stream.source, stream.hit) == (Source.UPSTREAM, False)
            assert stream.outcome.text == "one two three"
        async with cache.stream(messages=QUESTION) as stream:
            assert (stream.source, stream.hit, stream.similarity) == (Source.EXACT, True, 1.0)
            replayed = [chunk.body async for chunk in stream]
            assert stream.outcome.hit
        assert replayed == fresh
        outcome = await cache.chat(messages=QUESTION)
        assert (outcome.text, outcome.source) == ("one two three", Source.EXACT)
    assert len(upstream.calls) == 1


async def test_a_whole_answer_is_replayed_as_a_stream() -> None:
    upstream = FakeUpstream("one two three")
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        await cache.ask("q")
        async with cache.stream(messages=QUESTION) as stream:
            outcome = await stream.collect()
        assert outcome.text == "one two three"
        assert stream.hit
    assert len(upstream.calls) == 1


async def test_a_stream_asked_for_usage_does_not_get_an_entry_without_it() -> None:
    upstream = FakeUpstream("first", "second")
    usage = {"include_usage": True}
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        async with cache.stream(messages=QUESTION) as stream:
            await stream.collect()
        async with cache.stream(messages=QUESTION, stream_options=usage) as stream:
            outcome = await stream.collect()
            assert stream.reasons == ("usage was not recorded",)
        assert outcome.json()["usage"]["completion_tokens"] == 1
        async with cache.stream(messages=QUESTION, stream_options=usage) as stream:
            assert (await stream.collect()).json()["usage"]["completion_tokens"] == 1
            assert stream.hit


async def test_an_aborted_stream_is_not_stored() -> None:
    upstream = FakeUpstream("one two three", "again")
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        async with cache.stream(messages=QUESTION) as stream:
            await anext(stream)
        assert not (await cache.ask("q")).hit


async def test_the_outcome_of_a_stream_is_not_known_before_its_end() -> None:
    async with CachePipeline(upstream=FakeUpstream("one two"), backend="memory://") as cache:
        async with cache.stream(messages=QUESTION) as stream:
            await anext(stream)
            with pytest.raises(RuntimeError, match="read to its end"):
                _ = stream.outcome
        with pytest.raises(RuntimeError, match="entered before"):
            await stream.__aenter__()


@pytest.mark.parametrize(
    ("control", "field"),
    [
        ({"ttl": -1}, "control.ttl"),
        ({"ttl": float("nan")}, "control.ttl"),
        ({"ttl": True}, "control.ttl"),
        ({"max_age": "5"}, "control.max_age"),
        ({"no_cache": 1}, "control.no_cache"),
        ({"tags": "a"}, "control.tags"),
        ({"tags": [""]}, "control.tags"),
        ({"version": 3}, "control.version"),
        ({"tll": 3}, "control.tll"),
        (3, "control"),
    ],
)
async def test_bad_control_is_refused_at_the_door(control: Any, field: str) -> None:
    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend="memory://", decision=None) as cache:
        with pytest.raises(InvalidRequest) as caught:
            await cache.ask("q", control=control)
    assert caught.value.field == field
    assert upstream.calls == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": QUESTION, "temperature": "hot"}, "temperature"),
        ({"messages": QUESTION, "temperature": float("nan")}, "temperature"),
        ({"messages": QUESTION, "logit_bias": {"1": float("inf")}}, "logit_bias.1"),
        ({"messages": QUESTION, "seed": 2**70}, "seed"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ({"messages": QUESTION, "tools": {1: 2}}, "tools"),
        ({"messages": QUESTION, "extra": object()}, "extra"),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, "body"),
    ],
)
async def test_a_bad_body_is_refused_at_the_door_and_nothing_is_stored(body: Any, field: str) -> None:
    upstream = FakeUpstream()
    backend = MemoryBackend()
    async with CachePipeline(upstream, backend=backend, decision=None, max_request_bytes=1000) as cache:
        for ask in (cache.fetch, lambda body: cache.stream(body).__aenter__()):
            with pytest.raises(InvalidRequest) as caught:
                await ask(body)
            assert caught.value.field == field
            assert str(caught.value).startswith(f"{field}: ")
    assert upstream.calls == []
    assert (await backend.measure())["entries"] == 0


async def test_a_nan_is_refused_though_the_same_body_with_null_was_seen_before() -> None:
    async with CachePipeline(upstream=FakeUpstream(), backend="memory://", strict=True) as cache:
        await cache.chat(messages=QUESTION, temperature=None)
        with pytest.raises(InvalidRequest, match="temperature: must be finite"):
            await cache.chat(messages=QUESTION, temperature=float("nan"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decision": "judge"}, "decision='judge' asks the upstream: give one, or verifier="),
        ({"upstream": echo, "stages": [Normalize()]}, "give either an upstream"),
        ({"upstream": "ftp://host/v1"}, "http"),
        ({"upstream": 5}, "upstream"),
        ({"upstream": echo, "backend": "redsi://x"}, "unknown backend scheme 'redsi'"),
        ({"upstream": echo, "backend": ""}, "backend"),
        ({"upstream": echo, "ttl": -1}, "ttl: expected zero or more seconds"),
        ({"upstream": echo, "abandoned": "keep"}, "abandoned"),
        ({"upstream": echo, "decision": "hope"}, "unknown decision='hope'; known: 'promise', 'threshold', "),
        ({"upstream": echo, "max_error": 0}, "max_error=0: expected a share above 0 and below 1"),
        ({"upstream": echo, "max_error": True}, "max_error=True"),
        ({"upstream": echo, "audit": 1.5}, "audit=1.5: expected a share of the semantic hits"),
        ({"upstream": echo, "audit": "x", "decision": None}, "audit='x'"),
        ({"upstream": echo, "max_error": 5.0, "decision": "threshold"}, "max_error=5.0"),
        ({"upstream": echo, "audits_per_minute": 0}, "audits per_minute=0"),
        ({"upstream": echo, "guards": ["names"]}, "guards: unknown 'names'; known: 'numbers'"),
        ({"stages": [Normalize()], "decision": "threshold"}, r"goes into Validate\(decision="),
        ({"upstream": echo, "decision": "threshold", "max_index_bytes": 0}, "max_index_bytes=0"),
        ({"upstream": echo, "threshold": 2}, "threshold=2: expected a cosine"),
        ({"upstream": echo, "threshold_floor": -1}, "threshold_floor=-1"),
        ({"upstream": echo, "history": "last:x"}, "history"),
        ({"upstream": echo, "embedder": 5, "decision": "threshold"}, "embedder"),
        ({"upstream": echo, "namespace": 5}, "namespace"),
        ({"stages": []}, "at least one"),
        ({"stages": [Normalize]}, "Normalize is not a stage"),
        ({"stages": [lambda exchange: exchange]}, "is not a stage"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_opened(options: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        CachePipeline(**options)


async def test_without_an_upstream_only_requests_that_bring_one_are_answered() -> None:
    body = {"messages": [{"role": "user", "content": "q"}]}
    async with CachePipeline(backend="memory://", decision=None) as cache:
        with pytest.raises(ConfigurationError, match="this pipeline has none, and the request brought none"):
            await cache.fetch(body)
        first = await cache.fetch(Request(body=body, upstream=CallableUpstream(echo)))
        second = await cache.fetch(body)
    assert (first.source, second.source) == (Source.UPSTREAM, Source.EXACT)


async def test_a_url_upstream_needs_a_model() -> None:
    async with CachePipeline("http://127.0.0.1:9/v1", backend="memory://") as cache:
        with pytest.raises(ConfigurationError, match="model"):
            await cache.ask("q")


async def test_default_model_fills_in_and_a_callable_needs_none() -> None:
    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend="memory://", default_model="m") as cache:
        await cache.ask("q")
        await cache.ask("q", model="n")
    async with CachePipeline(upstream=upstream, backend="memory://") as cache:
        await cache.ask("q")
    assert [body.get("model") for body in upstream.calls] == ["m", "n", None]
    assert "model" not in upstream.calls[2]


async def test_a_closed_pipeline_says_how_to_use_it() -> None:
    cache = CachePipeline(upstream=echo, backend="memory://")
    with pytest.raises(PipelineClosed, match="async with"):
        await cache.ask("q")
    async with cache:
        with pytest.raises(PipelineClosed, match="open already"):
            await cache.__aenter__()
        await cache.ask("q")
    with pytest.raises(PipelineClosed):
        await cache.ask("q")
    async with cache:
        assert (await cache.ask("q")).hit


async def test_scopes_are_walls() -> None:
    upstream = FakeUpstream()
    scopes: list[Any] = [
        None,
        {"tenant": ""},
        {"tenant": "a"},
        {"user": "a"},
        {"namespace": "a"},
        {"tenant": "a", "user": "a"},
        Scope(tenant="a", user="b"),
    ]
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        texts = [(await cache.ask("q", scope=scope)).text for scope in scopes]
        assert len(set(texts)) == len(scopes)
        assert [(await cache.ask("q", scope=scope)).text for scope in scopes] == texts
    assert len(upstream.calls) == len(scopes)


async def test_the_bodys_user_is_neutral_unless_configured() -> None:
    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        assert (await cache.ask("q", user="a")).text == (await cache.ask("q", user="b")).text
    options: Any = {"scope_from": lambda body: {"user": body.get("user")}}
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True, **options) as cache:
        assert (await cache.ask("q", user="a")).text != (await cache.ask("q", user="b")).text


async def test_the_pipelines_namespace_holds_for_every_way_of_asking() -> None:
    backend = MemoryBackend()
    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend=backend, namespace="n", strict=True) as cache:
        await cache.ask("q")
        assert (await cache.fetch(Request(body={"messages": QUESTION}))).hit
        assert (await cache.ask("q", scope={"namespace": "n"})).hit
        assert not (await cache.ask("q", scope={"namespace": "m"})).hit
    async with CachePipeline(upstream=upstream, backend=backend, strict=True) as cache:
        assert not (await cache.ask("q")).hit


async def test_ttl_and_max_age_end_an_entrys_service() -> None:
    clock = FakeClock()
    upstream = FakeUpstream()
    backend = MemoryBackend(clock=clock)
    async with CachePipeline(upstream=upstream, backend=backend, ttl=100, clock=clock, strict=True) as cache:
        await cache.ask("q")
        clock.advance(60)
        outcome = await cache.ask("q")
        assert (outcome.hit, outcome.age) == (True, 60)
        assert (await cache.ask("q", control={"max_age": 60})).hit
        refused = await cache.ask("q", control={"max_age": 59})
        assert (refused.hit, refused.reasons) == (False, ("older than max_age",))
        clock.advance(60)
        assert (await cache.ask("q")).age == 60
        clock.advance(40)
        assert not (await cache.ask("q")).hit
        assert cache.stats().rejected == {"older than max_age": 1}


async def test_control_of_one_request() -> None:
    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        with pytest.raises(NotCached):
            await cache.ask("q", control={"only_if_cached": True})
        assert upstream.calls == []
        await cache.ask("q", control={"no_store": True})
        assert not (await cache.ask("q", control={"ttl": 0})).hit
        assert not (await cache.ask("q")).hit
        assert (await cache.ask("q", control=Control(only_if_cached=True))).text == "answer 3"
        fresh = await cache.ask("q", control={"no_cache": True})
        assert (fresh.text, fresh.hit) == ("answer 4", False)
        assert (await cache.ask("q")).text == "answer 4"
        assert not (await cache.ask("q", control={"version": "2"})).hit


async def test_what_was_invalidated_is_asked_for_again() -> None:
    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        await cache.ask("a", control={"tags": ["x", "y"]})
        await cache.ask("b", control={"tags": ["y"]})
        assert await cache.invalidate(tags=["x"]) == 1
        assert not (await cache.ask("a")).hit
        assert (await cache.ask("b")).hit
        assert await cache.invalidate({"messages": [{"role": "user", "content": "b"}]}) == 1
        assert not (await cache.ask("b")).hit
        with pytest.raises(InvalidRequest, match="tags"):
            await cache.invalidate()


async def test_an_answer_served_under_a_tag_can_be_invalidated_by_it() -> None:
    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        await cache.ask("q", control={"tags": ["a"]})
        other = await cache.ask("q", control={"tags": ["b"]})
        assert (other.hit, other.reasons) == (False, ("not stored under these tags",))
        # From now on the entry carries both.
        assert (await cache.ask("q", control={"tags": ["a"]})).hit
        assert (await cache.ask("q", control={"tags": ["b", "a"]})).hit
        assert (await cache.ask("q")).hit
        assert await cache.invalidate(tags=["a"]) == 1
        assert not (await cache.ask("q", control={"tags": ["b"]})).hit


async def test_a_body_changed_while_it_is_looked_up_is_asked_and_stored_as_it_was() -> None:
    class Slow(MemoryBackend):
        async def get(self, key: bytes) -> Entry | None:
            await asyncio.sleep(0)
            return await super().get(key)

    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend=Slow(), strict=True) as cache:
        messages = [{"role": "user", "content": "short"}]
        task = asyncio.create_task(cache.chat(messages=messages))
        await asyncio.sleep(0)
        messages.append({"role": "user", "content": "and long"})
        await task
        assert upstream.calls[0]["messages"] == [{"role": "user", "content": "short"}]
        assert (await cache.ask("short")).hit
        assert not (await cache.chat(messages=messages)).hit


async def test_a_callable_that_changes_its_body_changes_nobody_elses() -> None:
    async def rude(body: Any) -> str:
        body["messages"].insert(0, {"role": "system", "content": "be rude"})
        body["messages"][1]["content"] = "x"
        return "fine"

    messages = [{"role": "user", "content": "q"}]
    async with CachePipeline(upstream=rude, backend="memory://", strict=True) as cache:
        await cache.chat(messages=messages)
        assert messages == [{"role": "user", "content": "q"}]
        assert (await cache.chat(messages=messages)).hit


async def test_a_stream_that_was_cut_short_never_looks_complete() -> None:
    never = asyncio.Event()

    async def stuck(_: Mapping[str, Any]) -> AsyncIterator[str]:
        yield "one"
        await never.wait()

    async with CachePipeline(upstream=stuck, backend="memory://", strict=True) as cache:
        async with cache.stream(messages=QUESTION) as stream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.collect(), 0.01)
            with pytest.raises(RuntimeError, match="cancelled"):
                await stream.collect()
            with pytest.raises(RuntimeError, match="read to its end"):
                _ = stream.outcome
        async with cache.stream(messages=QUESTION) as stream:
            await anext(stream)
        with pytest.raises(RuntimeError, match="left before its end"):
            await anext(stream)
    upstream = FakeUpstream([{"choices": []}, UpstreamStreamError("it died")])
    async with (
        CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache,
        cache.stream(messages=QUESTION) as stream,
    ):
        for _ in range(2):
            with pytest.raises(UpstreamStreamError):
                await stream.collect()


async def test_scope_from_holds_for_requests_too() -> None:
    def scope_from(body: Mapping[str, Any]) -> Scope:
        return Scope(tenant=body["user"])

    def request(user: str) -> Request:
        return Request(body={"messages": QUESTION, "user": user})

    async with CachePipeline(FakeUpstream(), backend="memory://", scope_from=scope_from) as cache:
        await cache.fetch(request("a"))
        assert (await cache.fetch(request("a"))).hit
        assert not (await cache.fetch(request("b"))).hit


async def test_a_failing_short_way_is_passed_over() -> None:
    class Broken(MemoryBackend):
        def at_hand(self, key: bytes) -> Entry | None:
            raise ZeroDivisionError

    async with CachePipeline(upstream=echo, backend=Broken()) as cache:
        await cache.ask("q")
        assert (await cache.ask("q")).hit
        assert cache.stats().failed == {"Express": 1}


async def test_the_stream_of_a_walk_that_fails_later_is_closed() -> None:
    async def slow(exchange: Exchange) -> Exchange:
        await asyncio.sleep(60)
        return exchange

    upstream = FakeUpstream()
    async with CachePipeline(stages=[Normalize(), MissHandler(upstream), slow], strict=True) as cache:
        task = asyncio.create_task(cache.stream(messages=QUESTION).__aenter__())
        await upstream.called()
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (upstream.in_flight, upstream.streams_closed) == (0, 1)


async def test_a_backend_that_raises_a_stray_cancellation_costs_no_answer() -> None:
    class Stray(MemoryBackend):
        async def get(self, key: bytes) -> Entry | None:
            raise asyncio.CancelledError

    async with CachePipeline(upstream=echo, backend=Stray()) as cache:
        assert (await cache.ask("q")).text == "you said q"
        assert cache.stats().failed == {"ExactLookup": 1}


def test_a_pipeline_open_in_another_event_loop_says_so() -> None:
    cache = CachePipeline(upstream=echo, backend="memory://")
    first = asyncio.new_event_loop()
    first.run_until_complete(cache.__aenter__())

    async def ask() -> None:
        with pytest.raises(PipelineClosed, match="another event loop"):
            await cache.ask("q")

    asyncio.run(ask())
    first.run_until_complete(cache.__aexit__(None, None, None))
    first.close()


async def test_reasons_that_never_repeat_do_not_fill_the_counters() -> None:
    numbers = iter(range(1000))
    memory = MemoryBackend()
    validate = Validate(lambda request, candidate: f"number {next(numbers)}")
    stages: list[Stage] = [
        Normalize(),
        ExactLookup(memory),
        validate,
        MissHandler(FakeUpstream()),
        Write(memory),
    ]
    async with CachePipeline(stages=stages, strict=True) as cache:
        for _ in range(200):
            await cache.ask("q")
        assert len(cache.stats().rejected) <= 101
        assert sum(cache.stats().rejected.values()) == 199


async def test_an_answer_begun_before_an_invalidation_is_not_stored() -> None:
    upstream = FakeUpstream()
    upstream.hold()
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        before = asyncio.create_task(cache.ask("q"))
        await upstream.called()
        await cache.invalidate(tags=["anything"])
        after = asyncio.create_task(cache.ask("q"))
        await upstream.called(2)
        upstream.release()
        assert (await before).reasons == ("not stored: invalidated while the upstream was thinking",)
        assert (await after).source is Source.UPSTREAM
        assert (await cache.ask("q")).text == (await after).text


async def test_a_refresh_is_not_undone_by_an_answer_asked_for_before_it() -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    calls = 0

    async def slow(_: Mapping[str, Any]) -> str:
        nonlocal calls
        calls += 1
        number = calls
        await gates[number - 1].wait()
        return f"answer {number}"

    async with CachePipeline(upstream=slow, backend="memory://", decision=None, strict=True) as cache:
        first = asyncio.create_task(cache.ask("q"))
        await asyncio.sleep(0.01)
        refresh = asyncio.create_task(cache.ask("q", control={"no_cache": True}))
        await asyncio.sleep(0.01)
        gates[1].set()
        await refresh
        gates[0].set()
        assert (await first).reasons == ("not stored: a fresher answer was stored meanwhile",)
        assert (await cache.ask("q")).text == "answer 2"


async def test_saved_counts_tokens_seconds_and_money() -> None:
    clock = FakeClock()

    async def slow(_: Mapping[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        clock.advance(2.5)
        message = {"role": "assistant", "content": "x"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        return {"choices": [choice], "usage": usage}

    prices = {"m": (2.0, 8.0)}
    backend = MemoryBackend(clock=clock)
    async with CachePipeline(upstream=slow, backend=backend, prices=prices, clock=clock) as cache:
        assert (await cache.ask("q", model="m")).saved == Saved()
        assert (await cache.ask("q", model="m")).saved == Saved(1500, 2.5, 0.006)
        await cache.ask("q", model="n")
        assert (await cache.ask("q", model="n")).saved == Saved(1500, 2.5, None)


class Broken:
    """A backend of which everything fails."""

    async def get(self, key: bytes) -> Entry | None:
        raise BackendUnavailable("the disk is on fire")

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        raise BackendUnavailable("the disk is on fire")

    async def put(self, entry: Entry) -> None:
        raise BackendUnavailable("the disk is on fire")

    async def delete(self, keys: Any) -> int:
        raise BackendUnavailable("the disk is on fire")

    async def scan(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
        raise BackendUnavailable("the disk is on fire")
        yield


async def test_a_failing_cache_is_reported_and_the_request_goes_on() -> None:
    events: list[Event] = []
    async with CachePipeline(upstream=echo, backend=Broken(), decision=None, hooks=[events.append]) as cache:
        assert (await cache.ask("q")).text == "you said q"
        async with cache.stream(messages=QUESTION) as stream:
            assert (await stream.collect()).text == "you said q"
        assert cache.stats().failed == {"ExactLookup": 2, "Write": 2}
    failures = [event for event in events if isinstance(event, StageFailed)]
    assert {str(event.error) for event in failures} == {"the disk is on fire"}


async def test_strict_raises_what_would_be_passed_over() -> None:
    async with CachePipeline(upstream=echo, backend=Broken(), strict=True) as cache:
        with pytest.raises(BackendUnavailable):
            await cache.ask("q")


async def test_any_breaking_stage_is_passed_over() -> None:
    async def broken(exchange: Exchange) -> Exchange:
        raise ZeroDivisionError

    async def nothing(exchange: Exchange) -> Exchange:
        return None  # type: ignore[return-value]  # what a careless stage does

    async def tag(exchange: Exchange) -> Exchange:
        return exchange.noting(seen=True)

    seen = []

    async def look(exchange: Exchange) -> Exchange:
        seen.append(exchange.notes.get("seen"))
        return exchange

    upstream = FakeUpstream()
    stages: list[Stage] = [broken, tag, nothing, Normalize(), look, MissHandler(upstream)]
    async with CachePipeline(stages=stages) as cache:
        assert (await cache.ask("q")).text == "answer 1"
        assert cache.stats().failed == {"broken": 1, "nothing": 1}
    assert seen == [True]


async def test_a_chain_of_ones_own_works_without_single_flight() -> None:
    upstream, memory = FakeUpstream(), MemoryBackend()
    stages: list[Stage] = [Normalize(), ExactLookup(memory), Validate(), MissHandler(upstream), Write(memory)]
    async with CachePipeline(stages=stages, backend=memory, strict=True) as cache:
        assert not (await cache.ask("q")).hit
        assert (await cache.ask("q")).hit
        async with cache.stream(messages=[{"role": "user", "content": "s"}]) as stream:
            await stream.collect()
        assert (await cache.ask("s")).hit
        assert await cache.invalidate({"messages": QUESTION}) == 1


async def test_lookups_without_normalize_say_what_is_missing() -> None:
    async with CachePipeline(stages=[ExactLookup(MemoryBackend())], strict=True) as cache:
        with pytest.raises(StageError, match="Normalize"):
            await cache.ask("q")


async def test_a_chain_nobody_answers_says_so() -> None:
    async with CachePipeline(stages=[Normalize()], strict=True) as cache:
        with pytest.raises(StageError, match="MissHandler"):
            await cache.ask("q")


async def test_a_users_check_refuses_with_its_reason() -> None:
    upstream, memory = FakeUpstream(), MemoryBackend()
    validate = Validate(lambda request, candidate: "not on Sundays")
    stages: list[Stage] = [Normalize(), ExactLookup(memory), validate, MissHandler(upstream), Write(memory)]
    async with CachePipeline(stages=stages, strict=True) as cache:
        await cache.ask("q")
        assert (await cache.ask("q")).reasons == ("not on Sundays",)


async def test_an_entry_under_a_foreign_key_is_never_served() -> None:
    class Confused(MemoryBackend):
        async def get(self, key: bytes) -> Entry | None:
            return next((entry for entry in self._lru.values(0.0)), None)

    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend=Confused(), decision=None, strict=True) as cache:
        await cache.ask("a")
        foreign = await cache.ask("b")
    assert (foreign.text, foreign.reasons) == ("answer 2", ("foreign key",))


async def test_kv_transfer_requests_bypass_the_cache() -> None:
    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        for _ in range(2):
            assert not (await cache.ask("q", kv_transfer_params={"id": 1})).hit
        assert cache.stats().stored == 0


async def test_hooks_are_told_and_a_failing_hook_harms_nobody() -> None:
    events: list[Event] = []

    def failing(event: Event) -> None:
        raise ZeroDivisionError

    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    upstream = FakeUpstream("fine", LookupError("no"))
    async with CachePipeline(upstream=upstream, backend="memory://", hooks=[failing, events.append]) as cache:
        await cache.ask("q")
        await cache.ask("q")
        with pytest.raises(LookupError):
            await cache.ask("r")
        await cache.ask("s", control={"ttl": 0})
    kinds = [type(event) for event in events]
    assert kinds == [EntryStored, RequestServed, RequestServed, RequestFailed, EntryRefused, RequestServed]
    assert len(failures) == len(events)
    served = events[2]
    assert isinstance(served, RequestServed)
    assert (served.source, served.similarity, len(served.partition)) == (Source.EXACT, 1.0, 8)


async def test_no_event_and_no_repr_carries_a_prompt_a_key_or_a_tenant() -> None:
    events: list[Event] = []
    canary = "CANARY7261"
    async with CachePipeline(upstream=echo, backend="memory://", hooks=[events.append], prices={}) as cache:
        outcome = await cache.ask(canary, scope={"tenant": canary}, control={"tags": [canary]})
        async with cache.stream(messages=[{"role": "user", "content": canary + "2"}]) as stream:
            chunk = await anext(stream)
            shown = [repr(x) for x in (outcome, stream, chunk, events, cache)]
    request = Request(body={"messages": [{"role": "user", "content": canary}]})
    entry = Entry(
        key=outcome.key,
        partition=b"p" * 32,
        dialect="x",
        response=Response(canary.encode()),
        created_at=0.0,
        question=canary,
    )
    shown += [repr(request), repr(entry), repr(entry.response)]
    assert not [text for text in shown if canary in text or outcome.key.hex() in text]


async def test_stats_count_what_happened() -> None:
    upstream = FakeUpstream()
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        assert cache.stats().hit_rate == 0.0
        for question in "aabbb":
            await cache.ask(question)
        stats = cache.stats()
    assert (stats.requests, stats.hits, stats.misses, stats.stored) == (5, 3, 2, 2)
    assert stats.hit_rate == 0.6
    assert stats.sources == {"upstream": 2, "exact": 3}


async def test_tasks_that_only_hit_let_others_run() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async with CachePipeline(upstream=echo, backend="memory://", strict=True) as cache:
        await cache.ask("q")
        ticking = asyncio.create_task(tick())
        for _ in range(3000):
            await cache.ask("q")
        ticking.cancel()
    assert ticks > 5


async def test_a_sqlite_cache_that_cannot_be_opened_costs_no_answer(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    events: list[Event] = []
    url = f"sqlite:///{blocked}/cache.db"
    async with CachePipeline(upstream=echo, backend=url, hooks=[events.append]) as cache:
        assert (await cache.ask("q")).text == "you said q"
    assert any(isinstance(event, StageFailed) for event in events)


async def test_a_pipeline_is_configured_by_file_environment_and_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cache.toml"
    file.write_text('backend = "memory://"\nttl = 5\ndefault_model = "from the file"\n')
    monkeypatch.setenv("ASYNCCACHE_DEFAULT_MODEL", "from the environment")
    upstream = FakeUpstream()
    async with CachePipeline.configured(file, upstream=upstream, strict=True) as cache:
        await cache.ask("q")
        assert (await cache.ask("q")).hit
    assert upstream.calls[0]["model"] == "from the environment"
    monkeypatch.setenv("ASYNCCACHE_TLL", "5")
    with pytest.raises(ConfigurationError, match="ASYNCCACHE_TLL"):
        CachePipeline.configured(upstream=upstream)


async def test_in_the_default_store_other_upstreams_are_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    def made(text: str) -> Any:
        async def closure(_: Mapping[str, Any]) -> str:
            return text

        return closure

    async with CachePipeline(echo, strict=True) as cache:
        await cache.ask("q")
    async with CachePipeline(echo, strict=True) as cache:
        assert (await cache.ask("q")).hit
    for upstream in (made("one"), made("two"), FakeUpstream("three"), FakeUpstream("four")):
        async with CachePipeline(upstream, strict=True, namespace="n") as cache:
            assert not (await cache.ask("q")).hit
    assert default_backend_url().startswith(f"sqlite:///{tmp_path}")


async def test_a_large_body_is_keyed_off_the_loop_and_as_ever() -> None:
    upstream = FakeUpstream()
    numbers = [float(number) for number in range(20_000)]
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:
        assert not (await cache.ask("q", extra=numbers)).hit
        assert (await cache.ask("q", extra=[*range(20_000)])).hit
        assert not (await cache.ask("q", extra=numbers[1:])).hit
        with pytest.raises(InvalidRequest, match=r"extra\[20000\]: must be finite"):
            await cache.ask("q", extra=[*numbers, float("nan")])
        with pytest.raises(InvalidRequest, match="messages"):
            await cache.fetch({"messages": [], "extra": numbers})


async def test_answers_are_judged_though_every_common_thread_is_waiting_for_them() -> None:
    upstream = FakeUpstream("x" * 300_000)
    upstream.hold()
    limiter = anyio.to_thread.current_default_thread_limiter()
    async with CachePipeline(upstream=upstream, backend="memory://", strict=True) as cache:

        def ask() -> str:
            return anyio.from_thread.run(cache.ask, "q").text

        tokens, limiter.total_tokens = limiter.total_tokens, 2
        try:
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:
                    for _ in range(2):
                        group.start_soon(anyio.to_thread.run_sync, ask)
                    await upstream.called()
                    upstream.release()
        finally:
            limiter.total_tokens = tokens
        assert (await cache.ask("q")).hit
